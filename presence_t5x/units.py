"""Sweeps over a step's microbatches: each unit's loss, score and gradient, on this device's rows.

`accumulation` says which rows form a unit and how gradients add up, `influence` what a score is;
here a loss function is differentiated once (or, for examples, scored and then differentiated) per
microbatch. Reductions over devices are those a unit needs by definition: a microbatch's loss and
scored gradients are summed over the data axis, a shard's and an example's are not.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from presence_t5x import accumulation
from presence_t5x.config_types import PresenceConfig
from presence_t5x.influence import SelectedLeaf, replace_selected, take_selected, unit_score
from presence_t5x.weighting import PresenceState, standardize_scores


class UnitResults(NamedTuple):
    """Per-unit numbers; arrays of one leading shape. `nonfinite`: dropped though it had tokens."""

    score: Float[Array, "*units"]
    loss_sum: Float[Array, "*units"]
    num_tokens: Float[Array, "*units"]
    live: Bool[Array, "*units"]
    nonfinite: Bool[Array, "*units"]
    metrics: PyTree


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is differentiated and how, fixed for the whole step."""

    loss_fun: Callable[..., Any]
    config: PresenceConfig
    selection: tuple[SelectedLeaf, ...]
    axis_name: str | None
    has_aux: bool

    def total_loss(self, params: PyTree, rows: PyTree, key: Any):
        """Returns a microbatch's (loss sum, (token count, metrics)), all summed over its rows."""
        outputs = self.loss_fun(params, rows, key)
        expected = 3 if self.has_aux else 2
        if not isinstance(outputs, tuple) or len(outputs) != expected:
            raise ValueError(
                f"loss_fun must return {expected} values (loss_sums, num_tokens"
                f"{', metrics' if self.has_aux else ''}) with has_aux={self.has_aux}"
            )
        size = accumulation.num_rows(rows)
        for name, value in zip(("loss_sums", "num_tokens"), outputs):
            if jnp.shape(value) not in ((), (size,)):
                raise ValueError(
                    f"loss_fun: {name} has shape {jnp.shape(value)}; one number a row "
                    f"({(size,)}) is needed, or their sum"
                )
        loss_sum, num_tokens = (jnp.sum(value.astype(jnp.float32)) for value in outputs[:2])
        return loss_sum, (lax.stop_gradient(num_tokens), outputs[2] if self.has_aux else {})

    def microbatch_key(self, rng: Any, index: Int[Array, ""]) -> Any:
        """Returns the key of a microbatch's rows on this device."""
        if rng is None:
            return None
        key = jax.random.fold_in(rng, index)
        if self.axis_name is not None:
            key = jax.random.fold_in(key, lax.axis_index(self.axis_name))
        return key

    def row_keys(self, rng: Any, index: Int[Array, ""], size: int) -> Any:
        """Returns one key a row, the same on any number of devices."""
        if rng is None:
            return None
        rows = jnp.arange(size)
        if self.axis_name is not None:
            rows += lax.axis_index(self.axis_name) * size
        key = jax.random.fold_in(rng, index)
        return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def stored_sweep(
    problem: Problem, params: PyTree, microbatches: PyTree, rng: Any
) -> tuple[UnitResults, PyTree[Shaped[Array, "microbatches ..."]]]:
    """Returns every microbatch's results and (reduce-scattered) gradient."""
    params = accumulation.as_varying(params, problem.axis_name)

    def body(_, inputs):
        rows, index = inputs
        unit, gradient = _microbatch_unit(problem, params, rows, problem.microbatch_key(rng, index))
        return None, (unit, accumulation.store_gradient(gradient, problem.axis_name))

    return lax.scan(body, None, _indexed(microbatches, problem))[1]


def streaming_sweep(
    problem: Problem,
    params: PyTree,
    microbatches: PyTree,
    rng: Any,
    temperature: Float[Array, ""],
    state: PresenceState,
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Returns the streaming sum over microbatches or shards, and their results."""
    params = accumulation.as_varying(params, problem.axis_name)

    def body(carry, inputs):
        rows, index = inputs
        unit, gradient = _microbatch_unit(problem, params, rows, problem.microbatch_key(rng, index))
        logit = temperature * standardize_scores(unit.score, problem.config, state)
        shift = accumulation.shift_logits(carry, logit[None], unit.live[None])
        carry = accumulation.add_weighted(
            carry, shift, gradient, factor=shift.exponentials[0], keep=unit.live
        )
        return carry, unit

    start = accumulation.init_streaming_sum(params, problem.axis_name)
    return lax.scan(body, start, _indexed(microbatches, problem))


def example_sweep(
    problem: Problem,
    params: PyTree,
    microbatches: PyTree,
    rng: Any,
    temperature: Float[Array, ""],
    state: PresenceState,
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Returns the streaming sum over examples: each microbatch is scored, then differentiated."""

    def logits_of(rows, keys, _):
        units = score_rows(problem, params, rows, keys)
        return units, temperature * standardize_scores(units.score, problem.config, state)

    return _weighted_row_sweep(problem, params, microbatches, rng, logits_of, None)


def scored_example_sweep(
    problem: Problem,
    params: PyTree,
    microbatches: PyTree,
    rng: Any,
    units: UnitResults,
    logits: Float[Array, "microbatches rows"],
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Returns the streaming sum over examples whose scores are known from a sweep before."""
    return _weighted_row_sweep(
        problem, params, microbatches, rng, lambda rows, keys, known: known, (units, logits)
    )


def scoring_sweep(problem: Problem, params: PyTree, microbatches: PyTree, rng: Any) -> UnitResults:
    """Returns the results of every example, [microbatches, rows], forming no weighted gradient."""

    def body(_, inputs):
        rows, index = inputs
        keys = problem.row_keys(rng, index, accumulation.num_rows(rows))
        return None, score_rows(problem, params, rows, keys)

    return lax.scan(body, None, _indexed(microbatches, problem))[1]


def score_rows(problem: Problem, params: PyTree, rows: PyTree, keys: Any) -> UnitResults:
    """Returns one result a row, differentiating only the scored parameters (vmap over rows)."""
    params = accumulation.as_varying(params, problem.axis_name)
    selected = take_selected(params, problem.selection)

    def row_loss(values, row, key):
        return problem.total_loss(
            replace_selected(params, problem.selection, values), _one_row(row), key
        )

    def result(row, key):
        if problem.config.score == "loss":
            (loss_sum, (num_tokens, metrics)), gradient = row_loss(selected, row, key), {}
        else:
            (loss_sum, (num_tokens, metrics)), gradient = jax.value_and_grad(
                row_loss, has_aux=True
            )(selected, row, key)
        score = unit_score(gradient, loss_sum, num_tokens, problem.config)
        return _judge(score, loss_sum, num_tokens, jnp.bool_(True), metrics)

    return jax.vmap(result)(rows, keys)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of the tree is finite."""
    checks = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(checks))


def _microbatch_unit(problem: Problem, params, rows, key):
    """Returns a microbatch's (or, for shards, this device's part's) result and local gradient."""
    (loss_sum, (num_tokens, metrics)), gradient = jax.value_and_grad(
        problem.total_loss, has_aux=True
    )(params, rows, key)
    selected = take_selected(gradient, problem.selection)
    faulty = 1.0 - all_finite(gradient)
    if problem.config.granularity == "microbatch":
        loss_sum, num_tokens, faulty, selected = accumulation.psum(
            (loss_sum, num_tokens, faulty, selected), problem.axis_name
        )
    score = unit_score(selected, loss_sum, num_tokens, problem.config)
    return _judge(score, loss_sum, num_tokens, faulty == 0, metrics), gradient


def _judge(score, loss_sum, num_tokens, gradient_finite, metrics) -> UnitResults:
    """Decides whether a unit is live: finite loss, score and gradient, and at least one token."""
    finite = jnp.isfinite(loss_sum) & jnp.isfinite(score) & gradient_finite
    return UnitResults(score, loss_sum, num_tokens, finite & (num_tokens > 0), ~finite, metrics)


def _weighted_row_sweep(problem: Problem, params, microbatches, rng, logits_of, known):
    """Adds up the gradients of sum_r exp(logit_r) L_r over the microbatches."""
    params = accumulation.as_varying(params, problem.axis_name)

    def body(carry, inputs):
        (rows, index), known_rows = inputs
        keys = problem.row_keys(rng, index, accumulation.num_rows(rows))
        units, logits = logits_of(rows, keys, known_rows)
        shift = accumulation.shift_logits(carry, logits, units.live)
        gradient = _weighted_rows_gradient(
            problem, params, rows, keys, shift.exponentials, units.live
        )
        finite = all_finite(gradient)
        carry = accumulation.add_weighted(
            carry, shift, gradient, factor=1.0, keep=finite & units.live.any()
        )
        lost = units.live & ~finite
        return carry, units._replace(live=units.live & finite, nonfinite=units.nonfinite | lost)

    start = accumulation.init_streaming_sum(params, problem.axis_name)
    return lax.scan(body, start, (_indexed(microbatches, problem), known))


def _weighted_rows_gradient(problem: Problem, params, rows, keys, factors, live):
    """Returns the gradient of sum_r factors_r L_r; dead rows are computed as a copy of a live one.

    A zero cotangent through a non-finite forward pass would still give NaN, so the dead row's
    content is exchanged before the pass, not its result afterwards.
    """
    source = jnp.where(live, jnp.arange(live.shape[0]), jnp.argmax(live))
    rows = jax.tree.map(lambda leaf: leaf[source], rows)

    def weighted_loss(values):
        losses, _ = jax.vmap(lambda row, key: problem.total_loss(values, _one_row(row), key))(
            rows, keys
        )
        return jnp.sum(factors * losses)

    return jax.grad(weighted_loss)(params)


def _one_row(row: PyTree) -> PyTree:
    """Returns a batch of one row."""
    return jax.tree.map(lambda leaf: leaf[None], row)


def _indexed(microbatches: PyTree, problem: Problem):
    """Pairs each microbatch with its index, for a scan."""
    return microbatches, jnp.arange(problem.config.num_microbatches)
