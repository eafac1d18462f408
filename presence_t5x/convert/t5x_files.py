"""T5X's checkpoints on disk, without T5X: both of its layouts read, the older one written.

`checkpoint_STEP/state` is Orbax's (T5X at cc342d4). The older layout, which T5X still reads and in
which the public checkpoints are, has a msgpack index `checkpoint_STEP/checkpoint` whose leaves are
arrays or tensorstore specifications of zarr folders beside it, `target.encoder...`.
"""

import functools
import operator
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from flax import serialization

from presence_t5x.config_types import T5Config
from presence_t5x.convert import content, moments, stacks, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.moments import Slots
from presence_t5x.convert.orbax_files import read_orbax
from presence_t5x.convert.tensors import Tensor, Tensors
from presence_t5x.convert.train_states import (
    slots_from_t5x,
    t5x_moment_layout,
    t5x_param_states,
)
from presence_t5x.convert.zarr_arrays import first_line, read_zarr, write_zarr

INDEX = "checkpoint"
_ORBAX_ITEM = "state"
_VERSION = 3  # of the older layout, since 2021
_SPEC_KEYS = {"driver", "kvstore", "metadata"}
_NO_STATE = "the checkpoint holds no optimizer state"
_TARGET, _PARAM_STATES, _STEP = "target/", "state/param_states/", "state/step"


def find_t5x(source: Path) -> Path | None:
    """Returns the checkpoint directory at `source`, or the newest in it; None if there is none."""
    if source.name == INDEX and source.is_file():
        return source.parent
    if is_t5x_checkpoint(source):
        return source
    if not source.is_dir():
        return None
    steps = {
        int(match[1]): path
        for path in source.iterdir()
        if (match := re.fullmatch(r"checkpoint_(\d+)", path.name)) and is_t5x_checkpoint(path)
    }
    return steps[max(steps)] if steps else None


def is_t5x_checkpoint(directory: Path) -> bool:
    """Tells whether a directory is one checkpoint of T5X, in either layout."""
    return (directory / INDEX).is_file() or (directory / _ORBAX_ITEM / "_METADATA").is_file()


def read_t5x(directory: Path, *, parameters_only: bool = False) -> Content:
    """Returns one checkpoint, its arrays unread.

    Args:
      parameters_only: leave the optimizer's state alone, whatever it is.

    Raises:
      ValueError: damaged, or not a T5 with Adafactor; names file and parameter.
    """
    is_orbax = not (directory / INDEX).is_file()
    leaves = read_orbax(directory / _ORBAX_ITEM) if is_orbax else _read_index(directory / INDEX)
    target = _below(leaves, _TARGET)
    if not target:
        raise ValueError(f"{directory} has no parameters under {_TARGET!r}; is it T5X's?")
    scanned = stacks.is_scanned(target)
    params = stacks.unroll(target)
    config = content.sized(params, str(directory), scan_layers=scanned)
    left = content.check_complete(params, config, str(directory))
    states = _below(leaves, _PARAM_STATES)
    found = None
    if states and not parameters_only:
        known = {path: tensor for path, tensor in target.items() if path not in left}
        layout = t5x_moment_layout(target)
        found = moments.read_moments(slots_from_t5x(states), known, layout)
    others = {
        path: tensor
        for path, tensor in leaves.items()
        if not path.startswith((_TARGET, _PARAM_STATES)) and path != _STEP
    }
    step = leaves.get(_STEP)
    return Content(
        config=config,
        params={path: tensor for path, tensor in params.items() if path not in left},
        moments=found,
        step=0 if step is None else tensors.read_integer(step),
        notes=(*_notes(config, bool(states)), *_not_carried(others)),
        leftovers=content.describe({f"{_TARGET}{path}": tensor for path, tensor in left.items()}),
    )


def write_t5x(directory: Path, target: Tensors, slots: Mapping[str, Slots], step: int) -> None:
    """Writes a checkpoint in the older layout, one array at a time.

    Args:
      directory: is created.
      target: parameters as one of T5X's networks has them; written in float32.
      slots: Adafactor's state, by the path of `target`; none for parameters alone.
    """
    directory.mkdir(parents=True)
    leaves = {f"{_TARGET}{path}": tensors.as_float32(tensor) for path, tensor in target.items()}
    states = t5x_param_states(slots)
    leaves |= {f"{_PARAM_STATES}{path}": tensor for path, tensor in states.items()}
    # As T5X does: what it cuts over devices has a folder, vectors stand in the index.
    in_folders = {path for path in leaves if path.startswith(_TARGET)}
    in_folders |= {
        f"{_PARAM_STATES}{path}/v"
        for path, slot in slots.items()
        if slot.v.shape != moments.UNUSED_SHAPE
    }
    entries = {
        path: _write_folder(directory, path, tensor) if path in in_folders else tensor.read()
        for path, tensor in tensors.in_reading_order(leaves).items()
    }
    entries[_STEP] = np.asarray(step, np.int32)
    index = {"version": _VERSION, "optimizer": tensors.nested(entries)}
    (directory / INDEX).write_bytes(serialization.msgpack_serialize(index))


def _read_index(file: Path) -> Tensors:
    """Returns the leaves of a msgpack index."""
    try:
        tree: Any = serialization.msgpack_restore(file.read_bytes())
        leaves = list(_leaves(tree.get("optimizer", tree), ()))
    except Exception as error:  # msgpack raises many kinds
        raise ValueError(f"{file} is no readable T5X index ({first_line(error)})") from error
    # One array is kept: layers of a stack are asked for one after another.
    read = functools.lru_cache(maxsize=1)(_read_folder)
    found: Tensors = {}
    for path, leaf in leaves:
        if isinstance(leaf, dict):
            try:
                folder = _folder(file, path, leaf)
                shape = tuple(map(operator.index, leaf["metadata"]["shape"]))
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{file} is damaged: {path} is no specification of an array "
                    f"({first_line(error)}); copy the whole checkpoint directory"
                ) from error
            found[path] = Tensor(shape, functools.partial(read, folder, shape), str(folder))
        else:
            found[path] = tensors.of_array(np.asarray(leaf), f"{file}: {path}")
    return found


def _leaves(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yields the path of every array and specification below a node."""
    if isinstance(node, dict) and not node.keys() >= _SPEC_KEYS:
        for key, child in node.items():
            yield from _leaves(child, (*keys, str(key)))
    elif node is not None:
        yield tensors.SEPARATOR.join(keys), node


def _folder(index: Path, path: str, spec: Mapping[str, Any]) -> Path:
    """Returns the zarr folder that an index refers to.

    Indices of public checkpoints name buckets; the folder is beside the index all the same.
    """
    name = spec["kvstore"].get("path", spec.get("path", ""))
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{index}: {path} refers to {name!r}, which is not beside it")
    folder = index.parent / relative
    if not (folder / ".zarray").is_file():
        raise ValueError(f"{folder} is missing ({path}); copy the whole checkpoint directory")
    return folder


def _read_folder(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads one zarr folder."""
    array = read_zarr({"driver": "file", "path": str(folder.absolute())}, str(folder))
    if array.shape != shape:
        raise ValueError(f"{folder} has the shape {array.shape}, its index says {shape}")
    return array


def _write_folder(directory: Path, path: str, tensor: Tensor) -> dict[str, Any]:
    """Writes an array as a zarr folder; returns the specification that stands in the index."""
    array = np.ascontiguousarray(tensor.read())
    name = path.replace(tensors.SEPARATOR, ".")
    return {
        "driver": "zarr",
        "dtype": array.dtype.name,
        "kvstore": {"driver": "file", "path": name},  # beside the index, wherever that goes
        "metadata": write_zarr(directory / name, array),
    }


def _below(leaves: Tensors, prefix: str) -> Tensors:
    """Returns what lies below a path, by the rest of it."""
    return {
        path.removeprefix(prefix): tensor
        for path, tensor in leaves.items()
        if path.startswith(prefix)
    }


def _notes(config: T5Config, has_states: bool) -> list[str]:
    """Returns what had to be decided about a checkpoint of T5X."""
    notes = [
        f"mlp_activations={config.mlp_activations}, by the number of input kernels: T5X's "
        "checkpoints do not say"
    ]
    return notes if has_states else [*notes, _NO_STATE]


def _not_carried(others: Tensors) -> list[str]:
    return [f"not carried over: {name}" for name in content.describe(others)]
