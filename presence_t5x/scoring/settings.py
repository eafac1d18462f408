"""What a scoring depends on: from a command line, gin files and the checkpoints' run."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from presence_t5x.config_types import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    PartitioningConfig,
    PresenceConfig,
)
from presence_t5x.evaluation import checkpoints
from presence_t5x.evaluation.checkpoints import Checkpoint
from presence_t5x.evaluation.settings import run_settings
from presence_t5x.evaluation.trained_vocabulary import (
    check_fits,
    trained_vocabulary,
    vocabulary_of,
)
from presence_t5x.optimizer import learning_rate_schedule

if TYPE_CHECKING:  # it imports TensorFlow
    import seqio

_Z_LOSS = 1e-4  # of checkpoints that do not say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked; None leaves it to the checkpoints' run.

    Attributes:
      checkpoints: MODEL_DIRs or checkpoints.
      layers: patterns of the scored parameters.
      score_loss: "mean" or "sum".
      learning_rates: one for each checkpoint; without, each has its run's, of the update that
        led to it.
      vocabulary: see `load_vocabulary`.
      seed: of the masks.
    """

    checkpoints: Sequence[str]
    layers: Sequence[str] | None = None
    score_loss: Literal["mean", "sum"] | None = None
    learning_rates: Sequence[float] | None = None
    vocabulary: str | None = None
    seed: int = 0


class Settings(NamedTuple):
    """A scoring that passed the checks that need no array and no document.

    Attributes:
      notes: what could not be checked, a line each.
    """

    checkpoints: tuple[Checkpoint, ...]
    learning_rates: tuple[float, ...]
    model: ModelConfig
    presence: PresenceConfig
    z_loss: float
    data: DataConfig
    vocabulary: "seqio.Vocabulary"
    partitioning: PartitioningConfig
    notes: tuple[str, ...] = ()

    @property
    def most_targets(self) -> int | None:
        """The most tokens of a row that have a loss: a document has rows of its own."""
        return dataclasses.replace(self.data, pack=False).most_targets


def resolve(request: Request, gin_files: Sequence[str], bindings: Sequence[str]) -> Settings:
    """Returns the settings of a scoring.

    Raises:
      ValueError: checkpoints that are absent, of different models or without a learning rate;
        nothing that tells how long rows are; rows or a vocabulary that are not the model's.
    """
    found = [checkpoints.find(path) for path in request.checkpoints]
    first = found[0]
    for other in found[1:]:
        _check_alike(first, other)
    run = run_settings(first, gin_files, bindings)
    if run.data is None:
        raise ValueError(
            f"{first.location} does not say how its rows were made; name a gin file of "
            "presence_t5x.train with --gin_file (its TASK_FEATURE_LENGTHS and VOCABULARY_FILE)"
        )
    first = checkpoints.with_dtype(first, run.dtype)
    first.model.check_objective(run.data.objective)
    first.model.row_lengths(run.data.task_feature_lengths)  # says what is wrong
    vocabulary, notes = _vocabulary(request, found, run.data, gin_files, bindings)
    own: dict[str, Any] = dict(first.settings.get("presence", {}))
    layers = request.layers or own.get("layers") or first.model.first_blocks
    presence = PresenceConfig(
        layers=tuple(layers), score_loss=request.score_loss or own.get("score_loss", "mean")
    )
    return Settings(
        checkpoints=tuple(found),
        learning_rates=_learning_rates(request, found),
        model=first.model,
        presence=presence,
        z_loss=float(first.settings.get("z_loss", _Z_LOSS)),
        data=run.data,
        vocabulary=vocabulary,
        partitioning=run.partitioning,
        notes=notes,
    )


def _vocabulary(
    request: Request,
    found: Sequence[Checkpoint],
    data: DataConfig,
    gin_files: Sequence[str],
    bindings: Sequence[str],
) -> tuple["seqio.Vocabulary", tuple[str, ...]]:
    """Returns the vocabulary of a scoring, and what could not be checked.

    Raises:
      ValueError: it is not that of every checkpoint.
    """
    from presence_t5x.data.vocabularies import load_vocabulary

    runs = [run_settings(one, gin_files, bindings).trained for one in found]
    pairs = [trained_vocabulary(one, run, request.vocabulary) for one, run in zip(found, runs)]
    named = request.vocabulary or data.vocabulary_file
    vocabulary = load_vocabulary(named or pairs[0][0] or vocabulary_of(data))
    for one, (trained, _) in zip(found, pairs):
        check_fits(vocabulary, trained, one, "the scoring")
    return vocabulary, tuple(dict.fromkeys(note for _, notes in pairs for note in notes))


def describe(settings: Settings, request: Request, digests: Sequence[str]) -> dict[str, Any]:
    """Returns everything that scores depend on but the documents, for JSON."""
    from presence_t5x.data.vocabularies import specification_of, vocabulary_sha256

    data = settings.data
    return {
        "checkpoints": [
            {
                "location": str(Path(found.location).absolute()),
                "step": found.step,
                "parameters": digest,
                "learning_rate": rate,
            }
            for found, digest, rate in zip(settings.checkpoints, digests, settings.learning_rates)
        ],
        "layers": list(settings.presence.layers),
        "score_loss": settings.presence.score_loss,
        "z_loss": settings.z_loss,
        "dtype": settings.model.dtype,
        "objective": data.objective,
        "task_feature_lengths": dict(data.task_feature_lengths),
        "noise_density": data.noise_density,
        "mean_noise_span_length": data.mean_noise_span_length,
        "label_names": data.label_names,
        "seed": request.seed,
        "vocabulary_sha256": vocabulary_sha256(specification_of(settings.vocabulary)),
    }


def _check_alike(first: Checkpoint, other: Checkpoint) -> None:
    """Raises ValueError if two checkpoints are not of one model and one kind of rows.

    Their vocabularies are compared by content, with that of the scoring.
    """
    names = (
        "objective",
        "task_feature_lengths",
        "noise_density",
        "mean_noise_span_length",
        "label_names",
    )
    default = {"objective": DataConfig.objective}  # of runs that had no other
    rows = [default | found.settings.get("data", {}) for found in (first, other)]
    if first.model != other.model:
        what, one, two = "model", first.model, other.model
    else:
        what, one, two = "data", *({name: row.get(name) for name in names} for row in rows)
    if one != two:
        raise ValueError(
            f"{first.location} and {other.location} differ in {what}: {one} and {two}; scores are "
            "summed over checkpoints of one run, or of runs that are alike"
        )


def parse_learning_rates(text: str) -> list[float]:
    """Returns the numbers of --learning_rates=X,...

    Raises:
      ValueError: no number, or one that is not positive.
    """
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--learning_rates={text}: {error}") from error
    if not all(math.isfinite(rate) and rate > 0 for rate in rates):
        raise ValueError(f"--learning_rates={text} must all be above 0")
    return rates


def _learning_rates(request: Request, found: Sequence[Checkpoint]) -> tuple[float, ...]:
    """Returns the factor of each checkpoint's scores: 1 for one that stands alone.

    A run's own is the rate of the update that led to the checkpoint: after the last one a schedule
    may start anew.

    Raises:
      ValueError: not as many as checkpoints, or one does not tell its own.
    """
    if request.learning_rates is not None:
        if len(request.learning_rates) != len(found):
            raise ValueError(
                f"{len(request.learning_rates)} learning rates for {len(found)} checkpoints; give "
                "one for each"
            )
        return tuple(request.learning_rates)
    if len(found) == 1:
        return (1.0,)
    rates = []
    for checkpoint in found:
        try:
            optimizer = OptimizerConfig(**checkpoint.settings["optimizer"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{checkpoint.location} does not tell its learning rate, or is of another version "
                f"of this package ({error}); give those of all checkpoints with "
                "--learning_rates=X,Y"
            ) from error
        rates.append(float(learning_rate_schedule(optimizer)(max(checkpoint.step - 1, 0))))
    return tuple(rates)
