"""Adafactor as T5X runs it, AdamW, and T5X's learning-rate schedules.

Gives optax transformations; applying them, weighting gradients and sharding are done elsewhere.
The steps that optax does as T5X does are optax's; what is added here is treating each layer of a
scanned stack as a parameter of its own.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import OptimizerConfig
from presence_t5x.scored_layers import STACK_AXIS

MIN_LEARNING_RATE = 1e-8
_GRADIENT_EPSILON = 1e-30  # T5X's epsilon1, added to squared gradients
_MIN_PARAMETER_SCALE = 1e-3  # T5X's epsilon2, in units of RMS(parameter)

Schedule = Callable[[Any], Float[Array, ""]]


class AdafactorState(NamedTuple):
    """Second moments, float32, in trees of the parameters' structure; unused ones have shape (1,).

    Attributes:
      count: updates done.
      v_row, v_col: of factored parameters, the mean squares over the larger and the smaller
        dimension; (layers, size) for a scanned stack.
      v: of unfactored parameters, of the parameter's shape.
    """

    count: Int[Array, ""]
    v_row: PyTree
    v_col: PyTree
    v: PyTree


def learning_rate_schedule(config: OptimizerConfig) -> Schedule:
    """Returns a function of the step (updates already done) to the float32 learning rate.

    The product of the named factors, at least 1e-8. With the defaults, "constant * rsqrt_decay" at
    base 1 and 10,000 warm-up steps, it stays at 0.01 for 10,000 steps and falls with 1/sqrt(step).
    "linear_decay" contains base rate and warm-up itself and belongs alone. Source: T5X's
    `create_learning_rate_scheduler` behaviour; Raffel et al. 2020, section 3.1.2.

    Raises:
      ValueError: an unknown factor, or a warm-up factor with warmup_steps=0.

    >>> schedule = learning_rate_schedule(OptimizerConfig())
    >>> [round(float(schedule(step)), 6) for step in (0, 10_000, 40_000)]
    [0.01, 0.01, 0.005]
    """
    names = [name.strip() for name in config.factors.split("*")]
    for name in names:
        if name not in _FACTORS:
            raise ValueError(
                f"factors={config.factors!r}: unknown factor {name!r}; use {sorted(_FACTORS)} "
                f"joined by '*'{did_you_mean(name, _FACTORS)}"
            )
        if name in _WARMUP_FACTORS and config.warmup_steps == 0:
            raise ValueError(
                f"warmup_steps=0 with factor {name!r} divides by zero; set warmup_steps >= 1 or "
                "remove the factor"
            )

    def schedule(step: Any) -> Float[Array, ""]:
        step = jnp.maximum(0, jnp.asarray(step))
        rate = jnp.ones((), jnp.float32)
        for name in names:
            rate = _FACTORS[name](rate, config, step)
        return jnp.maximum(rate, MIN_LEARNING_RATE)

    return schedule


def build_optimizer(config: OptimizerConfig, scan_layers: bool) -> optax.GradientTransformation:
    """Returns the optimizer, learning rate included: updates are to be added to parameters.

    "adafactor" is Shazeer and Stern 2018 as T5X's `adafactor.py` runs it: no momentum, no clipping
    by global norm, update RMS at most `clipping_threshold` for each parameter, steps relative to
    max(RMS(parameter), 1e-3), second moments factored over two dimensions if both are at least
    `min_dim_size_to_factor`, decaying by 1 - (count - step_offset + 1)^-decay_rate. Gradients are
    cast to float32. `weight_decay` is subtracted as it is, not multiplied by the learning rate;
    `b1` and `b2` are not used. Before `step_offset` T5X's decay is NaN, here it is 0.
    "adamw" is Loshchilov and Hutter 2019 by optax.

    The learning rate of step 0 is used for the first update. `update` needs `params`.

    Args:
      scan_layers: parameters under a name and the same once more ("encoder/encoder") are stacks
        of layers along axis 1; every layer gets the update it would get unrolled. (T5X factors
        scanned kernels whatever their size, which is the same when all dimensions are at least
        128.)

    Raises:
      ValueError: the learning-rate factors are wrong.
    """
    schedule: Any = learning_rate_schedule(config)
    if config.name == "adamw":
        return optax.adamw(schedule, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay)
    steps = [_scale_by_adafactor(config, scan_layers), optax.scale_by_learning_rate(schedule)]
    if config.weight_decay:
        steps.append(optax.add_decayed_weights(-config.weight_decay))
    return optax.chain(*steps)


def adafactor_state(optimizer_state: PyTree) -> AdafactorState:
    """Returns Adafactor's part of an optimizer's state.

    Raises:
      ValueError: the optimizer is another one.
    """
    parts = jax.tree.leaves(optimizer_state, is_leaf=_is_counted)
    found = [part for part in parts if isinstance(part, AdafactorState)]
    if not found:
        raise ValueError("the optimizer keeps no Adafactor state; set OPTIMIZER='adafactor'")
    return found[0]


def continue_optimizer(
    optimizer_state: PyTree, num_updates: int, adafactor: AdafactorState | None = None
) -> PyTree:
    """Returns an optimizer's state as if `num_updates` updates had been done.

    The learning-rate schedule and Adafactor's second-moment schedule go on from there; AdamW's bias
    correction, which belongs to its moments, is left as it is.

    Args:
      adafactor: moments to continue with; None keeps those of `optimizer_state`.
    """

    def advance(part: Any) -> Any:
        if not _is_counted(part):
            return part
        if isinstance(part, AdafactorState):
            part = adafactor or part
        # An array for each: a step that donates its state may not be given one buffer twice.
        return part._replace(count=jnp.array(num_updates, jnp.int32))

    return jax.tree.map(advance, optimizer_state, is_leaf=_is_counted)


def _is_counted(part: Any) -> bool:
    return isinstance(part, (AdafactorState, optax.ScaleByScheduleState))


def _scale_by_adafactor(config: OptimizerConfig, scan_layers: bool) -> optax.GradientTransformation:
    """Returns Adafactor's update of learning rate 1, before its sign is turned."""
    init_leaf, update_leaf = _leaf_functions(config)

    def init_any(path, param):
        if not (scan_layers and _is_stacked(path)):
            return init_leaf(param)
        return jax.vmap(init_leaf, STACK_AXIS, _moment_axes(init_leaf, param))(param)

    def init(params: PyTree) -> AdafactorState:
        moments = jax.tree_util.tree_map_with_path(init_any, params)
        return AdafactorState(jnp.zeros((), jnp.int32), *_transpose(params, moments, 3))

    def update_any(path, count, gradient, param, *moments):
        if not (scan_layers and _is_stacked(path)):
            return update_leaf(count, gradient, param, *moments)
        axes = _moment_axes(init_leaf, param)
        in_axes = (None, STACK_AXIS, STACK_AXIS, *axes)
        return jax.vmap(update_leaf, in_axes, (STACK_AXIS, *axes))(count, gradient, param, *moments)

    def update(gradients: PyTree, state: AdafactorState, params: PyTree | None = None):
        if params is None:
            raise ValueError("params=None: Adafactor scales updates by parameters; pass params")
        results = jax.tree_util.tree_map_with_path(
            lambda path, *leaves: update_any(path, state.count, *leaves),
            gradients,
            params,
            *state[1:],
        )
        updates, *moments = _transpose(gradients, results, 4)
        return updates, AdafactorState(state.count + 1, *moments)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _leaf_functions(config: OptimizerConfig) -> tuple[Callable, Callable]:
    """Returns init(param) -> (v_row, v_col, v) and update(count, gradient, param, *moments)."""
    second_moment = optax.scale_by_factored_rms(
        decay_rate=config.decay_rate,
        step_offset=config.step_offset,
        min_dim_size_to_factor=config.min_dim_size_to_factor,
        epsilon=_GRADIENT_EPSILON,
        decay_rate_fn=_second_moment_decay,
    )
    rescale = []
    if config.clipping_threshold is not None:
        rescale.append(optax.clip_by_block_rms(config.clipping_threshold))
    if config.multiply_by_parameter_scale:
        rescale.append(optax.scale_by_param_block_rms(_MIN_PARAMETER_SCALE))

    def init_leaf(param: Array) -> tuple[Array, ...]:
        state: Any = second_moment.init(param.astype(jnp.float32))
        return state.v_row, state.v_col, state.v

    def update_leaf(count: Array, gradient: Array, param: Array, *moments: Array):
        param = param.astype(jnp.float32)
        state: Any = optax.FactoredState(count, *moments)
        gradient = gradient.astype(jnp.float32)
        result: Any = second_moment.update(gradient, state, param)
        update, state = result
        # A column's share of the mean square may be 0 in float32: 0 gradient times an infinite
        # factor. (In T5X one such column makes the whole parameter NaN.)
        update = jnp.where(jnp.isfinite(gradient) & ~jnp.isfinite(update), 0.0, update)
        for step in rescale:  # these keep no state
            update, _ = step.update(update, optax.EmptyState(), param)
        return update, state.v_row, state.v_col, state.v

    return init_leaf, update_leaf


def _second_moment_decay(step: Any, exponent: Any) -> Array:
    """Returns 1 - (step + 1)^-exponent, 0 up to step 0."""
    return 1.0 - jnp.maximum(step + 1, 1).astype(jnp.float32) ** (-exponent)


def _is_stacked(path: tuple[Any, ...]) -> bool:
    """Tells whether a parameter's path passes through a scanned stack, named like its parent."""
    names = [entry.key for entry in path if hasattr(entry, "key")]
    return any(name == parent for parent, name in itertools.pairwise(names))


def _moment_axes(init_leaf: Callable, stacked: Array) -> tuple[int | None, ...]:
    """Returns where layers lie in v_row, v_col and v of a stack; None where a moment is unused.

    Whole moments keep the parameter's layout, so that they can be sharded alike.
    """
    layer = jax.ShapeDtypeStruct(
        stacked.shape[:STACK_AXIS] + stacked.shape[STACK_AXIS + 1 :], stacked.dtype
    )
    v_row, _, _ = jax.eval_shape(init_leaf, layer)
    is_factored = v_row.shape != (1,)
    return (0, 0, None) if is_factored else (None, None, STACK_AXIS)


def _transpose(outer: PyTree, results: PyTree, width: int) -> tuple[PyTree, ...]:
    """Turns a tree of `width`-tuples into a tuple of trees."""
    inner = jax.tree.structure((0,) * width)
    return jax.tree.transpose(jax.tree.structure(outer), inner, results)


def _linear_decay(rate: Array, config: OptimizerConfig, step: Array) -> Array:
    """Warms up to the base rate, then falls by decay_factor of it per step."""
    falling = 1.0 + config.decay_factor * (config.warmup_steps - step).astype(jnp.float32)
    return rate * (config.base_learning_rate * jnp.minimum(step / config.warmup_steps, falling))


def _rsqrt_decay(rate: Array, config: OptimizerConfig, step: Array) -> Array:
    """Divides by sqrt(step), and by sqrt(warmup_steps) until then."""
    return rate / jnp.sqrt(jnp.maximum(step, config.warmup_steps).astype(jnp.float32))


def _decay_every(rate: Array, config: OptimizerConfig, step: Array) -> Array:
    """Multiplies by decay_factor every steps_per_decay."""
    return rate * config.decay_factor ** (step // config.steps_per_decay).astype(jnp.float32)


def _cosine_decay(rate: Array, config: OptimizerConfig, step: Array) -> Array:
    """Half a cosine from 1 to 0 per cycle, starting anew with each cycle after the warm-up."""
    progress = jnp.maximum(0.0, (step - config.warmup_steps) / config.steps_per_cycle)
    return rate * jnp.maximum(0.0, 0.5 * (1.0 + jnp.cos(jnp.pi * (progress % 1.0))))


_FACTORS: dict[str, Callable[[Array, OptimizerConfig, Array], Array]] = {
    "constant": lambda rate, config, step: rate * config.base_learning_rate,
    "linear_warmup": lambda rate, config, step: rate * jnp.minimum(1.0, step / config.warmup_steps),
    "linear_decay": _linear_decay,
    "rsqrt_decay": _rsqrt_decay,
    "rsqrt_normalized_decay": lambda rate, config, step: _rsqrt_decay(
        rate * jnp.sqrt(config.warmup_steps), config, step
    ),
    "decay_every": _decay_every,
    "cosine_decay": _cosine_decay,
}
_WARMUP_FACTORS = ("linear_warmup", "linear_decay", "rsqrt_decay", "rsqrt_normalized_decay")
