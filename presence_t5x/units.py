"""Sweeps over a step's microbatches: each unit's loss, score and gradient, on this device's rows.

`accumulation` says which rows form a unit and how gradients add up, `influence` what a score is;
here a loss function is differentiated once per microbatch. Reductions over devices are those a unit
needs by definition: a microbatch's loss and the norm of its scored gradients are summed, a shard's
are not. Units that are single rows are in `example_units`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from presence_t5x import accumulation
from presence_t5x.config_types import PresenceConfig
from presence_t5x.influence import unit_score
from presence_t5x.reduction import RowDevices
from presence_t5x.scored_layers import SelectedLeaf, take_selected
from presence_t5x.weighting import PresenceState, standardize_scores


class UnitResults(NamedTuple):
    """Per-unit numbers; arrays of one leading shape.

    `nonfinite`: its loss, score or gradient is not finite, whether it has tokens or none.
    """

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
    devices: RowDevices
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

    def differentiate(self, params: PyTree, rows: PyTree, key: Any):
        """Returns ((loss sum, (token count, metrics)), gradient) of this device's rows."""
        return jax.value_and_grad(self.total_loss, has_aux=True)(params, rows, key)

    def microbatch_key(self, rng: Any, index: Int[Array, ""]) -> Any:
        """Returns the key of a microbatch's rows on this device."""
        if rng is None:
            return None
        key = jax.random.fold_in(rng, index)
        return jax.random.fold_in(key, self.devices.index()) if self.devices.names else key

    def row_keys(self, rng: Any, index: Int[Array, ""], size: int) -> Any:
        """Returns one key a row, the same on any number of devices."""
        if rng is None:
            return None
        rows = jnp.arange(size) + self.devices.index() * size
        key = jax.random.fold_in(rng, index)
        return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def stored_sweep(
    problem: Problem, params: PyTree, microbatches: PyTree, rng: Any
) -> tuple[UnitResults, PyTree[Shaped[Array, "microbatches ..."]]]:
    """Returns every microbatch's results and gradient, of which each device keeps its part."""
    params = problem.devices.as_varying(params)

    def body(_, inputs):
        rows, index = inputs
        key = problem.microbatch_key(rng, index)
        loss, gradient = problem.differentiate(params, rows, key)
        gradient = problem.devices.reduce_scatter(gradient, problem.config.gradient_dtype)
        selected = take_selected(gradient, problem.selection)
        return None, (_global_unit(problem, loss, selected, all_finite(gradient)), gradient)

    return scan_microbatches(body, None, microbatches)[1]


def unit_scoring_sweep(
    problem: Problem, params: PyTree, microbatches: PyTree, rng: Any
) -> UnitResults:
    """Returns every microbatch's results, forming no gradient but that of the scored parameters."""
    params = problem.devices.as_varying(params)

    def body(_, inputs):
        rows, index = inputs
        loss, gradient = problem.differentiate(params, rows, problem.microbatch_key(rng, index))
        # What is not selected is never computed: nothing looks at it.
        selected = _reduced(problem, take_selected(gradient, problem.selection))
        return None, _global_unit(problem, loss, selected, jnp.bool_(True))

    return scan_microbatches(body, None, microbatches)[1]


def streaming_sweep(
    problem: Problem,
    params: PyTree,
    microbatches: PyTree,
    rng: Any,
    temperature: Float[Array, ""],
    state: PresenceState,
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Returns the streaming sum over microbatches or shards, and their results.

    Of a microbatch only the scored gradients cross devices here, for their norm.
    """
    params, config = problem.devices.as_varying(params), problem.config

    def body(carry, inputs):
        rows, index = inputs
        key = problem.microbatch_key(rng, index)
        loss, gradient = problem.differentiate(params, rows, key)
        selected, finite = take_selected(gradient, problem.selection), all_finite(gradient)
        if config.granularity == "microbatch":
            unit = _global_unit(problem, loss, _reduced(problem, selected), finite)
        else:
            unit = single_unit(problem, loss, selected, finite)
        logit = temperature * standardize_scores(unit.score, config, state)
        shift = accumulation.shift_logits(carry, logit[None], unit.live[None])
        carry = accumulation.add_weighted(
            carry, shift, gradient, factor=shift.exponentials[0], keep=unit.live
        )
        return carry, unit

    start = accumulation.init_streaming_sum(params, problem.devices)
    return scan_microbatches(body, start, microbatches)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of the tree is finite: 0 times it is 0.

    (A sum takes a third of the time of `isfinite` and `all` on CPUs, which store each predicate.)
    """
    zeros = [jnp.sum(0 * leaf).astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    return jnp.isfinite(jnp.sum(jnp.stack(zeros)))


def squares_finite(gradients: PyTree) -> Bool[Array, ""]:
    """Whether the squared norm of a gradient is a float32 number, and so every number in it.

    Then an optimizer's second moments are finite too: means of these squares.
    """
    # Doubled, or XLA sees the optimizer's own squares in them and stores those for both: on CPUs
    # that takes six times as long.
    floats = (leaf.astype(jnp.float32) for leaf in jax.tree.leaves(gradients))
    return jnp.isfinite(sum((jnp.sum(jnp.square(2 * leaf)) for leaf in floats), jnp.zeros(())))


def _reduced(problem: Problem, selected):
    """Returns a microbatch's scored gradients summed over devices, each keeping its part."""
    return problem.devices.reduce_scatter_selected(
        selected, problem.selection, problem.config.gradient_dtype
    )


def _global_unit(problem: Problem, loss, selected, finite) -> UnitResults:
    """Returns a microbatch's result over all devices, from their parts of its scored gradients."""
    devices, selection = problem.devices, problem.selection
    loss_sum, (num_tokens, metrics) = loss
    loss_sum, num_tokens, faulty = devices.psum((loss_sum, num_tokens, 1.0 - finite))
    if callable(problem.config.score):  # it may look at any number of the gradient
        selected = devices.gather_selected(devices.finish_parts(selected), selection)
    score = unit_score(
        selected,
        loss_sum,
        num_tokens,
        problem.config,
        norm_fn=functools.partial(devices.squared_norm, selection=selection),
    )
    return judge(score, loss_sum, num_tokens, faulty == 0, metrics)


def single_unit(problem: Problem, loss, selected, finite) -> UnitResults:
    """Returns the result of a unit that one device holds alone."""
    loss_sum, (num_tokens, metrics) = loss
    score = unit_score(selected, loss_sum, num_tokens, problem.config)
    return judge(score, loss_sum, num_tokens, finite, metrics)


def judge(score, loss_sum, num_tokens, gradient_finite, metrics) -> UnitResults:
    """Decides whether a unit is live: finite loss, score and gradient, and at least one token."""
    finite = jnp.isfinite(loss_sum) & jnp.isfinite(score) & gradient_finite
    return UnitResults(score, loss_sum, num_tokens, finite & (num_tokens > 0), ~finite, metrics)


def scan_microbatches(
    body: Callable[..., Any], start: PyTree, microbatches: PyTree, *beside: PyTree
) -> tuple[PyTree, PyTree]:
    """Returns lax.scan(body, start, ...) over (microbatch, its index, *beside).

    A single microbatch makes no loop: XLA for TPUs takes one of one iteration apart, and then
    differentiates twice (1.74 times the FLOPs of mT5-base's step).
    """
    number = jax.tree.leaves(microbatches)[0].shape[0]
    inputs = (microbatches, jnp.arange(number), *beside)
    if number > 1:
        return lax.scan(body, start, inputs)
    end, result = body(start, jax.tree.map(lambda leaf: leaf[0], inputs))
    return end, jax.tree.map(lambda leaf: leaf[None], result)
