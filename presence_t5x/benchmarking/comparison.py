"""Every variant and every installed peer in one process: seconds per step, memory, ratios.

The figure to read is a ratio of medians over interleaved blocks; absolute seconds belong to the
machine.
"""

import dataclasses
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np

from presence_t5x.benchmarking.contenders import (
    Contender,
    num_cores,
    random_batch,
    tokens_per_step,
)
from presence_t5x.benchmarking.peers import PEERS, Absent
from presence_t5x.benchmarking.timing import interleave
from presence_t5x.benchmarking.variants import UNWEIGHTED, VARIANTS, make_variant
from presence_t5x.config import config_to_dict
from presence_t5x.config_types import RunConfig

_LIBRARIES = ("jax", "jaxlib", "flax", "torch", "transformers", "jax_privacy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """One contender's result.

    Attributes:
      name: of `VARIANTS` or `PEERS`.
      seconds_per_step: the median over blocks; `seconds_quartiles` are the first and third.
      tokens_per_second: encoder plus decoder tokens.
      baseline: the variant whose time it is divided by, in `over_baseline`.
      speed_over_peers: how many times faster it is than each peer of its kind that ran.
      temp_bytes: temporary memory of the compiled step; None where nothing is compiled.
      compile_seconds: building, compiling and the first step.
    """

    name: str
    title: str
    kind: str
    is_peer: bool
    description: str
    seconds_per_step: float
    seconds_quartiles: tuple[float, float]
    tokens_per_second: float
    baseline: str
    over_baseline: float
    speed_over_peers: Mapping[str, float]
    temp_bytes: int | None
    compile_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """All results of one run, ours first; `absent` are the peers that are not installed."""

    config: RunConfig
    blocks: int
    steps_per_block: int
    measurements: Sequence[Measurement]
    absent: Sequence[Absent] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return {
            "environment": environment(),
            "config": config_to_dict(self.config),
            "blocks": self.blocks,
            "steps_per_block": self.steps_per_block,
            "tokens_per_step": tokens_per_step(self.config),
            "results": [dataclasses.asdict(row) for row in self.measurements],
            "not_installed": [missing._asdict() for missing in self.absent],
        }


def compare(
    config: RunConfig,
    *,
    variants: Sequence[str],
    peers: Sequence[str] = (),
    absent: Sequence[Absent] = (),
    blocks: int,
    steps_per_block: int,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Builds all contenders, runs them in turns, and returns what was measured.

    Args:
      config: model, batch size, lengths and microbatches; its data are not read.
      variants: of `VARIANTS`, baselines included (`with_baselines`).
      peers: of `PEERS`; they must be importable.
      absent: the peers to be reported as missing.
      blocks: rounds in which every contender runs once.
      steps_per_block: steps that are timed together.
      say: is told what is being built.
    """
    contenders = _build(config, [*variants, *peers], say)
    say(f"timing {blocks} blocks of {steps_per_block} steps of each")
    seconds = interleave(
        {name: built.contender.step for name, built in contenders.items()},
        blocks=blocks,
        steps_per_block=steps_per_block,
    )
    return Comparison(
        config=config,
        blocks=blocks,
        steps_per_block=steps_per_block,
        measurements=[
            _measurement(name, built, seconds, tokens_per_step(config))
            for name, built in contenders.items()
        ],
        absent=absent,
    )


class _Built(NamedTuple):
    """A contender that has run its first step, and how long that took in all."""

    contender: Contender
    compile_seconds: float


def _build(config: RunConfig, names: Sequence[str], say) -> dict[str, _Built]:
    """Returns every contender on the same batch, ready to be timed."""
    batch = random_batch(config)
    built = {}
    for number, name in enumerate(names, 1):
        title = PEERS[name].title if name in PEERS else VARIANTS[name].title
        say(f"compiling {number} of {len(names)}: {title}")
        start = time.perf_counter()
        if name in PEERS:
            contender = PEERS[name].make(config, batch)
        else:
            contender = make_variant(config, name, batch)
        contender.step()
        built[name] = _Built(contender, time.perf_counter() - start)
    return built


def _measurement(
    name: str, built: _Built, seconds: Mapping[str, np.ndarray], num_tokens: int
) -> Measurement:
    """Returns one contender's figures from everyone's seconds per step in each block."""
    contender = built.contender
    medians = {other: float(np.median(values)) for other, values in seconds.items()}
    baseline = VARIANTS[name].baseline if name in VARIANTS else UNWEIGHTED
    low, high = np.quantile(seconds[name], [0.25, 0.75])
    return Measurement(
        name=name,
        title=contender.title,
        kind=contender.kind,
        is_peer=name in PEERS,
        description=contender.description,
        seconds_per_step=medians[name],
        seconds_quartiles=(float(low), float(high)),
        tokens_per_second=num_tokens / medians[name],
        baseline=baseline,
        over_baseline=medians[name] / medians[baseline],
        speed_over_peers={
            peer: medians[peer] / medians[name]
            for peer in medians
            if peer in PEERS and PEERS[peer].kind == contender.kind
        },
        temp_bytes=contender.temp_bytes,
        compile_seconds=built.compile_seconds,
    )


def environment() -> dict[str, Any]:
    """Returns what the figures depend on beside the settings."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "platform": jax.devices()[0].platform,
        "num_devices": jax.device_count(),
        "num_cores": num_cores(),
        "machine": platform.machine(),
        "versions": versions,
    }
