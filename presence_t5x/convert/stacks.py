"""Parameters by layer ("layers_0", "layers_1", ...) and as stacks of layers, both ways.

The common form of all formats here is T5X's unrolled tree: every layer by itself and every kernel a
matrix. This package's scanned models stack such matrices along axis 1 under "encoder/encoder" and
"decoder/decoder"; T5X's `scalable_t5` does so too, but keeps heads apart in attention kernels:
(embed, layers, heads, head_dim), and (heads, layers, head_dim, embed) on the way out.
"""

import re
from collections.abc import Iterable

from presence_t5x.convert import tensors
from presence_t5x.convert.tensors import Tensor, Tensors
from presence_t5x.scored_layers import STACK_AXIS

STACKS = ("encoder", "decoder")
_LAYER = re.compile(r"(encoder|decoder)/layers_(\d+)/(.+)")
_STACK = re.compile(r"(encoder|decoder)/\1/(.+)")
_ATTENTION_KERNEL = re.compile(r"(.+/)?\w*attention/(query|key|value|out)/kernel")


def is_scanned(paths: Iterable[str]) -> bool:
    """Tells whether any parameter is a stack of layers."""
    return any(_STACK.fullmatch(path) for path in paths)


def stack_of(path: str) -> tuple[str, str] | None:
    """Returns ("encoder" or "decoder", path within a layer) of a stack's parameter, or None.

    >>> stack_of("encoder/encoder/mlp/wo/kernel")
    ('encoder', 'mlp/wo/kernel')
    """
    match = _STACK.fullmatch(path)
    return (match[1], match[2]) if match else None


def layer_of(path: str) -> tuple[str, int, str] | None:
    """Returns ("encoder" or "decoder", layer, path within it) of a layer's parameter, or None."""
    match = _LAYER.fullmatch(path)
    return (match[1], int(match[2]), match[3]) if match else None


def unroll(params: Tensors) -> Tensors:
    """Returns every layer's parameters by themselves, kernels as matrices.

    Parameters outside stacks, and those of unrolled models, stay as they are.

    Raises:
      ValueError: a parameter in a stack has no axis of layers.
    """
    unrolled: Tensors = {}
    for path, tensor in params.items():
        stack = stack_of(path)
        if stack is None:
            unrolled[path] = tensor
            continue
        if len(tensor.shape) <= STACK_AXIS:
            raise ValueError(
                f"{tensor.origin} has the shape {tensor.shape}; a stack of layers needs axis "
                f"{STACK_AXIS} for them"
            )
        name, rest = stack
        for layer in range(tensor.shape[STACK_AXIS]):
            one = tensors.picked(tensor, layer, STACK_AXIS)
            unrolled[f"{name}/layers_{layer}/{rest}"] = join_heads(rest, one)
    return unrolled


def roll(params: Tensors, *, split_heads: int | None = None) -> Tensors:
    """Returns unrolled parameters as stacks along axis 1.

    Args:
      split_heads: the number of heads, to keep them apart as T5X's `scalable_t5` does.
    """
    stacks: dict[tuple[str, str], dict[int, Tensor]] = {}
    rolled: Tensors = {}
    for path, tensor in params.items():
        layer = layer_of(path)
        if layer is None:
            rolled[path] = tensor
            continue
        name, index, rest = layer
        tensor = tensor if split_heads is None else _split(rest, tensor, split_heads)
        stacks.setdefault((name, rest), {})[index] = tensor
    for (name, rest), layers in stacks.items():
        ordered = [layers[index] for index in sorted(layers)]
        rolled[f"{name}/{name}/{rest}"] = tensors.stacked(ordered, STACK_AXIS)
    return rolled


def join_heads(path: str, kernel: Tensor) -> Tensor:
    """Returns a layer's kernel as a matrix, whether heads are kept apart or not."""
    if len(kernel.shape) != 3 or not _ATTENTION_KERNEL.fullmatch(path):
        return kernel
    first, second, third = kernel.shape
    shape = (first * second, third) if _is_out(path) else (first, second * third)
    return tensors.reshaped(kernel, shape)


def _split(path: str, kernel: Tensor, num_heads: int) -> Tensor:
    """Returns a layer's kernel with an axis of heads, if it is of attention."""
    if not _ATTENTION_KERNEL.fullmatch(path):
        return kernel
    rows, columns = kernel.shape
    shape = (num_heads, -1, columns) if _is_out(path) else (rows, num_heads, -1)
    width = (rows if _is_out(path) else columns) // num_heads
    return tensors.reshaped(kernel, [width if size == -1 else size for size in shape])


def _is_out(path: str) -> bool:
    return path.endswith("out/kernel")
