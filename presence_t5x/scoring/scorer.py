"""Rows scored by one compiled function, and documents by the rows that they are cut into."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree

from presence_t5x.accumulation import num_rows
from presence_t5x.config_types import ModelConfig, PresenceConfig
from presence_t5x.gradients import example_norms
from presence_t5x.held_out import num_chunks
from presence_t5x.layouts import Layout
from presence_t5x.losses import token_loss
from presence_t5x.models.families import build_model, init_params
from presence_t5x.partitioning import num_row_parts
from presence_t5x.scored_layers import select_layers
from presence_t5x.scoring.corpus import DocumentBatch

SCORE = "score"
# The squared norm of the summed loss's gradient over the number of tokens: if the gradients of
# tokens were independent, the mean's norm would fall with a row's length, and this would not.
PER_TOKEN = "score_per_token"


class DocumentScores(NamedTuple):
    """Of consecutive documents; NaN where a document makes no row, or its loss is not finite.

    Attributes:
      loss: mean token loss.
      scores: by column, each a mean over target tokens of the rows' squared gradient norms.
    """

    loss: Float[np.ndarray, " documents"]
    scores: Mapping[str, Float[np.ndarray, " documents"]]


class Scorer:
    """Scores rows of a model; holds no parameters."""

    def __init__(
        self,
        model: ModelConfig,
        config: PresenceConfig,
        z_loss: float,
        *,
        batch_size: int,
        most_targets: int | None = None,
        by_layer: bool = False,
        mesh: jax.sharding.Mesh | None = None,
    ):
        """Compiles nothing yet.

        Args:
          model: of the parameters.
          config: its `layers` and `score_loss`.
          z_loss: of the token loss.
          batch_size: rows at a time, rounded up to what the devices divide.
          most_targets: that count in a row (`DataConfig.most_targets`); None is all.
          by_layer: a column for every pattern of `layers`, too.
          mesh: None is a single device.

        Raises:
          ValueError: a pattern matches nothing.
        """
        parts = 1 if mesh is None else num_row_parts(mesh)
        self.batch_size = -(-batch_size // parts) * parts
        self._parts = _parts_of(model, config.layers, by_layer)
        self._norms_of_means = config.score_loss == "mean"
        self._run = compile_ready_score(model, config, z_loss, most_targets, mesh)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scores."""
        return (*self._parts, PER_TOKEN)

    def documents(
        self,
        params: PyTree,
        batches: Iterable[DocumentBatch],
        documents: range,
        report: Callable[[int], None] = lambda number: None,
    ) -> DocumentScores:
        """Returns the scores of documents whose rows the batches hold.

        While the devices work on one batch, the next is made.

        Args:
          params: of the model.
          batches: rows in order of the documents.
          documents: which they are.
          report: called after each batch with how many of the documents were reached so far.
        """
        sums = _Sums(len(documents), len(self.columns))
        waiting: Any = None
        for found in batches:
            results = self._run(params, found.batch.features)
            if waiting is not None:
                self._add(sums, *waiting)
                report(int(waiting[1].max()) + 1)
            waiting = (results, found.documents - documents.start, found.documents >= 0)
        if waiting is not None:
            self._add(sums, *waiting)
        report(len(documents))
        means = sums.means()
        return DocumentScores(means[:, 0], dict(zip(self.columns, means[:, 1:].T)))

    def _add(self, sums: "_Sums", results: Any, places: np.ndarray, real: np.ndarray) -> None:
        norms, losses, num_tokens = (np.asarray(value, np.float64)[real] for value in results)
        columns = [norms[:, chosen].sum(axis=1) for chosen in self._parts.values()]
        known = np.maximum(num_tokens, 1.0)
        columns.append(columns[0] * (known if self._norms_of_means else 1 / known))
        values = np.stack([losses, *(column * num_tokens for column in columns)], axis=1)
        sums.add(places[real], values, num_tokens)


class _Sums:
    """Sums over the rows of documents, in order of the rows."""

    def __init__(self, num_documents: int, num_scores: int):
        self._values = np.zeros((num_documents, 1 + num_scores))
        self._num_tokens = np.zeros(num_documents)

    def add(self, places: np.ndarray, values: np.ndarray, num_tokens: np.ndarray) -> None:
        np.add.at(self._values, places, values)
        np.add.at(self._num_tokens, places, num_tokens)

    def means(self) -> np.ndarray:
        """Sums over numbers of tokens; NaN where there is none."""
        known = np.where(self._num_tokens > 0, self._num_tokens, np.nan)
        means = self._values / known[:, None]
        return np.where(np.isfinite(means), means, np.nan)


@functools.lru_cache(maxsize=4)  # several checkpoints of a model compile once
def compile_ready_score(
    model: ModelConfig,
    config: PresenceConfig,
    z_loss: float,
    most_targets: int | None,
    mesh: jax.sharding.Mesh | None,
) -> Any:
    """Returns the jitted (params, features) -> (norms, loss sums, token counts) of rows."""
    loss_fun = token_loss(build_model(model), z_loss, most_targets=most_targets)

    def score(params: PyTree, features: Mapping[str, Any]) -> Any:
        at_once = PresenceConfig(
            num_microbatches=num_chunks(num_rows(features)),
            layers=config.layers,
            score_loss=config.score_loss,
        )
        return example_norms(loss_fun, params, features, config=at_once, has_aux=True)

    if mesh is None:
        return jax.jit(score)
    return jax.jit(lambda params, features: Layout(mesh).map_rows(score, params, features))


def _parts_of(model: ModelConfig, layers: Sequence[str], by_layer: bool) -> dict[str, np.ndarray]:
    """Returns which of the scored parameters each column adds up."""
    shapes = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    selection = select_layers(shapes, layers)
    everything = np.arange(len(selection))
    parts = {SCORE: everything}
    for stack in model.stacks:
        inside = [leaf.path.startswith(f"{stack}/") for leaf in selection]
        parts[f"{SCORE}_{stack}"] = everything[np.array(inside)]
    for pattern in layers if by_layer else ():
        wanted = {leaf[1:] for leaf in select_layers(shapes, [pattern])}
        inside = [leaf[1:] in wanted for leaf in selection]
        if sum(inside) < len(wanted):
            raise ValueError(
                f"layers: {pattern!r} is part of another pattern's stack and gets no column of its "
                "own; name the stack's layers one by one"
            )
        parts[f"{SCORE}/{pattern}"] = everything[np.array(inside)]
    return parts


def tracin(
    scores: Sequence[Float[np.ndarray, " documents"]], learning_rates: Sequence[float]
) -> Float[np.ndarray, " documents"]:
    """Returns the sum of scores under checkpoints, times their learning rates.

    Source: TracInCP (Pruthi et al. 2020), an example with itself (Thakkar et al. 2023, section 2).

    >>> tracin([np.array([1.0, 2.0]), np.array([4.0, 8.0])], [0.5, 0.25])
    array([1.5, 3. ])
    """
    return np.asarray(sum(rate * score for rate, score in zip(learning_rates, scores, strict=True)))
