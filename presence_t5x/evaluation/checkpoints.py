"""A model to be judged: of this package, T5X or Hugging Face, with the settings of its run."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from presence_t5x.checkpoint import (
    CHECKPOINTS,
    find_checkpoint,
    load_model,
    read_model_config,
    read_settings,
)
from presence_t5x.config_types import ModelConfig
from presence_t5x.convert import tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.formats import guess_format, open_checkpoint
from presence_t5x.convert.train_states import own_params
from presence_t5x.evaluation.selection import RULE, read_best
from presence_t5x.layouts import Layout

Select = Literal["newest", "best"]
SELECTS = ("newest", "best")
_SAMPLE_SIZE = 1024  # numbers of each parameter that tell a checkpoint from another


class Checkpoint(NamedTuple):
    """A checkpoint that was found, its arrays unread.

    Attributes:
      location: the checkpoint itself, where a run directory was given.
      step: updates done; 0 where a format does not say.
      model: its configuration.
      settings: of the run that wrote it, nested; only those that travel with it.
      content: of another format than this package's.
    """

    location: Path
    step: int
    model: ModelConfig
    settings: Mapping[str, Any]
    content: Content | None


def find(source: str, select: Select = "newest") -> Checkpoint:
    """Returns the checkpoint that is meant, after every check that needs no array.

    Args:
      source: a MODEL_DIR of this package or one of its checkpoints, a checkpoint or MODEL_DIR of
        T5X, a folder of Hugging Face's.
      select: of a MODEL_DIR of this package the newest checkpoint, or the best one by the rule of
        the run (`selection`).

    Raises:
      ValueError: absent, damaged, no T5, or no best checkpoint.
    """
    path = Path(source)
    found_format = guess_format(path)
    if found_format == "presence":
        location = _best(path) if select == "best" else find_checkpoint(path)
        settings = read_settings(location)
        step = int(location.name) if location.name.isdigit() else 0
        return Checkpoint(location, step, read_model_config(location), settings, None)
    if select == "best":
        raise ValueError(f"--select=best needs a MODEL_DIR of presence_t5x.train, not {source!r}")
    content = open_checkpoint(path, found_format, parameters_only=True)
    if content.leftovers:
        raise ValueError(
            f"{source} holds parameters that have no place in its model: "
            f"{', '.join(content.leftovers)}"
        )
    return Checkpoint(path.absolute(), content.step, content.config, {}, content)


def load(checkpoint: Checkpoint, mesh: jax.sharding.Mesh | None = None) -> PyTree:
    """Returns the float32 parameters of `checkpoint.model`, whole on every row device of a mesh.

    Without a mesh they are on the first device.
    """
    if checkpoint.content is None:
        params = load_model(checkpoint.location)[1]
    else:
        found = own_params(checkpoint.content.params, scanned=checkpoint.model.scan_layers)
        floats = {path: tensors.as_float32(tensor) for path, tensor in found.items()}
        params = jax.tree.map(jnp.asarray, tensors.read_tree(floats))
    return params if mesh is None else jax.device_put(params, Layout(mesh).whole_shardings(params))


class OneAtATime:
    """The parameters of several checkpoints, of which one is held, and none while one is read.

    Who calls keeps none of them either.
    """

    def __init__(self, found: Sequence[Checkpoint], mesh: jax.sharding.Mesh | None = None):
        """Reads nothing yet; arguments as those of `load`."""
        self._found, self._mesh = found, mesh
        self._number, self._params = -1, None

    def load(self, number: int) -> PyTree:
        """Returns the parameters of a checkpoint by its number."""
        if number != self._number:
            self._number, self._params = -1, None  # free before the next is read
            self._params = load(self._found[number], self._mesh)
            self._number = number
        return self._params


def selection_rule(checkpoint: Checkpoint, select: Select) -> dict[str, Any] | None:
    """Returns the rule by which a run chose a checkpoint; None where it did not."""
    if select != "best":
        return None
    settings = checkpoint.settings["task_evaluation"]
    return {name: settings[name] for name in RULE}


def digest(params: PyTree) -> str:
    """Returns a short hash of parameters, of a sample of each: equal on any number of devices."""
    found = hashlib.blake2b(digest_size=16)
    for path, leaf in sorted(tensors.leaves_of(params).items()):
        stride = max(1, leaf.size // _SAMPLE_SIZE)
        sample = np.asarray(leaf.reshape(-1)[::stride])
        found.update(f"{path} {leaf.shape} {sample.dtype}".encode())
        found.update(sample.tobytes())
    return found.hexdigest()


def _best(model_dir: Path) -> Path:
    """Returns the checkpoint that a run's rule chose.

    Raises:
      ValueError: none was chosen, or it is not there.
    """
    best = read_best(model_dir)
    location = model_dir / CHECKPOINTS / str(best.step)
    if not location.is_dir():
        raise ValueError(
            f"{model_dir} chose step {best.step}, but {location} is not there: the run was stopped "
            "while it was written; run the same training command again, or use --select=newest"
        )
    return find_checkpoint(location)


def with_dtype(checkpoint: Checkpoint, dtype: str | None) -> Checkpoint:
    """Returns a checkpoint whose model computes in another dtype; None leaves it."""
    if dtype is None:
        return checkpoint
    model = dataclasses.replace(checkpoint.model, dtype=dtype)
    return checkpoint._replace(model=model)
