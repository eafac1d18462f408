"""Which rows form a unit, and weighted sums of unit gradients reduced once over devices.

The only definition of units lives here: microbatch i of n is rows i, i + n, ... ("strided": stays
local when rows are sharded contiguously) or rows i*B/n .. ("contiguous", T5X's order). Two
accumulators: *stored* keeps every microbatch's gradient, reduce-scattered over the data axis, until
the weights are known; *streaming* keeps one unreduced sum and rescales it, as online softmax does.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from presence_t5x._validate import check_num_microbatches
from presence_t5x.config_types import PresenceConfig
from presence_t5x.reduction import RowDevices


def num_rows(batch: PyTree) -> int:
    """Returns the common leading size of a batch's arrays.

    Raises:
      ValueError: no array, a scalar, or arrays that disagree.
    """
    shapes = {jnp.shape(leaf) for leaf in jax.tree.leaves(batch)}
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"batch: every array needs the same leading size (rows), but the shapes are "
            f"{sorted(shapes)}"
        )
    return sizes.pop()[0]


def check_divides(rows: int, config: PresenceConfig, *, where: str) -> None:
    """Raises ValueError unless `num_microbatches` divides `rows`; lists what would."""
    check_num_microbatches(config.num_microbatches, rows, f"the {rows} rows {where}")


def split_rows(
    batch: PyTree[Shaped[Array, "rows ..."]], config: PresenceConfig
) -> PyTree[Shaped[Array, "microbatches rows_each ..."]]:
    """Cuts a batch into microbatches along a new leading axis, in the configured row order."""

    def split(leaf):
        if config.row_order == "contiguous":
            return leaf.reshape(config.num_microbatches, -1, *leaf.shape[1:])
        return leaf.reshape(-1, config.num_microbatches, *leaf.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(split, batch)


def join_rows(
    values: Shaped[Array, "microbatches rows_each ..."], config: PresenceConfig
) -> Shaped[Array, "rows ..."]:
    """Returns per-row values in the order of the batch's rows; inverse of `split_rows`."""
    ordered = values if config.row_order == "contiguous" else values.swapaxes(0, 1)
    return ordered.reshape(-1, *values.shape[2:])


def rows_of_units(
    num_rows: int, config: PresenceConfig, num_parts: int = 1
) -> Int[np.ndarray, "units rows_each"]:
    """Returns which rows of a whole batch form each unit, in the order of `PresenceAux.scores`.

    Args:
      num_parts: devices, or groups of them, that hold rows of their own.

    >>> rows_of_units(4, PresenceConfig(num_microbatches=2))
    array([[0, 2],
           [1, 3]])
    """
    rows, number = np.arange(num_rows), config.num_microbatches
    if config.granularity == "example":
        return rows[:, None]
    is_contiguous = config.row_order == "contiguous"
    if config.granularity == "microbatch":
        return rows.reshape(number, -1) if is_contiguous else rows.reshape(-1, number).T
    if is_contiguous:  # each device then holds its share of every microbatch
        rows = rows.reshape(number, -1).T.reshape(-1)
    by_device = rows.reshape(num_parts, -1, number)  # part, place, microbatch
    return by_device.transpose(2, 0, 1).reshape(number * num_parts, -1)


def contiguous_as_strided(batch: PyTree, config: PresenceConfig) -> PyTree:
    """Permutes rows so that strided microbatches of the result are contiguous ones of `batch`.

    Needed where each device sees only its own rows: the exchange happens once, on tokens.
    """
    return jax.tree.map(
        lambda leaf: split_rows(leaf, config).swapaxes(0, 1).reshape(leaf.shape), batch
    )


class StreamingSum(NamedTuple):
    """sum_i exp(logit_i - max_logit) g_i over the live units so far, and its normaliser.

    Softmax is shift-invariant, so when a larger logit arrives the sum is rescaled (as in online
    softmax): exact for every temperature, with one gradient buffer. Attributes: the unreduced
    `total` (float32), the running `max_logit` (-inf before the first live unit) and
    `sum_exponentials`.
    """

    total: PyTree[Float[Array, "..."]]
    max_logit: Float[Array, ""]
    sum_exponentials: Float[Array, ""]


def init_streaming_sum(params: PyTree, devices: RowDevices) -> StreamingSum:
    """Returns the empty sum, marked as differing between the devices."""
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params)
    return devices.as_varying(StreamingSum(total, jnp.float32(-jnp.inf), jnp.zeros(())))


class Shift(NamedTuple):
    """How new units enter a streaming sum: the new maximum, the old sum's factor, their own."""

    maximum: Float[Array, ""]
    decay: Float[Array, ""]
    exponentials: Float[Array, " units"]


def shift_logits(
    carry: StreamingSum,
    logits: Float[Array, " units"],
    live: Bool[Array, " units"],
    devices: RowDevices = RowDevices(),  # noqa: B008 (frozen)
) -> Shift:
    """Returns how units of the given logits (temperature * z) enter the sum; not dead ones.

    Args:
      devices: whose units have logits of their own; those that sum gradients together need one
        maximum.
    """
    masked = jnp.where(live, logits, -jnp.inf)
    maximum = devices.largest(jnp.maximum(carry.max_logit, jnp.max(masked)))
    base = jnp.where(jnp.isfinite(maximum), maximum, 0.0)
    decay = jnp.exp(carry.max_logit - base)  # exp(-inf) = 0 before the first live unit
    return Shift(maximum, decay, jnp.where(live, jnp.exp(masked - base), 0.0))


def add_weighted(
    carry: StreamingSum,
    shift: Shift,
    gradient: PyTree,
    *,
    factor: Float[Array, ""] | float,
    keep: Bool[Array, ""],
) -> StreamingSum:
    """Adds factor * gradient and the new exponentials; nothing changes where `keep` is False."""
    added = StreamingSum(
        jax.tree.map(
            lambda t, g: shift.decay * t + factor * g.astype(jnp.float32), carry.total, gradient
        ),
        shift.maximum,
        shift.decay * carry.sum_exponentials + jnp.sum(shift.exponentials),
    )
    return jax.tree.map(lambda new, old: jnp.where(keep, new, old), added, carry)


def finish_streaming_sum(
    carry: StreamingSum,
    scale: Float[Array, ""],
    devices: RowDevices,
    config: PresenceConfig,
) -> PyTree[Float[Array, "..."]]:
    """Returns scale * sum_i w_i g_i with softmax weights w, reduced once over the devices.

    Args:
      carry: each device's sum.
      scale: m / C, the number of live units over the loss normaliser.
      devices: who keeps which part.
      config: microbatches have the same logits on every device, so that the normaliser is already
        whole; of shards and examples each device holds its own.
    """
    total, max_logit, normalizer = carry
    factor = jnp.ones(())
    if devices.names and config.granularity != "microbatch":
        maximum = lax.pmax(max_logit, devices.names)
        factor = jnp.exp(max_logit - jnp.where(jnp.isfinite(maximum), maximum, 0.0))
        normalizer = devices.psum(normalizer * factor)
    factor = factor * scale / jnp.where(normalizer > 0, normalizer, 1.0)
    return reduce_sum(jax.tree.map(lambda leaf: factor * leaf, total), devices, config)


def reduce_sum(
    total: PyTree[Float[Array, "..."]], devices: RowDevices, config: PresenceConfig
) -> PyTree[Float[Array, "..."]]:
    """Returns a step's gradient from the devices' own sums: float32, in parts unless gathered."""
    if devices.gather:
        return devices.psum(total)
    if not devices.names:
        return total
    parts = devices.reduce_scatter(total, config.gradient_dtype)
    return devices.finish_parts(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), parts))


def finish_stored_sum(
    stored: PyTree[Shaped[Array, "microbatches ..."]],
    coefficients: Float[Array, " microbatches"],
    devices: RowDevices,
) -> PyTree[Float[Array, "..."]]:
    """Returns sum_i coefficients_i * stored_i in float32; 0 selects a unit away."""

    def combine(leaf):
        # One fused sum of n terms: reducing the leading axis is several times slower on CPUs.
        terms = (
            jnp.where(coefficients[i] != 0, coefficients[i] * leaf[i].astype(jnp.float32), 0.0)
            for i in range(leaf.shape[0])
        )
        return functools.reduce(jnp.add, terms)

    total = devices.finish_parts(jax.tree.map(combine, stored))
    return devices.gather_parts(total) if devices.gather else total
