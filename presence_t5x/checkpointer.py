"""Saving and resuming a run: Orbax checkpoints, and what is done about damaged ones.

A checkpoint holds parameters, the rest of the training state, the data position and the run's
settings. Orbax writes to a temporary directory and renames it, so an interrupted save is never
taken for a checkpoint. Of every array a checksum is saved beside it, and compared when a run
continues: Orbax's files have none, so that a flipped bit would go unnoticed. Reading a model alone
is `checkpoint`.
"""

import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from presence_t5x.checkpoint import CHECKPOINTS, saved_shapes
from presence_t5x.checksums import array_checksums, check_same_arrays, differing_arrays
from presence_t5x.resilience import hosts
from presence_t5x.train_step import TrainState

DAMAGED = "damaged_checkpoints"


class SaveError(OSError):
    """A checkpoint could not be written; the message is one line."""


class DamagedError(ValueError):
    """A checkpoint cannot be read, or holds other numbers than were saved."""


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
        self._directory = (Path(model_dir) / CHECKPOINTS).absolute()
        self._saving: int | None = None
        self._manager = ocp.CheckpointManager(
            self._directory,
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

        Raises:
          SaveError: this save cannot begin, or the one before failed.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        if jax.default_backend() == "cpu":
            # There a host view is the buffer itself, which the next step donates.
            state = jax.tree.map(jnp.copy, state)
        states = [base64.b64encode(state).decode() for state in hosts.gather_bytes(data_state)]
        position = {
            "data_state": states[0],
            "data_states": states,
            "settings": settings,
            "checksums": array_checksums(state),
        }
        with self._explained():
            self._manager.wait_until_finished()
            self._saving = step
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    training=ocp.args.StandardSave(_training_part(state)),
                    position=ocp.args.JsonSave(position),
                ),
            )

    def check(self) -> None:
        """Raises SaveError if the save that runs in the background has failed; does not wait."""
        if self._saving is None or self._manager.is_saving_in_progress():
            return
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
            self._saving = None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns whatever a save raises into SaveError."""
        try:
            yield
        except Exception as error:
            raise SaveError(
                f"the checkpoint of step {self._saving} could not be written to {self._directory} "
                f"({_reason(error)}); see that there is space and permission, then "
                "run the same command again: it continues from the checkpoint before"
            ) from error

    def restore(self, like: TrainState, step: int | None = None) -> Restored:
        """Returns a checkpoint's state, laid out as `like`, and its data position.

        Args:
          like: a state of the same structure, arrays or shapes; what has no sharding is put on the
            first device.
          step: None is the newest.

        Raises:
          DamagedError: it cannot be read, or an array is not what was saved.
          ValueError: it is of another kind of state: nothing is wrong with it. Says what differs.
        """
        step = self.latest_step() if step is None else step
        abstract = jax.tree.map(_placed_shape, like)
        damage = None
        try:
            state, position = self._read(step, abstract)
        except DamagedError as error:
            state, position, damage = None, {}, error
        # A host may have read its part of a checkpoint of which another's is damaged.
        if hosts.any_host(f"checkpoint {step} is damaged", damage is not None) or state is None:
            raise damage or DamagedError("another host cannot read it")
        if differing := differing_arrays(position.get("checksums", {}), state):
            raise DamagedError(f"{differing} is not what was saved, by its checksum")
        states = _data_states(position)
        return Restored(state, states[jax.process_index() if len(states) > 1 else 0])

    def _read(self, step: int | None, abstract: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Returns a checkpoint's state and what else it holds."""
        with _damage():
            position = self._manager.restore(
                step, args=ocp.args.Composite(position=ocp.args.JsonRestore())
            )["position"]
            _data_states(position)
            shapes = saved_shapes(self._directory / str(step))
        checksums = position.get("checksums") or shapes
        if checksums.keys() != shapes.keys():
            raise DamagedError("its arrays are not those that its checksums name")
        check_same_arrays(shapes, abstract)
        with _damage():
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(abstract.params),
                    training=ocp.args.StandardRestore(_training_part(abstract)),
                ),
            )
        return TrainState(params=items["params"], **items["training"]), position

    def restore_newest(self, like: TrainState, say: Callable[[str], None]) -> Restored | None:
        """Returns the newest undamaged checkpoint, or None if there never was one.

        Damaged ones are moved to MODEL_DIR/damaged_checkpoints, and `say` is told.

        Raises:
          ValueError: all are damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                found = self.restore(like, step)
            except DamagedError as error:
                moved = self._set_aside(step)
                say(
                    f"WARNING: the checkpoint of step {step} is damaged: {error}. It is now {moved}"
                )
                continue
            if step != steps[0]:
                say(f"WARNING: going on from the checkpoint of step {step} instead of {steps[0]}")
            return found
        if steps:
            raise ValueError(
                f"every checkpoint of {self._directory} was damaged and is set aside (see above); "
                "put a copy of one in its place, or run the same command again to start at the "
                "beginning"
            )
        return None

    def _set_aside(self, step: int) -> Path:
        """Moves a checkpoint out of the way, whole; returns its new place."""
        folder = self._directory.parent / DAMAGED
        name = next(
            name
            for name in (str(step), *(f"{step}.{number}" for number in range(1, 10_000)))
            if not (folder / name).exists()
        )
        if jax.process_index() == 0:
            folder.mkdir(exist_ok=True)
            (self._directory / str(step)).rename(folder / name)
        hosts.wait_for_all(f"checkpoint {step} is set aside")
        self._manager.reload()
        return folder / name

    def close(self) -> None:
        """Waits until everything saved is on disk.

        Raises:
          SaveError: it could not be written.
        """
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        self._manager.close()


class _KeepStep(ocp.checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint of a step that may change from save to save."""

    def __init__(self, step_fn: Callable[[], int | None]):
        self._step_fn = step_fn

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """Returns which checkpoints stay."""
        del context
        return [checkpoint.step == self._step_fn() for checkpoint in checkpoints]


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Turns whatever reading raises into DamagedError, but for a machine that is too small."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise
        raise DamagedError(f"it cannot be read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Returns an error in one line, without the settings that TensorStore puts behind it."""
    text = " ".join(str(error).split()).split(" [tensorstore_spec=")[0]
    text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 300 else f"{text[:100]} ... {text[-180:]}"


def _data_states(position: Mapping[str, Any]) -> list[bytes]:
    """Returns the data position of every host, or the one that all share."""
    states = position.get("data_states", [position["data_state"]])
    states = states if len(states) == jax.process_count() else states[:1]
    return [base64.b64decode(state) for state in states]


def _placed_shape(leaf: Any) -> jax.ShapeDtypeStruct:
    """Returns an array's shape, type and place."""
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _training_part(state: TrainState) -> dict[str, Any]:
    """Returns everything of a state but the parameters."""
    part = state._asdict()
    del part["params"]
    return part
