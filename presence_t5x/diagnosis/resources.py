"""Devices, memory and disk against what a run needs, which its settings tell."""

import math
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import psutil

from presence_t5x.checkpoint import CHECKPOINTS
from presence_t5x.config_types import RunConfig
from presence_t5x.diagnosis.findings import Finding
from presence_t5x.objective import abstract_state, make_mesh, make_objective
from presence_t5x.partitioning import bytes_per_device

_GIB = 2**30
_NARROW = 0.9  # of a disk or memory: more is worth a warning


class Needs(NamedTuple):
    """What a run's state takes: parameters, optimizer and the rest.

    Attributes:
      state_bytes: of all of it once, as a checkpoint holds it.
      device_bytes: of one device's part of it.
      gradient_bytes: of one device's part of a float32 gradient.
    """

    state_bytes: int
    device_bytes: int
    gradient_bytes: int


def run_needs(config: RunConfig) -> Needs:
    """Returns what a run needs on this process's devices; allocates nothing.

    Raises:
      ValueError: its mesh or its rows do not fit the devices, or its layers match nothing.
    """
    objective = make_objective(config, make_mesh(config))
    state = abstract_state(config, objective)
    return Needs(
        state_bytes=sum(map(_num_bytes, jax.tree.leaves(state))),
        device_bytes=bytes_per_device(state),
        gradient_bytes=bytes_per_device(state.params),
    )


def check_devices() -> Iterable[Finding]:
    """Yields what JAX runs on."""
    devices = jax.local_devices()
    counts = {kind: sum(d.device_kind == kind for d in devices) for kind in _kinds(devices)}
    shown = ", ".join(f"{number} x {kind}" for kind, number in counts.items())
    hosts = f", {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    memory = _device_memory(devices[0])
    each = f", {memory / _GIB:.2f} GiB each" if memory else ""
    yield Finding("devices", "ok", f"{shown}{each}{hosts}")


def check_run(config: RunConfig) -> Iterable[Finding]:
    """Yields whether a run fits devices, memory and disk."""
    needs = run_needs(config)  # a mesh that does not fit is told by its error
    shape = {} if (mesh := make_mesh(config)) is None else dict(mesh.shape)
    shown = " x ".join(f"{name} {size}" for name, size in shape.items() if size > 1) or "one device"
    yield Finding("mesh", "ok", f"{shown}; {config.data.batch_size} rows a step fit it")
    device = jax.local_devices()[0]
    memory = _device_memory(device)
    if memory is not None:
        yield judge_device_memory(needs, memory)
    on_cpu = device.platform == "cpu"
    host_bytes = host_memory_bytes(needs, jax.local_device_count(), on_cpu=on_cpu)
    yield judge_host_memory(host_bytes, psutil.virtual_memory().available)
    directory = Path(config.model_dir)
    yield judge_disk(
        needs.state_bytes,
        checkpoints_to_come(config, existing_steps(directory)),
        shutil.disk_usage(nearest_folder(directory)).free,
        str(directory),
    )


def host_memory_bytes(needs: Needs, num_devices: int, *, on_cpu: bool) -> int:
    """Returns what a host keeps of a run: on CPU the state and a gradient, and a copy to save."""
    saved = needs.device_bytes * num_devices
    return 2 * saved + needs.gradient_bytes * num_devices if on_cpu else saved


def judge_device_memory(needs: Needs, memory_bytes: int) -> Finding:
    """Judges state and gradient, without activations, against one device's memory."""
    needed = needs.device_bytes + needs.gradient_bytes
    what = (
        f"state {needs.device_bytes / _GIB:.2f} GiB + gradient {needs.gradient_bytes / _GIB:.2f} "
        f"GiB of {memory_bytes / _GIB:.2f} GiB a device, activations aside"
    )
    fix = "raise NUM_FSDP_PARTITIONS or NUM_TENSOR_PARTITIONS; presence_t5x.plan tells the peak"
    return _judge("device memory", needed, memory_bytes, what, fix)


def judge_host_memory(needed_bytes: int, available_bytes: int) -> Finding:
    """Judges what a host keeps of a run against the memory that is free."""
    needed, free = needed_bytes / _GIB, available_bytes / _GIB
    what = f"{needed:.2f} GiB are needed, activations aside, {free:.2f} GiB are free"
    fix = "end other programs, use a machine with more memory, or a smaller model"
    return _judge("memory", needed_bytes, available_bytes, what, fix)


def judge_disk(state_bytes: int, number: int, free_bytes: int, directory: str) -> Finding:
    """Judges the checkpoints that a run will write against the disk.

    Args:
      state_bytes: of one, uncompressed.
      number: of those to come that stay, and the one that is being written.
      free_bytes: of the file system.
      directory: MODEL_DIR.
    """
    needed = state_bytes * number
    what = (
        f"{number} checkpoints of {state_bytes / _GIB:.2f} GiB need {needed / _GIB:.2f} GiB, "
        f"{free_bytes / _GIB:.2f} GiB are free in {directory}"
    )
    most = int(free_bytes * _NARROW / state_bytes) - 1
    fix = f"set KEEP_CHECKPOINTS={most}" if most > 0 else "free space"
    return _judge("disk", needed, free_bytes, what, f"{fix}, or choose another MODEL_DIR")


def checkpoints_to_come(config: RunConfig, steps: Iterable[int]) -> int:
    """Returns how many more checkpoints than now a run keeps at a time, at most.

    Args:
      steps: of the checkpoints that are there.
    """
    steps = list(steps)
    config = config.counting_from(0)
    done = max(steps, default=0)
    left = math.ceil(max(0, config.train_steps - done) / config.checkpoint_period)
    if config.keep_checkpoints is None:
        return left
    kept = config.keep_checkpoints + (config.task_evaluation.selection == "best")
    return min(left, max(0, kept - len(steps)) + 1)  # a new one is whole before an old one goes


def existing_steps(model_dir: Path) -> list[int]:
    """Returns the steps of a run's checkpoints."""
    folder = model_dir / CHECKPOINTS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [int(name) for name in names if re.fullmatch(r"\d{1,18}", name)]


def nearest_folder(path: Path) -> Path:
    """Returns a path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _judge(check: str, needed: float, available: float, what: str, fix: str) -> Finding:
    if needed > available:
        return Finding(check, "fault", what, fix)
    if needed > _NARROW * available:
        return Finding(check, "warning", what, fix)
    return Finding(check, "ok", what)


def _kinds(devices: list[Any]) -> list[str]:
    return sorted({device.device_kind for device in devices})


def _device_memory(device: Any) -> int | None:
    """Returns a device's memory in bytes; None where it has none of its own."""
    return (device.memory_stats() or {}).get("bytes_limit")


def _num_bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize
