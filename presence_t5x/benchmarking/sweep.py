"""What weighting costs at each batch size and number of microbatches, in time and in memory.

Thakkar et al. 2023 report about 30 % more time and leave the overhead's dependence on these two
open. Every cell has its own unweighted step, with the same batch and the same microbatches.
"""

import dataclasses
import gc
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from presence_t5x.benchmarking.comparison import environment
from presence_t5x.benchmarking.contenders import random_batch, tokens_per_step
from presence_t5x.benchmarking.timing import interleave
from presence_t5x.benchmarking.variants import UNWEIGHTED, VARIANTS, make_variant
from presence_t5x.config import config_to_dict
from presence_t5x.config_types import RunConfig

DEFAULT_GRID = "8,16,32,64x1,2,4,8,16"
DEFAULT_VARIANTS = ("stored", "streaming", "example_ema")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One batch size and number of microbatches.

    Attributes:
      seconds_per_step, temp_bytes: of every step, the unweighted one included.
      time_ratio, memory_ratio: of every weighted step over the unweighted one; memory is the
        compiled step's temporaries, parameters and optimizer state not among them.
    """

    batch_size: int
    num_microbatches: int
    seconds_per_step: dict[str, float]
    temp_bytes: dict[str, int | None]
    time_ratio: dict[str, float]
    memory_ratio: dict[str, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A grid of cells, by batch size, then by number of microbatches."""

    config: RunConfig
    variants: Sequence[str]
    blocks: int
    steps_per_block: int
    cells: Sequence[Cell]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return {
            "environment": environment(),
            "config": config_to_dict(self.config),
            "blocks": self.blocks,
            "steps_per_block": self.steps_per_block,
            "tokens_per_row": tokens_per_step(self.config) // self.config.data.batch_size,
            "variants": {name: VARIANTS[name].title for name in self.variants},
            "cells": [dataclasses.asdict(cell) for cell in self.cells],
        }


def parse_grid(text: str) -> list[tuple[int, int]]:
    """Returns the (batch size, number of microbatches) of each cell; only those that divide.

    Raises:
      ValueError: not two lists of positive numbers, or no batch that its microbatches divide.

    >>> parse_grid("4,6x1,4")
    [(4, 1), (4, 4), (6, 1)]
    """
    parts = [part.split(",") for part in text.split("x")]
    numbers = [[int(n) for n in part if n.isdigit() and int(n) > 0] for part in parts]
    if len(parts) != 2 or [len(part) for part in parts] != [len(part) for part in numbers]:
        raise ValueError(
            f"--sweep={text}: batch sizes and numbers of microbatches are two lists joined by an "
            f"x, e.g. --sweep={DEFAULT_GRID}"
        )
    batch_sizes, microbatches = (sorted(set(part)) for part in numbers)
    shapes = [
        pair for pair in itertools.product(batch_sizes, microbatches) if not pair[0] % pair[1]
    ]
    if not shapes:
        raise ValueError(
            f"--sweep={text}: none of these batches can be cut into any of these numbers of "
            "microbatches"
        )
    return shapes


def run_sweep(
    config: RunConfig,
    shapes: Sequence[tuple[int, int]],
    *,
    variants: Sequence[str] = DEFAULT_VARIANTS,
    blocks: int,
    steps_per_block: int,
    say: Callable[[str], None] = lambda line: None,
) -> Sweep:
    """Compiles and times the unweighted step and the variants in every cell.

    Args:
      config: the run whose batch size and number of microbatches are exchanged.
      shapes: batch size and number of microbatches of each cell.
      variants: of `VARIANTS`, without the unweighted step.
      blocks: rounds of each cell.
      steps_per_block: steps that are timed together.
      say: is told which cell is measured.
    """
    cells = []
    for number, shape in enumerate(shapes, 1):
        say(f"cell {number} of {len(shapes)}: {shape[0]} rows in {shape[1]} microbatches")
        cells.append(_measure_cell(config, shape, variants, blocks, steps_per_block))
        gc.collect()  # a cell's parameters and optimizer states
    return Sweep(
        config=config,
        variants=variants,
        blocks=blocks,
        steps_per_block=steps_per_block,
        cells=cells,
    )


def _measure_cell(config, shape: tuple[int, int], variants, blocks: int, steps_per_block: int):
    """Returns one cell's figures."""
    config = with_shape(config, *shape)
    batch = random_batch(config)
    names = [UNWEIGHTED, *variants]
    contenders = {name: make_variant(config, name, batch) for name in names}
    steps = {name: contender.step for name, contender in contenders.items()}
    for step in steps.values():
        step()
    seconds = interleave(steps, blocks=blocks, steps_per_block=steps_per_block)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    temp_bytes = {name: contender.temp_bytes for name, contender in contenders.items()}
    plain_bytes = temp_bytes[UNWEIGHTED]
    return Cell(
        batch_size=shape[0],
        num_microbatches=shape[1],
        seconds_per_step=medians,
        temp_bytes=temp_bytes,
        time_ratio={name: medians[name] / medians[UNWEIGHTED] for name in variants},
        memory_ratio={name: _ratio(temp_bytes[name], plain_bytes) for name in variants},
    )


def _ratio(value: int | None, baseline: int | None) -> float | None:
    return value / baseline if value is not None and baseline else None


def with_shape(config: RunConfig, batch_size: int, num_microbatches: int) -> RunConfig:
    """Returns the run with another batch and other microbatches."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, batch_size=batch_size),
        presence=dataclasses.replace(config.presence, num_microbatches=num_microbatches),
    )
