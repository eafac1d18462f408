"""Orbax checkpoints: parameters, the rest of the training state, data position and model config.

A checkpoint is complete in itself: `load_model` needs nothing but its directory. Orbax writes to a
temporary directory and renames it, so an interrupted save is never taken for a checkpoint.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from presence_t5x.config_types import T5Config
from presence_t5x.models.t5 import T5
from presence_t5x.train_step import TrainState

CHECKPOINTS = "checkpoints"


class Restored(NamedTuple):
    """What a run continues from."""

    state: TrainState
    data_state: bytes


class Checkpointer:
    """The checkpoints of one run directory.

    Saving is asynchronous: `save` returns once the arrays are copied; `close` waits for the disk.

    Attributes:
      best_step: of the checkpoint that stays whatever happens; None is none.
    """

    def __init__(self, model_dir: str | Path, *, keep: int | None = None):
        """Opens MODEL_DIR/checkpoints, creating it; `keep` newest checkpoints stay, None is all."""
        self.best_step: int | None = None
        policies = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [policies.LatestN(keep), _KeepStep(lambda: self.best_step)]
            ),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self._manager = ocp.CheckpointManager(
            (Path(model_dir) / CHECKPOINTS).absolute(),
            options=options,
            item_names=("params", "training", "position"),
        )

    def latest_step(self) -> int | None:
        """Returns the newest complete checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, data_state: bytes, settings: Mapping[str, Any]) -> None:
        """Saves a state under its step; a step that is there already is left alone.

        Args:
          state: whole on every device, or sharded.
          data_state: of the batches, so that the next batch follows.
          settings: the run's nested settings; "model" must be the model's.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        if jax.default_backend() == "cpu":
            # There a host view is the buffer itself, which the next step donates.
            state = jax.tree.map(jnp.copy, state)
        position = {"data_state": base64.b64encode(data_state).decode(), "settings": settings}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                training=ocp.args.StandardSave(_training_part(state)),
                position=ocp.args.JsonSave(position),
            ),
        )

    def restore(self, like: TrainState, step: int | None = None) -> Restored:
        """Returns a checkpoint's state, laid out as `like`, and its data position.

        Args:
          like: a state of the same structure, arrays or shapes with shardings.
          step: None is the newest.
        """
        step = self.latest_step() if step is None else step
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                training=ocp.args.StandardRestore(_training_part(abstract)),
                position=ocp.args.JsonRestore(),
            ),
        )
        state = TrainState(params=items["params"], **items["training"])
        return Restored(state, base64.b64decode(items["position"]["data_state"]))

    def close(self) -> None:
        """Waits until everything saved is on disk; raises what went wrong on the way."""
        self._manager.wait_until_finished()
        self._manager.close()


class _KeepStep(ocp.checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint of a step that may change from save to save."""

    def __init__(self, step_fn: Callable[[], int | None]):
        self._step_fn = step_fn

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Returns which checkpoints stay."""
        del context
        return [checkpoint.step == self._step_fn() for checkpoint in checkpoints]


def load_model(directory: str | Path) -> tuple[T5, PyTree]:
    """Returns the model and its float32 parameters from a run directory or one checkpoint of it.

    The model's configuration travels with the checkpoint. Call it as T5X's models are called:
    `model.apply({"params": params}, encoder_input_tokens, decoder_input_tokens,
    decoder_target_tokens, enable_dropout=False)` gives float32 logits.

    Args:
      directory: MODEL_DIR (its newest checkpoint is taken) or MODEL_DIR/checkpoints/STEP.

    Raises:
      ValueError: there is no complete checkpoint; says what was looked for.
    """
    path = find_checkpoint(Path(directory))
    config = read_model_config(path)
    with ocp.StandardCheckpointer() as checkpointer:
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
            ),
            checkpointer.metadata(path / "params").item_metadata.tree,
        )
        params = checkpointer.restore(path / "params", like)
    return T5(config), params


def _training_part(state: TrainState) -> dict[str, Any]:
    """Returns everything of a state but the parameters."""
    part = state._asdict()
    del part["params"]
    return part


def find_checkpoint(directory: Path) -> Path:
    """Returns the directory of the newest complete checkpoint at or under `directory`.

    Raises:
      ValueError: there is none; says what was looked for.
    """
    if _is_checkpoint(directory):
        return directory.absolute()
    root = directory if directory.name == CHECKPOINTS else directory / CHECKPOINTS
    steps = [
        path
        for path in (root.iterdir() if root.is_dir() else ())
        if re.fullmatch(r"\d+", path.name) and _is_checkpoint(path)
    ]
    if not steps:
        raise ValueError(
            f"{str(directory)!r} holds no checkpoint: neither {CHECKPOINTS}/STEP nor params/ and "
            "position/ are there; pass a MODEL_DIR of presence_t5x.train or one of its checkpoints"
        )
    return max(steps, key=lambda path: int(path.name)).absolute()


def _is_checkpoint(directory: Path) -> bool:
    """Tells whether a directory is one complete checkpoint."""
    return (directory / "params").is_dir() and (directory / "position").is_dir()


def check_resumable(model_dir: Path) -> None:
    """Raises ValueError if a run cannot go on from the newest checkpoint of a directory.

    That is where there is one and it holds parameters alone, as a converted one may.
    """
    try:
        path = find_checkpoint(model_dir)
    except ValueError:
        return
    if not (path / "training").is_dir():
        raise ValueError(
            f"{path} holds parameters alone, nothing to continue from; start a run from it: "
            f"another MODEL_DIR, and INITIAL_CHECKPOINT={str(model_dir)!r}"
        )


def read_settings(checkpoint: Path) -> dict[str, Any]:
    """Returns the settings that travel with a checkpoint; "model" is always there.

    Raises:
      ValueError: they are damaged.
    """
    place = checkpoint / "position"
    try:
        settings = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(place)["settings"]
        settings["model"].keys()
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place} is damaged ({error}); use another checkpoint") from error
    return settings


def read_model_config(checkpoint: Path) -> T5Config:
    """Returns the configuration of a checkpoint's model.

    Raises:
      ValueError: it is damaged, or of another version of this package.
    """
    try:
        return T5Config(**read_settings(checkpoint)["model"])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{checkpoint / 'position'}: {str(error).removeprefix('T5Config.__init__() ')}; it is "
            "damaged or of another version of this package: use another checkpoint"
        ) from error
