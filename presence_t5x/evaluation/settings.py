"""What is asked of a checkpoint, and how: from a command line, gin files and the run's settings."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from presence_t5x.config import load_config
from presence_t5x.config_types import (
    DataConfig,
    ModelConfig,
    PartitioningConfig,
    TaskEvaluationConfig,
)
from presence_t5x.evaluation.answering import Answering, answering_of
from presence_t5x.evaluation.checkpoints import Checkpoint
from presence_t5x.evaluation.trained_vocabulary import (
    check_fits,
    check_is_trained,
    trained_vocabulary,
    vocabulary_of,
)

if TYPE_CHECKING:  # it imports TensorFlow
    import seqio

# Required macros of runs that say what an evaluation is told otherwise, or does not need.
_UNUSED_MACROS = {
    "MODEL_DIR": '"unused"',
    "INITIAL_CHECKPOINT": "None",
    "MIXTURE_OR_TASK_NAME": '"unused"',
    "LOCAL_TEXT_FILES": "None",
    "LOCAL_TASK_FILES": "None",
    "PREPARED_STORES": "None",
    "VOCABULARY_FILE": "None",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked; None leaves it to the settings of the run, or to gin files.

    Attributes:
      task: a fine-tuning task or mixture.
      split: of it.
      max_examples: of each set, the first ones; None is all.
      input_length: in tokens.
      max_decode_length: in tokens.
      num_beams: None is greedy decoding.
      alpha: exponent of the length penalty of beam search.
      vocabulary: see `load_vocabulary`.
      task_files: see `DataConfig.local_task_files`.
    """

    task: str
    split: str
    max_examples: int | None = None
    input_length: int | None = None
    max_decode_length: int | None = None
    num_beams: int | None = None
    alpha: float = 0.6
    vocabulary: str | None = None
    task_files: str | Mapping[str, str] | None = None


class RunSettings(NamedTuple):
    """What a run says that an evaluation needs; None where it is not known.

    Attributes:
      trained: the data that the checkpoint was trained on.
      data: the same, or what gin files say instead.
      dtype: of activations.
      partitioning: of the devices.
    """

    trained: DataConfig | None
    data: DataConfig | None
    dtype: str | None
    partitioning: PartitioningConfig


class Settings(NamedTuple):
    """An evaluation that passed its checks.

    Attributes:
      notes: what could not be checked, a line each.
    """

    data: DataConfig
    answering: Answering
    vocabulary: "seqio.Vocabulary"
    notes: tuple[str, ...]


def run_settings(
    checkpoint: Checkpoint, gin_files: Sequence[str], bindings: Sequence[str]
) -> RunSettings:
    """Returns the settings of the checkpoint's run, and what gin files say instead of them.

    Without a gin file bindings change the run's own config.gin.

    Raises:
      ValueError: as `load_config`, settings of another version, or bindings to nothing.
    """
    trained, partitioning = None, PartitioningConfig()
    if "data" in checkpoint.settings:
        try:
            trained = DataConfig(**checkpoint.settings["data"])
            partitioning = PartitioningConfig(**checkpoint.settings["partitioning"])
        except (KeyError, TypeError) as error:
            if not gin_files:
                raise ValueError(
                    f"{checkpoint.location} has the settings of another version of this package "
                    f"({error}); name its run's gin file with --gin_file"
                ) from error
    if not gin_files and not bindings:
        return RunSettings(trained, trained, None, partitioning)
    own = checkpoint.location.parent.parent / "config.gin"
    if not gin_files and not own.is_file():
        raise ValueError(
            f"--gin.{bindings[0]} changes the settings of a run, and there are none beside "
            f"{checkpoint.location}; add --gin_file"
        )
    config = load_config(gin_files or [str(own)], bindings, _UNUSED_MACROS)
    return RunSettings(trained, config.data, config.model.dtype, config.partitioning)


def resolve(request: Request, checkpoint: Checkpoint, run: RunSettings) -> Settings:
    """Returns an evaluation's settings after every check that reads no example and no array.

    Raises:
      ValueError: lengths that nothing tells, or that the model does not read, an unknown task, a
        vocabulary or labels that are not the checkpoint's, or settings out of their bounds.
    """
    from presence_t5x.data.sources import resolve_vocabulary

    trained, notes = trained_vocabulary(checkpoint, run.trained, request.vocabulary)
    chosen = request.vocabulary or (run.data and run.data.vocabulary_file) or trained
    data = _data(request, chosen, run.data, checkpoint.model)
    vocabulary = resolve_vocabulary(data)
    check_fits(vocabulary, trained, checkpoint, f"the task {request.task!r}")
    answering = answering_of(
        checkpoint.model,
        data,
        run.trained,
        eos_id=cast(int, vocabulary.eos_id),
        num_beams=request.num_beams,
        alpha=request.alpha,
    )
    return Settings(data, answering, vocabulary, notes)


def data_of_run(data: DataConfig, config: TaskEvaluationConfig, model: ModelConfig) -> DataConfig:
    """Returns where the tasks come from that a run is judged by while it is trained.

    Raises:
      ValueError: settings that do not go together.
    """
    assert config.task is not None
    lengths = dict(data.task_feature_lengths)
    if config.max_decode_length is not None:
        lengths["targets"] = config.max_decode_length
    request = Request(
        task=config.task,
        split=config.split,
        input_length=lengths["inputs"],
        max_decode_length=lengths.get("targets") if model.answers == "text" else None,
    )
    trained = vocabulary_of(data)
    found = _data(request, trained, data, model)
    check_is_trained(vocabulary_of(found), trained, "the run", f"the task {config.task!r}")
    return found


def _data(
    request: Request, vocabulary: str | None, base: DataConfig | None, model: ModelConfig
) -> DataConfig:
    """Returns where the examples of a task come from."""
    from presence_t5x.data.finetuning.families import local_family
    from presence_t5x.data.labels import with_label_names
    from presence_t5x.data.providers import takes_vocabulary_file

    takes_vocabulary = takes_vocabulary_file(request.task)
    if request.vocabulary is not None and not takes_vocabulary:
        raise ValueError(
            f"--vocabulary={request.vocabulary!r}: task {request.task!r} has a vocabulary of its "
            "own; remove it"
        )
    is_local = local_family(request.task) is not None
    if request.task_files is not None and not is_local:
        raise ValueError(
            f"--task_files belongs to tasks like 'local_nli_zeroshot', not {request.task!r}"
        )
    files = request.task_files or (base and base.local_task_files)
    versions: dict[str, Any] = {}
    if base is not None:
        versions = {"tydi_qa_version": base.tydi_qa_version}
    found = DataConfig(
        mixture_or_task_name=request.task,
        task_feature_lengths=_lengths(request, base, model),
        objective=model.objectives[-1],
        vocabulary_file=vocabulary if takes_vocabulary else None,
        local_task_files=files if is_local else None,
        **versions,
    )
    return with_label_names(found, base and base.label_names)


def _lengths(request: Request, base: DataConfig | None, model: ModelConfig) -> dict[str, int]:
    """Returns the lengths of inputs and, of answers in words, of targets."""
    own = {} if base is None else base.task_feature_lengths
    found = {"inputs": request.input_length or own.get("inputs")}
    if model.answers == "text":
        # Of next tokens alone "targets" is the length of a row, not of an answer.
        answers = own.get("targets") if "inputs" in own else None
        found["targets"] = request.max_decode_length or answers
    elif request.max_decode_length is not None:
        raise ValueError(
            f"max_decode_length={request.max_decode_length} belongs to models that answer in "
            f"words; {type(model).__name__} chooses a label: remove it"
        )
    if None in found.values():
        raise ValueError(
            "nothing tells how long inputs and answers are; give --input_length and "
            "--max_decode_length (mT5: 1024, and 512 or 128), or --gin_file"
        )
    lengths = {name: int(length) for name, length in found.items() if length is not None}
    model.row_lengths(lengths)  # says what is wrong
    return lengths


def describe(request: Request, settings: Settings) -> dict[str, Any]:
    """Returns how answers are found, as results tell it."""
    from presence_t5x.data.vocabularies import specification_of, vocabulary_sha256

    spec = specification_of(settings.vocabulary)
    return {
        **settings.answering.describe(),
        "input_length": settings.data.task_feature_lengths["inputs"],
        "max_examples": request.max_examples,
        "vocabulary": spec,
        "vocabulary_sha256": vocabulary_sha256(spec),
        "tydi_qa_version": settings.data.tydi_qa_version if "tydiqa" in request.task else None,
    }
