"""Reading trees of arrays that Orbax wrote, one array at a time."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from presence_t5x.convert import tensors
from presence_t5x.convert.tensors import Tensor, Tensors


def read_orbax(directory: Path) -> Tensors:
    """Returns the arrays of an Orbax item (the directory that holds `_METADATA`), unread.

    Raises:
      ValueError: it is none, or damaged.
    """
    directory = directory.absolute()
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    try:
        metadata: Any = checkpointer.metadata(directory)
        tree = metadata.item_metadata.tree
    except Exception as error:  # Orbax and tensorstore raise many kinds
        raise ValueError(f"{directory} is no readable Orbax tree ({first_line(error)})") from error
    # One array is kept: layers of a stack are asked for one after another.
    read = functools.lru_cache(maxsize=1)(functools.partial(_read, checkpointer, directory))
    leaves = ocp.tree.to_flat_dict(tree, keep_empty_nodes=False)
    found: Tensors = {}
    for keys, leaf in leaves.items():
        path = tensors.SEPARATOR.join(map(str, keys))
        if hasattr(leaf, "shape"):
            shape = tuple(leaf.shape or ())
            found[path] = Tensor(shape, functools.partial(read, keys), f"{directory}: {path}")
    return found


def first_line(error: Exception) -> str:
    """Returns what an error of another library says, on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " ..."


def _read(checkpointer: ocp.Checkpointer, directory: Path, keys: Sequence[str]) -> np.ndarray:
    """Restores one array."""
    restore_args = ocp.RestoreArgs(restore_type=np.ndarray)
    try:
        tree = checkpointer.restore(
            directory,
            ocp.args.PyTreeRestore(
                item=_nest(keys, 0),
                restore_args=_nest(keys, restore_args),
                partial_restore=True,
            ),
        )
    except Exception as error:
        path = tensors.SEPARATOR.join(keys)
        raise ValueError(f"{directory}: {path} cannot be read ({first_line(error)})") from error
    for key in keys:
        tree = tree[key]
    return np.asarray(tree)


def _nest(keys: Sequence[str], leaf: Any) -> Any:
    for key in reversed(keys):
        leaf = {key: leaf}
    return leaf
