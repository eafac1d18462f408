"""This package's checkpoints on disk, read array by array and written in its layout.

A converted checkpoint is a MODEL_DIR: `load_model` opens it, `train` continues in it where it has
an optimizer's state, and starts from it anywhere (INITIAL_CHECKPOINT).
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from presence_t5x.checkpoint import CHECKPOINTS, find_checkpoint, read_model_config
from presence_t5x.config_types import ModelConfig, OptimizerConfig, PresenceConfig
from presence_t5x.convert import content, moments, stacks, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.moments import Slots
from presence_t5x.convert.orbax_files import read_orbax, write_orbax
from presence_t5x.convert.tensors import Tensors
from presence_t5x.convert.train_states import own_layout
from presence_t5x.models.families import init_params
from presence_t5x.optimizer import build_optimizer
from presence_t5x.train_step import Objective, TrainState, init_train_state

_COUNT = r"optimizer_state/(?:\d+/)*count"
_MOMENT = re.compile(r"optimizer_state/(?:\d+/)*(v_row|v_col|v)/(.+)")


def read_presence(directory: Path, *, parameters_only: bool = False) -> Content:
    """Returns one checkpoint, its arrays unread.

    Args:
      directory: a MODEL_DIR, whose newest checkpoint is taken, or MODEL_DIR/checkpoints/STEP.
      parameters_only: leave the optimizer's state alone, whatever it is.

    Raises:
      ValueError: damaged, or parameters that are not those of its own configuration.
    """
    path = find_checkpoint(directory)
    config = dataclasses.replace(read_model_config(path), dtype="float32")
    params = read_orbax(path / "params")
    unrolled = stacks.unroll(params)
    left = content.check_complete(unrolled, config, str(path / "params"))
    if left:
        names = content.shorten(content.describe(left))
        raise ValueError(f"{path / 'params'} holds what its model has not: {names}")
    found, notes = None, []
    if not (path / "training").is_dir():
        notes.append("the checkpoint holds no optimizer state")
    elif not parameters_only:
        training = read_orbax(path / "training")
        found = _moments(training, params)
        notes += _lost(training, path / "training")
        if found is None:
            notes.append("the optimizer is not Adafactor; its state was left out")
    step = int(path.name) if path.name.isdigit() else 0
    return Content(config, unrolled, found, step, tuple(notes))


def write_presence(
    directory: Path,
    params: Tensors,
    slots: Mapping[str, Slots] | None,
    step: int,
    config: ModelConfig,
) -> None:
    """Writes a MODEL_DIR with one checkpoint.

    Args:
      params: as this package's model of `config` has them; written in float32.
      slots: Adafactor's state, by the path of `params`; None for parameters alone.
      config: travels with the checkpoint.
    """
    checkpoint = directory / CHECKPOINTS / str(step)
    floats = {path: tensors.as_float32(tensor) for path, tensor in params.items()}
    write_orbax(checkpoint / "params", floats)
    if slots is not None:
        write_orbax(checkpoint / "training", _training(slots, step, config))
    position = {
        "data_state": "",  # the data start at their beginning
        "settings": {"model": dataclasses.asdict(config)},
    }
    (checkpoint / "position").mkdir()
    (checkpoint / "position" / "metadata").write_text(json.dumps(position), encoding="utf-8")


def _training(slots: Mapping[str, Slots], step: int, config: ModelConfig) -> Tensors:
    """Returns the rest of a training state, as `Checkpointer` saves it, after `step` updates."""
    like = jax.eval_shape(lambda: _fresh_state(config))._asdict()
    del like["params"]
    training: Tensors = {}
    for path, leaf in tensors.leaves_of(like).items():
        match = _MOMENT.fullmatch(path)
        if match:
            training[path] = getattr(slots[match[2]], match[1])
        else:
            is_count = path == "step" or re.fullmatch(_COUNT, path)
            value = np.full(leaf.shape, step if is_count else 0, leaf.dtype)
            training[path] = tensors.of_array(value, "a fresh training state")
    return training


def _fresh_state(config: ModelConfig) -> TrainState:
    """Returns the state before step 0 of a run with Adafactor."""
    optimizer = build_optimizer(OptimizerConfig(), config.scan_layers)
    objective = Objective(None, optimizer, None, None, PresenceConfig())  # pyright: ignore
    return init_train_state(objective, init_params(config, jax.random.key(0)))


def _moments(training: Tensors, params: Tensors) -> dict[str, moments.Moments] | None:
    """Returns Adafactor's moments in the rest of a training state; None of another optimizer."""
    by_param: dict[str, dict[str, tensors.Tensor]] = {}
    for path, tensor in training.items():
        match = _MOMENT.fullmatch(path)
        if match:
            by_param.setdefault(match[2], {})[match[1]] = tensor
    slots = {
        path: Slots(**named) for path, named in by_param.items() if set(named) == set(Slots._fields)
    }
    return moments.read_moments(slots, params, own_layout(params)) if slots else None


def _lost(training: Tensors, directory: Path) -> list[str]:
    """Returns what of a training state no other format has a place for, if it has happened."""
    notes = []
    counts = ("num_skipped_updates", "presence/num_updates")
    if missing := [name for name in counts if name not in training]:
        raise ValueError(f"{directory}: {missing} are missing; use another checkpoint")
    skipped, updates = (tensors.read_integer(training[name]) for name in counts)
    if skipped:
        notes.append(
            f"{skipped} updates were skipped: their number is lost, and the optimizer counts them"
        )
    if updates:
        notes.append("the score averages of normalizer 'ema' are lost: they start anew")
    return notes
