"""Starting a run from the parameters of a checkpoint: of this package, T5X or Hugging Face.

As T5X fine-tunes: steps count on from the checkpoint's, so that the learning rate and temperature
schedules go on, and the optimizer starts fresh with its second-moment schedule at that step.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from presence_t5x.checkpoint import find_checkpoint
from presence_t5x.config_types import ModelConfig, RunConfig
from presence_t5x.convert import stacks, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.formats import open_checkpoint
from presence_t5x.convert.train_states import own_params
from presence_t5x.optimizer import continue_optimizer
from presence_t5x.train_step import TrainState

# What the parameters do not depend on, and may differ.
_FREE = ("dtype", "dropout_rate", "float32_attention_logits", "scan_layers", "remat_policy")
# What may differ where one head takes the place of another.
_OF_HEADS = ("num_classes",)


def resolve(config: RunConfig) -> tuple[RunConfig, Content | None]:
    """Returns the settings that follow from a run's initial checkpoint, and the checkpoint, unread.

    A table of as many rows as its own if the run names none, Adafactor's step_offset: its step at
    the least, and `train_steps` where the run counts from it. A run that is resumed needs its
    initial checkpoint no more.

    Raises:
      ValueError: a checkpoint that is absent, damaged, of another model, or beyond `train_steps`.
    """
    source = config.initial_checkpoint
    if source is None:
        return config.counting_from(0), None
    resumed = _resumed_settings(config)
    if resumed is not None:
        offset, rows = resumed["optimizer"]["step_offset"], resumed["model"]["vocab_size"]
        return _settled(config.counting_from(offset), offset, rows), None
    found = open_checkpoint(Path(source), parameters_only=True)
    if found.leftovers:
        raise ValueError(
            f"INITIAL_CHECKPOINT={source!r} holds parameters that have no place in its model: "
            f"{', '.join(found.leftovers)}"
        )
    config = config.counting_from(found.step)
    if found.step >= config.train_steps:
        raise ValueError(
            f"train_steps={config.train_steps}, but INITIAL_CHECKPOINT={source!r} is at step "
            f"{found.step} and steps count on from it; for N more, set TRAIN_STEPS={found.step} + N"
        )
    settled = _settled(config, found.step, found.config.vocab_size)
    _check_model(source, found.config, settled.model)
    return settled, found


def start_from(found: Content, state: TrainState) -> TrainState:
    """Returns the state before a run's first step, with the parameters of a checkpoint.

    Args:
      found: of the same model, whether its layers are scanned or not; of a head that it does not
        have, the random parameters stay.
      state: at random; its arrays tell where the new ones belong.
    """
    scanned = stacks.is_scanned(tensors.leaves_of(state.params))
    params = own_params(found.params, scanned=scanned)
    placed = {
        path: _placed(tensors.as_float32(params[path]), leaf) if path in params else leaf
        for path, leaf in tensors.leaves_of(state.params).items()
    }
    optimizer_state = continue_optimizer(state.optimizer_state, found.step)
    return state._replace(
        step=jax.device_put(np.asarray(found.step, np.int32), state.step.sharding),
        params=tensors.nested(placed),
        optimizer_state=jax.tree.map(
            lambda new, old: jax.device_put(new, old.sharding),
            optimizer_state,
            state.optimizer_state,
        ),
    )


def _placed(tensor: tensors.Tensor, like: jax.Array) -> jax.Array:
    """Returns a tensor as an array that lies as `like`."""
    array = tensor.read()
    # Copies: on CPU an array is the buffer itself, which the first step donates.
    return jax.make_array_from_callback(
        like.shape, like.sharding, lambda index: np.array(array[index])
    )


def _settled(config: RunConfig, step: int, vocab_size: int | None) -> RunConfig:
    """Returns the run with what depends on its initial checkpoint, as far as it is left open."""
    offset = max(config.optimizer.step_offset, step)
    model = config.model
    if model.vocab_size is None:
        model = dataclasses.replace(model, vocab_size=vocab_size)
    optimizer = dataclasses.replace(config.optimizer, step_offset=offset)
    return dataclasses.replace(config, model=model, optimizer=optimizer)


def _resumed_settings(config: RunConfig) -> dict[str, Any] | None:
    """Returns the settings of a run that has checkpoints and started from the same one."""
    model_dir = Path(config.model_dir)
    try:
        find_checkpoint(model_dir)
        settings: dict[str, Any] = json.loads((model_dir / "config.json").read_text())
    except (OSError, ValueError):
        return None
    is_same = settings.get("initial_checkpoint") == config.initial_checkpoint
    return settings if is_same else None


def _check_model(source: str, there: ModelConfig, here: ModelConfig) -> None:
    """Raises ValueError unless two models have the same parameters, their heads apart."""
    if type(there) is not type(here):
        names = [type(model).__name__.removesuffix("Config") for model in (there, here)]
        raise ValueError(
            f"INITIAL_CHECKPOINT={source!r} is of another family: {names[0]} there, {names[1]} here"
        )
    free = _FREE if there.head == here.head else _FREE + _OF_HEADS
    differing = [
        f"{name}={getattr(there, name)!r} there, {getattr(here, name)!r} here"
        for name in vars(here)
        if name not in free and getattr(there, name) != getattr(here, name)
    ]
    if not differing:
        return
    remedy = "set the model's settings to those"
    if [text.split("=")[0] for text in differing] == ["vocab_size"]:
        remedy += (
            f", or convert it with python -m presence_t5x.convert --vocab_size={here.vocab_size}"
        )
    raise ValueError(
        f"INITIAL_CHECKPOINT={source!r} is of another model: {'; '.join(differing)}; {remedy}"
    )
