"""Trees of arrays as Orbax keeps them, read and written one array at a time.

Orbax itself reads and writes whole trees, and needs 2.9 times their size in memory to write one.
What is written here is its layout without a database (`use_ocdbt` false): a zarr folder an array.
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from presence_t5x.convert import tensors
from presence_t5x.convert.tensors import Tensor, Tensors
from presence_t5x.convert.zarr_arrays import first_line, read_zarr, write_zarr

_METADATA = "_METADATA"
_IN_LIST, _IN_DICT = 1, 2  # Orbax's key types


def read_orbax(directory: Path) -> Tensors:
    """Returns the arrays of an Orbax item (the directory that holds `_METADATA`), unread.

    Raises:
      ValueError: it is none, or damaged.
    """
    directory = directory.absolute()
    try:
        driver = "zarr3" if json.loads((directory / _METADATA).read_text())["use_zarr3"] else "zarr"
        metadata: Any = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).metadata(directory)
        leaves = ocp.tree.to_flat_dict(metadata.item_metadata.tree, keep_empty_nodes=False)
    except Exception as error:  # Orbax and tensorstore raise many kinds
        raise ValueError(f"{directory} is no readable Orbax tree ({first_line(error)})") from error
    # One array is kept: layers of a stack are asked for one after another.
    read = functools.lru_cache(maxsize=1)(functools.partial(_read, directory, driver))
    found: Tensors = {}
    for keys, leaf in leaves.items():
        path = tensors.SEPARATOR.join(map(str, keys))
        if hasattr(leaf, "shape"):  # else an empty node
            shape = tuple(leaf.shape or ())
            found[path] = Tensor(shape, functools.partial(read, path), f"{directory}: {path}")
    return found


def write_orbax(directory: Path, leaves: Tensors) -> None:
    """Writes an item that Orbax restores as nested dicts and lists.

    Args:
      directory: is created.
      leaves: by path; numbers among its segments are places in lists.
    """
    directory.mkdir(parents=True)
    entries = {}
    for path, tensor in tensors.in_reading_order(leaves).items():
        keys = tuple(path.split(tensors.SEPARATOR))
        array = np.ascontiguousarray(tensor.read()).reshape(tensor.shape)
        folder = directory / path.replace(tensors.SEPARATOR, ".")
        write_zarr(folder, array, compressor="zstd")
        entries[str(keys)] = {
            "key_metadata": [
                {"key": key, "key_type": _IN_LIST if key.isdigit() else _IN_DICT} for key in keys
            ],
            "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False},
        }
    metadata = {"tree_metadata": entries, "use_ocdbt": False, "use_zarr3": False}
    (directory / _METADATA).write_text(json.dumps(metadata), encoding="utf-8")


def _read(directory: Path, driver: str, path: str) -> np.ndarray:
    """Reads one array from the item's database, or from a folder of its own."""
    name = path.replace(tensors.SEPARATOR, ".")
    base = {"driver": "file", "path": f"{directory}/"}
    kvstore = (
        {"driver": "ocdbt", "base": base, "path": name}
        if (directory / "manifest.ocdbt").is_file()
        else {"driver": "file", "path": str(directory / name)}
    )
    return read_zarr(kvstore, f"{directory}: {path}", driver=driver)
