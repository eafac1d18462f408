"""Which devices a plan compiles for: TPU topologies without a TPU, or virtual CPU devices.

`prepare_environment` comes before anything that starts a JAX backend. libtpu is loaded here alone,
with its start-up chatter turned away.
"""

import contextlib
import math
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from presence_t5x._validate import did_you_mean
from presence_t5x.optional_modules import install_extra

_GIB = 2**30
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # asks no metadata server where this machine is
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compiling holds no chip: several plans may run at once
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
}
_MAX_CPU_DEVICES = 1024


class Chip(NamedTuple):
    """A generation of TPU.

    Attributes:
      num_dimensions: of its interconnect, and so of a topology's name.
      max_chips: of one slice.
      cores_per_chip: those that JAX sees as devices of their own.
      peak_flops: bf16 FLOP/s of a chip, as Google publishes it.
      hbm_bytes: of one device, as libtpu 0.0.42 has it for a program: what it names when a program
        does not fit. The rest is its own.
      example: a topology of this generation.
    """

    num_dimensions: int
    max_chips: int
    cores_per_chip: int
    peak_flops: float
    hbm_bytes: int
    example: str


CHIPS = {
    "v2": Chip(2, 256, 2, 46e12, int(7.48 * _GIB), "v2:4x4"),
    "v3": Chip(2, 1024, 2, 123e12, int(15.48 * _GIB), "v3:8x8"),
    "v4": Chip(3, 4096, 2, 275e12, int(15.25 * _GIB), "v4:4x4x4"),
    "v5e": Chip(2, 256, 1, 197e12, int(15.75 * _GIB), "v5e:8x8"),
    "v5p": Chip(3, 8960, 1, 459e12, int(95.74 * _GIB), "v5p:4x4x4"),
    "v6e": Chip(2, 256, 1, 918e12, int(31.25 * _GIB), "v6e:8x8"),
    "tpu7x": Chip(3, 9216, 2, 2307e12, int(94.75 * _GIB), "tpu7x:4x4x4"),
}
_ALIASES = {"v5litepod": "v5e", "v5lite": "v5e", "v5": "v5p", "v6lite": "v6e", "v7x": "tpu7x"}
_FORMS = ", ".join([*(chip.example for chip in CHIPS.values()), "cpu:8"])


class Topology(NamedTuple):
    """Devices to compile for.

    Attributes:
      name: "v4:4x4x4" or "cpu:8".
      devices: all of them, each a core; they compile and cannot run anything if they are TPUs.
      num_chips: as many as there are devices for CPUs.
      chip: None for CPUs, which have neither a stated speed nor a memory of their own.
    """

    name: str
    devices: np.ndarray
    num_chips: int
    chip: Chip | None

    @property
    def num_devices(self) -> int:
        """Devices, which for most generations are cores."""
        return self.devices.size

    @property
    def hbm_bytes(self) -> int | None:
        """What a program may use of one device's memory."""
        return None if self.chip is None else self.chip.hbm_bytes


def prepare_environment(name: str) -> None:
    """Checks a topology's name and makes JAX ready to compile for it on this machine's CPU.

    Raises:
      ValueError: the name is of no known form, with those that are.
    """
    family, sizes = _parse(name)
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")
    if family == "cpu":
        with contextlib.suppress(RuntimeError):  # too late: `get_topology` counts what there is
            jax.config.update("jax_num_cpu_devices", sizes[0])


def get_topology(name: str) -> Topology:
    """Returns the devices of a topology, after `prepare_environment` with the same name.

    Raises:
      ValueError: no such topology, or libtpu is not installed, with the remedy.
    """
    family, sizes = _parse(name)
    if family == "cpu":
        devices = np.asarray(jax.devices("cpu")[: sizes[0]])
        if devices.size < sizes[0]:
            raise ValueError(
                f"topology={name!r} needs {sizes[0]} CPU devices and this process has "
                f"{devices.size}; run it in a process of its own"
            )
        return Topology(name, devices, devices.size, None)
    name = f"{family}:{'x'.join(map(str, sizes))}"
    devices = np.asarray(_tpu_devices(name))
    return Topology(name, devices, len({tuple(d.coords) for d in devices}), CHIPS[family])


def larger_topology(name: str) -> str | None:
    """Returns the topology with twice the chips, None where a slice cannot be that large.

    >>> larger_topology("v4:4x4x4"), larger_topology("v5e:16x16")
    ('v4:4x4x8', None)
    """
    family, sizes = _parse(name)
    if family == "cpu":
        return f"cpu:{2 * sizes[0]}" if 2 * sizes[0] <= _MAX_CPU_DEVICES else None
    if 2 * math.prod(sizes) > CHIPS[family].max_chips:
        return None
    smallest = max(index for index, size in enumerate(sizes) if size == min(sizes))
    doubled = [size * 2 if index == smallest else size for index, size in enumerate(sizes)]
    return f"{family}:{'x'.join(map(str, sorted(doubled)))}"


@contextlib.contextmanager
def standard_error_away() -> Iterator[None]:
    """Discards what shared libraries print to the file descriptor; exceptions pass."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _parse(name: str) -> tuple[str, tuple[int, ...]]:
    """Returns the family and the sizes of a topology's name, both checked."""
    found = re.fullmatch(r"([A-Za-z0-9]+):(\d+(?:x\d+)*)", name)
    if not found:
        raise ValueError(
            f"topology={name!r} is not of the form FAMILY:SIZExSIZE; use for example {_FORMS}"
        )
    family = _ALIASES.get(found[1].lower(), found[1].lower())
    sizes = tuple(map(int, found[2].split("x")))
    if family == "cpu":
        if len(sizes) != 1 or not 1 <= sizes[0] <= _MAX_CPU_DEVICES:
            raise ValueError(
                f"topology={name!r}: cpu takes one number of virtual devices from 1 to "
                f"{_MAX_CPU_DEVICES}, e.g. cpu:8"
            )
    elif family not in CHIPS:
        raise ValueError(
            f"topology={name!r}: unknown family {found[1]!r}{did_you_mean(family, CHIPS)}; "
            f"known: {', '.join(CHIPS)} and cpu, e.g. {_FORMS}"
        )
    else:
        _check_sizes(name, CHIPS[family], sizes)
    return family, sizes


def _check_sizes(name: str, chip: Chip, sizes: tuple[int, ...]) -> None:
    """Refuses slices that cannot exist: libtpu would take some, of a million chips too."""
    family = name.split(":")[0]
    if len(sizes) != chip.num_dimensions:
        raise ValueError(
            f"topology={name!r}: {family} has {chip.num_dimensions} dimensions, counted in chips, "
            f"e.g. {chip.example}"
        )
    if 0 in sizes or any(size % 2 for size in sizes[:2]):
        raise ValueError(
            f"topology={name!r}: the first two sizes must be even, for a host has 2x2 chips, e.g. "
            f"{chip.example}"
        )
    if math.prod(sizes) > chip.max_chips:
        raise ValueError(
            f"topology={name!r} has {math.prod(sizes)} chips; a slice of {family} has at most "
            f"{chip.max_chips}, e.g. {chip.example}"
        )


def _tpu_devices(name: str) -> list[Any]:
    """Asks libtpu for a topology's devices."""
    from jax.experimental import topologies

    try:
        with standard_error_away():
            import libtpu  # noqa: F401  # pyright: ignore[reportMissingImports]

            return list(topologies.get_topology_desc(name, "tpu").devices)
    except ImportError as error:
        raise ValueError(
            f"topology={name!r} needs the TPU compiler, which runs without a TPU: "
            f"{install_extra('tpu')} (in a checkout)"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).removeprefix("INVALID_ARGUMENT: ")
        raise ValueError(f"topology={name!r}: libtpu refuses it: {reason}; try {_FORMS}") from error
