"""A checksum of every array of a state, whatever devices it lies on.

The sum of an array's bits, each element times an odd number of its place, modulo 2^32: any change
of a single element changes it, two that changed places do with near certainty, and since integer
sums can be taken in any order it is the same on one device and on many. Against disks, not
attackers.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from presence_t5x.convert.tensors import leaves_of

_BITS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def array_checksums(tree: PyTree) -> dict[str, int]:
    """Returns the checksum of every array of a tree by its path, e.g. "params/encoder/...".

    Raises:
      KeyError: an array of more than 4 bytes an element.

    >>> array_checksums({"a": jnp.arange(3, dtype=jnp.int32)})
    {'a': 13}
    """
    checksums = jax.device_get(_checksums(jax.tree.leaves(tree)))
    return {name: int(value) for name, value in zip(leaves_of(tree), checksums)}


def check_same_arrays(saved: Mapping[str, tuple[int, ...]], tree: PyTree) -> None:
    """Raises ValueError unless a tree has the arrays that were saved, by name and shape."""
    here = {name: tuple(leaf.shape) for name, leaf in leaves_of(tree).items()}
    differing = [
        f"{name} ({saved.get(name, 'absent')} there, {here.get(name, 'absent')} here)"
        for name in sorted(saved.keys() | here.keys())
        if saved.get(name) != here.get(name)
    ]
    if differing:
        raise ValueError(
            f"the checkpoint and this program's state differ in {', '.join(differing[:3])}"
            f"{' ...' if len(differing) > 3 else ''}; continue with the settings (model, "
            "optimizer, SCAN_LAYERS) and the version of presence_t5x that wrote it, or start "
            "another run from its parameters (another MODEL_DIR, INITIAL_CHECKPOINT)"
        )


def differing_arrays(saved: Mapping[str, int], tree: PyTree) -> str | None:
    """Returns the first array whose checksum is another than the saved one, or None.

    Arrays that have no saved checksum (older checkpoints) pass.
    """
    if not saved:
        return None
    found = array_checksums(tree)
    return next((name for name, value in found.items() if saved.get(name, value) != value), None)


@jax.jit
def _checksums(leaves):
    return jnp.stack([_checksum(jnp.asarray(leaf)) for leaf in leaves])


def _checksum(array: jax.Array) -> jax.Array:
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(array, _BITS[np.dtype(array.dtype).itemsize])
    place = jnp.zeros(array.shape, jnp.uint32)
    for axis, size in enumerate(array.shape):
        place = place * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    return jnp.sum(bits.astype(jnp.uint32) * (2 * place + 1), dtype=jnp.uint32)
