"""The scores of units of documents: of all their tokens together.

A document stands for its first segment, one row as training cuts it. Which documents form a unit
is decided in `grouping`; how a unit is scored, by `gradients.unit_scores`, as in training.
"""

import functools
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, PyTree, Shaped

from presence_t5x.config_types import ModelConfig, PresenceConfig
from presence_t5x.evaluation import checkpoints
from presence_t5x.files import check_same, write_bytes_atomically, write_text_atomically
from presence_t5x.gradients import unit_scores
from presence_t5x.losses import token_loss
from presence_t5x.models.families import build_model
from presence_t5x.scoring.corpus import Corpus
from presence_t5x.scoring.settings import Request, Settings, describe
from presence_t5x.studies.grouping import Members


class Rows(NamedTuple):
    """The first row of each document.

    Attributes:
      features: of the model, [documents, length].
      has_row: False where a document is too short to be a row; its features are 0.
    """

    features: Mapping[str, Shaped[np.ndarray, "documents length"]]
    has_row: Bool[np.ndarray, " documents"]


class UnitScores(NamedTuple):
    """Of units: their scores and mean token losses."""

    score: Float[np.ndarray, " units"]
    loss: Float[np.ndarray, " units"]


def first_rows(corpus: Corpus, batch_size: int) -> Rows:
    """Returns the first row of every document of a corpus."""
    number = len(corpus.store)
    features: dict[str, np.ndarray] = {}
    has_row = np.zeros(number, bool)
    for found in corpus.batches(range(number), batch_size):
        places, firsts = np.unique(found.documents, return_index=True)
        new = (places >= 0) & ~has_row[places]
        for name, values in found.batch.features.items():
            whole = features.setdefault(name, np.zeros((number, *values.shape[1:]), values.dtype))
            whole[places[new]] = values[firsts[new]]
        has_row[places[new]] = True
    return Rows(features, has_row)


def score_units(
    model: ModelConfig,
    config: PresenceConfig,
    z_loss: float,
    params: PyTree,
    rows: Rows,
    members: Members,
    batch_size: int,
    most_targets: int | None,
) -> UnitScores:
    """Returns the units' scores.

    Args:
      config: its `layers` and `score_loss`.
      members: which rows form each unit.
      batch_size: rows at a time, at least one unit.
      most_targets: that count in a row; None is all.
    """
    num_units, size = members.shape
    at_once = max(1, batch_size // size)
    run = _compile_ready(model, config, z_loss, most_targets, at_once)
    results = []
    for start in range(0, num_units, at_once):
        chosen = members[start : start + at_once].reshape(-1)
        padding = at_once * size - len(chosen)
        features = {
            name: np.pad(values[chosen], [(0, padding)] + [(0, 0)] * (values.ndim - 1))
            for name, values in rows.features.items()
        }
        found = [np.asarray(value, np.float64) for value in run(params, features)]
        results.append([value[: len(chosen) // size] for value in found])
    score, loss_sum, num_tokens = (np.concatenate(values) for values in zip(*results))
    return UnitScores(score, loss_sum / num_tokens)


@functools.cache  # one a unit size
def _compile_ready(
    model: ModelConfig,
    config: PresenceConfig,
    z_loss: float,
    most_targets: int | None,
    num_units: int,
) -> Any:
    """Returns the jitted (params, features) -> (scores, loss sums, token counts) of units."""
    loss_fun = token_loss(build_model(model), z_loss, most_targets=most_targets)
    units = PresenceConfig(
        num_microbatches=num_units,
        layers=config.layers,
        score_loss=config.score_loss,
        row_order="contiguous",
    )
    return jax.jit(functools.partial(unit_scores, loss_fun, config=units, has_aux=True))


class UnitScorer:
    """Scores units under one checkpoint; what is scored already is read.

    Attributes:
      step: of the checkpoint.
      protocol: what the scores depend on, for JSON.
    """

    def __init__(
        self,
        request: Request,
        settings: Settings,
        rows: Rows,
        directory: Path,
        batch_size: int,
    ):
        """Reads the parameters.

        Args:
          request, settings: of the scoring.
          rows: that units are made of.
          directory: of what is scored.
          batch_size: rows at a time.

        Raises:
          ValueError: the directory holds scores of something else.
        """
        self._settings, self._rows, self._directory = settings, rows, directory
        self._batch_size = batch_size
        self._params = checkpoints.load(settings.checkpoints[0])
        described = describe(settings, request, [checkpoints.digest(self._params)])
        identity = json.loads(json.dumps(described))
        path = directory / "units.json"
        if path.is_file():
            check_same(json.loads(path.read_text("utf-8")), identity, directory, "scores")
        else:
            write_text_atomically(json.dumps(identity, indent=2) + "\n", path)
        names = ("layers", "score_loss", "task_feature_lengths")
        self.step = settings.checkpoints[0].step
        self.protocol = {**identity["checkpoints"][0], **{name: identity[name] for name in names}}

    def __call__(self, name: str, members: Members) -> UnitScores:
        """Returns the scores of units.

        Args:
          name: of the file that keeps them.
          members: rows of each unit.
        """
        path = self._directory / f"{name}.parquet"
        if not path.is_file():
            settings = self._settings
            found = score_units(
                settings.model,
                settings.presence,
                settings.z_loss,
                self._params,
                self._rows,
                members,
                self._batch_size,
                settings.most_targets,
            )
            sink = io.BytesIO()
            pq.write_table(pa.table(found._asdict()), sink)
            write_bytes_atomically(sink.getvalue(), path)
        table = pq.read_table(path)
        return UnitScores(*(table[name].to_numpy() for name in UnitScores._fields))
