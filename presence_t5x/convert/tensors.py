"""Arrays of a checkpoint that are read when they are needed, and how their axes are rearranged.

A conversion maps names and rearranges axes of `Tensor`s; nothing is read before a writer asks for
one, so that a checkpoint larger than memory passes through tensor by tensor.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

SEPARATOR = "/"


class Tensor(NamedTuple):
    """One array that may still be on disk.

    Attributes:
      read: returns it, in the dtype it is stored in; not to be written to.
      origin: where it comes from, for messages: file and name.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    origin: str


Tensors = dict[str, Tensor]  # by path, e.g. "encoder/layers_0/mlp/wo/kernel"


def of_array(array: Any, origin: str) -> Tensor:
    """Returns a tensor whose array is in memory, or on devices."""
    return Tensor(tuple(array.shape), lambda: np.asarray(array), origin)


def leaves_of(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves of nested dicts (or named tuples) by path.

    >>> leaves_of({"encoder": {"norm": 1}})
    {'encoder/norm': 1}
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {SEPARATOR.join(_segment(key) for key in path): leaf for path, leaf in leaves}


def of_tree(tree: PyTree, origin: str) -> Tensors:
    """Returns nested dicts (or named tuples) of arrays by path."""
    return {path: of_array(leaf, f"{origin}: {path}") for path, leaf in leaves_of(tree).items()}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested dicts of values by path.

    >>> nested({"encoder/norm": 1, "encoder/mlp/wo": 2})
    {'encoder': {'norm': 1, 'mlp': {'wo': 2}}}
    """
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(SEPARATOR)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def read_tree(tensors: Tensors) -> dict[str, Any]:
    """Returns nested dicts of the arrays, in their own dtypes."""
    return nested({path: tensor.read() for path, tensor in tensors.items()})


def renamed(
    found: Tensors,
    names: Mapping[str, str],
    rearranged: Callable[[str, Tensor], Tensor],
) -> tuple[Tensors, Tensors]:
    """Returns tensors under other names, as far as they are there, and what is left over.

    Args:
      found: under the names they have.
      names: from those they get to those they have.
      rearranged: a tensor's axes as they are to be, of the name it gets.
    """
    taken_over = {new: rearranged(new, found[old]) for new, old in names.items() if old in found}
    known = frozenset(names.values())
    left = {old: tensor for old, tensor in found.items() if old not in known}
    return taken_over, left


def size(tensor: Tensor) -> int:
    """Returns how many numbers a tensor holds."""
    return math.prod(tensor.shape)


def transposed(tensor: Tensor) -> Tensor:
    """Returns a tensor with its axes in reverse order."""
    return tensor._replace(shape=tensor.shape[::-1], read=lambda: tensor.read().T)


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns a tensor of the same elements in another shape."""
    return tensor._replace(shape=tuple(shape), read=lambda: tensor.read().reshape(shape))


def picked(tensor: Tensor, index: int, axis: int) -> Tensor:
    """Returns one element of an axis, and no such axis."""
    shape = tensor.shape[:axis] + tensor.shape[axis + 1 :]
    return tensor._replace(shape=shape, read=lambda: tensor.read().take(index, axis))


def stacked(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Returns tensors of one shape along a new axis."""
    shape = (*tensors[0].shape[:axis], len(tensors), *tensors[0].shape[axis:])
    return Tensor(shape, lambda: np.stack([t.read() for t in tensors], axis), tensors[0].origin)


def taken(tensor: Tensor, indices: np.ndarray, axis: int) -> Tensor:
    """Returns elements of an axis by their numbers."""
    shape = (*tensor.shape[:axis], len(indices), *tensor.shape[axis + 1 :])
    return tensor._replace(shape=shape, read=lambda: tensor.read().take(indices, axis))


def scaled(tensor: Tensor, factor: float) -> Tensor:
    """Returns a tensor times a number, in float32."""
    return tensor._replace(read=lambda: tensor.read().astype(np.float32) * np.float32(factor))


def as_float32(tensor: Tensor) -> Tensor:
    """Returns a tensor of float32 numbers.

    Reading it raises ValueError if its numbers are no floating-point ones.
    """

    def read() -> np.ndarray:
        array = tensor.read()
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"{tensor.origin} has the type {array.dtype}; parameters are floating-point "
                "numbers: it is damaged, or no parameter"
            )
        return array.astype(np.float32, copy=False)

    return tensor._replace(read=read)


def read_integer(tensor: Tensor) -> int:
    """Returns the number that a tensor of one element holds.

    Raises:
      ValueError: it holds something else.
    """
    array = tensor.read()
    if array.size != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{tensor.origin} holds {array.dtype} of shape {array.shape}, not one integer: it is "
            "damaged"
        )
    return int(array.reshape(()))


def in_reading_order(tensors: Tensors) -> Tensors:
    """Returns tensors so ordered that what comes from one array on disk is read in a row."""
    return dict(sorted(tensors.items(), key=lambda item: item[1].origin))


def _segment(key: Any) -> str:
    """Returns a path entry as text: a dict's key, a field's name, an index."""
    return str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
