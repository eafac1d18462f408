"""Sweeps over microbatches whose units are examples: every row is scored, then all are weighted.

A loss function with norm probes (`losses.ProbedLoss`) is run forward once: one differentiation
gives all rows' scores, another through the same pass the weighted gradient. For any other, and for
scores that look at more than a norm, rows are differentiated one by one for the scored parameters
(vmap). A row's weight is its own, so streaming sums are all that is needed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from presence_t5x import accumulation
from presence_t5x.influence import norm_probes, probed_norms, probed_scores, squared_norm
from presence_t5x.scored_layers import replace_selected, take_selected
from presence_t5x.units import (
    Problem,
    UnitResults,
    all_finite,
    judge,
    scan_microbatches,
    single_unit,
)


class RowNorms(NamedTuple):
    """Rows' squared gradient norms, one for each scored parameter, and their losses."""

    norms: Float[Array, "*rows parameters"]
    loss_sums: Float[Array, "*rows"]
    num_tokens: Float[Array, "*rows"]


LogitsFn = Callable[[UnitResults], Float[Array, " rows"]]
GradientFn = Callable[[Float[Array, " rows"], Bool[Array, " rows"]], PyTree]


def example_sweep(
    problem: Problem, params: PyTree, microbatches: PyTree, rng: Any, logits_fn: LogitsFn
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Returns the streaming sum over examples, and their results [microbatches, rows].

    Args:
      logits_fn: a microbatch's results to its rows' softmax logits (temperature times z).
    """
    params = problem.devices.as_varying(params)

    def body(carry, inputs):
        rows, index = inputs
        units, gradient_fn = _score_and_share(problem, params, rows, rng, index)
        return _add_rows(problem, carry, units, logits_fn(units), gradient_fn)

    start = accumulation.init_streaming_sum(params, problem.devices)
    return scan_microbatches(body, start, microbatches)


def scored_example_sweep(
    problem: Problem,
    params: PyTree,
    microbatches: PyTree,
    rng: Any,
    units: UnitResults,
    logits: Float[Array, "microbatches rows"],
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Returns the streaming sum over examples whose scores are known from a sweep before."""
    params = problem.devices.as_varying(params)

    def body(carry, inputs):
        rows, index, known, row_logits = inputs

        def gradient_fn(factors, live):
            return _weighted_rows_gradient(problem, params, rows, rng, index, factors, live)

        return _add_rows(problem, carry, known, row_logits, gradient_fn)

    start = accumulation.init_streaming_sum(params, problem.devices)
    return scan_microbatches(body, start, microbatches, units, logits)


def scoring_sweep(problem: Problem, params: PyTree, microbatches: PyTree, rng: Any) -> UnitResults:
    """Returns the results of every example, [microbatches, rows], forming no weighted gradient."""
    params = problem.devices.as_varying(params)

    def body(_, inputs):
        rows, index = inputs
        return None, _score_and_share(problem, params, rows, rng, index)[0]

    return scan_microbatches(body, None, microbatches)[1]


def norm_sweep(problem: Problem, params: PyTree, microbatches: PyTree) -> RowNorms:
    """Returns every example's norms, [microbatches, rows, parameters], without dropout.

    They are those of the mean or the summed token loss, as `score_loss` has it.
    """

    def body(_, inputs):
        rows, _ = inputs
        found = _row_norms(problem, params, rows)
        if problem.config.score_loss == "mean":
            num_tokens = jnp.maximum(found.num_tokens, 1.0)
            found = found._replace(norms=found.norms / jnp.square(num_tokens)[:, None])
        return None, found

    return scan_microbatches(body, None, microbatches)[1]


def _row_norms(problem: Problem, params, rows) -> RowNorms:
    """Returns the norms of summed losses: by probes, or else by vmap over rows."""
    probes = _norm_probes(problem, params, rows)
    if probes is not None:
        losses, pull_back, (num_tokens, _) = _probed_losses(problem, params, probes, rows, None)
        norms = probed_norms(pull_back(jnp.ones_like(losses))[1], params, problem.selection)
        return RowNorms(norms.T, losses, num_tokens)
    selected = take_selected(params, problem.selection)

    def row_loss(values, row):
        changed = replace_selected(params, problem.selection, values)
        return problem.total_loss(changed, _one_row(row), None)

    def result(row):
        (loss, (num_tokens, _)), gradient = jax.value_and_grad(row_loss, has_aux=True)(
            selected, row
        )
        norms = [squared_norm(gradient[leaf.path]) for leaf in problem.selection]
        return RowNorms(jnp.stack(norms), loss, num_tokens)

    return jax.vmap(result)(rows)


def _score_and_share(problem: Problem, params, rows, rng, index) -> tuple[UnitResults, GradientFn]:
    """Returns the rows' results, and a function of factors to the gradient of sum_r f_r L_r.

    What the function does not use of the shared forward pass, the compiler drops.
    """
    probes = _probes(problem, params, rows)
    if probes is None:
        units = _score_rows(problem, params, rows, rng, index)

        def separate(factors, live):
            return _weighted_rows_gradient(problem, params, rows, rng, index, factors, live)

        return units, separate

    key = problem.microbatch_key(rng, index)
    loss_sums, pull_back, (num_tokens, metrics) = _probed_losses(problem, params, probes, rows, key)
    norms: Any = jnp.zeros_like(loss_sums)
    if probes:
        found = pull_back(jnp.ones_like(loss_sums))[1]
        norms = jnp.sum(probed_norms(found, params, problem.selection), axis=0)
    scores = probed_scores(norms, loss_sums, num_tokens, problem.config)
    units = judge(scores, loss_sums, num_tokens, jnp.bool_(True), metrics)

    def shared(factors, live):
        return lax.cond(
            # A finite loss may have a gradient that is not, which a factor of 0 would make NaN.
            problem.devices.agree(~units.nonfinite.any()),
            lambda: pull_back(factors)[0],
            lambda: _weighted_rows_gradient(problem, params, rows, rng, index, factors, live),
        )

    return units, shared


def _probed_losses(problem: Problem, params, probes, rows, key):
    """Returns (loss sums, pull-back to (params, probes), (token counts, metrics)) of the rows."""

    def losses(params, probes):
        sums, num_tokens, *metrics = problem.loss_fun.probed(params, probes, rows, key)
        return sums, (lax.stop_gradient(num_tokens), metrics[0] if problem.has_aux else {})

    return jax.vjp(losses, params, probes, has_aux=True)


def _probes(problem: Problem, params, rows) -> dict[str, Any] | None:
    """Returns the scored parameters' probes; {} if the score needs none, None if there are none."""
    if callable(problem.config.score):
        return None
    if problem.config.score == "loss" and hasattr(problem.loss_fun, "probe_shape"):
        return {}
    return _norm_probes(problem, params, rows)


def _norm_probes(problem: Problem, params, rows) -> dict[str, Any] | None:
    """Returns the scored parameters' probes; None if one of them has none."""
    shape_fn = getattr(problem.loss_fun, "probe_shape", None)
    if shape_fn is None:
        return None
    size = accumulation.num_rows(rows)
    return norm_probes(params, problem.selection, lambda path: shape_fn(path, size))


def _score_rows(problem: Problem, params, rows, rng, index) -> UnitResults:
    """Returns one result a row, differentiating only the scored parameters (vmap over rows)."""
    selected = take_selected(params, problem.selection)

    def row_loss(values, row, key):
        changed = replace_selected(params, problem.selection, values)
        return problem.total_loss(changed, _one_row(row), key)

    def result(row, key):
        if problem.config.score == "loss":
            loss, gradient = row_loss(selected, row, key), {}
        else:
            loss, gradient = jax.value_and_grad(row_loss, has_aux=True)(selected, row, key)
        return single_unit(problem, loss, gradient, jnp.bool_(True))

    return jax.vmap(result)(rows, problem.row_keys(rng, index, accumulation.num_rows(rows)))


def _weighted_rows_gradient(problem: Problem, params, rows, rng, index, factors, live):
    """Returns the gradient of sum_r factors_r L_r; dead rows are computed as a copy of a live one.

    A zero cotangent through a non-finite forward pass would still give NaN, so the dead row's
    content is exchanged before the pass, not its result afterwards; for padding if none is alive.
    """

    def exchange(leaf):
        live_row = lax.dynamic_index_in_dim(leaf, jnp.argmax(live), axis=0)
        live_row = jnp.where(live.any(), live_row, jnp.zeros_like(live_row))
        return jnp.where(live.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, live_row)

    # Rows that were scored one by one had a key each: another would drop other activations.
    has_row_keys = rng is not None and _probes(problem, params, rows) is None
    rows = jax.tree.map(exchange, rows)

    def weighted_loss(values):
        if hasattr(problem.loss_fun, "weighted_sum") and not has_row_keys:
            key = problem.microbatch_key(rng, index)
            return problem.loss_fun.weighted_sum(values, factors, rows, key)
        keys = problem.row_keys(rng, index, accumulation.num_rows(rows))
        losses, _ = jax.vmap(lambda row, key: problem.total_loss(values, _one_row(row), key))(
            rows, keys
        )
        return jnp.sum(factors * losses)

    return jax.grad(weighted_loss)(params)


def _add_rows(
    problem: Problem,
    carry: accumulation.StreamingSum,
    units: UnitResults,
    logits: Float[Array, " rows"],
    gradient_fn: GradientFn,
) -> tuple[accumulation.StreamingSum, UnitResults]:
    """Adds a microbatch's live rows, weighted; drops it whole if their gradient is not finite."""
    devices = problem.devices
    shift = accumulation.shift_logits(carry, logits, units.live, devices)
    gradient = gradient_fn(shift.exponentials, units.live)
    finite = devices.agree(all_finite(gradient))
    any_live = ~devices.agree(~units.live.any())
    carry = accumulation.add_weighted(carry, shift, gradient, factor=1.0, keep=finite & any_live)
    lost = units.live & ~finite
    return carry, units._replace(live=units.live & finite, nonfinite=units.nonfinite | lost)


def _one_row(row: PyTree) -> PyTree:
    """Returns a batch of one row."""
    return jax.tree.map(lambda leaf: leaf[None], row)
