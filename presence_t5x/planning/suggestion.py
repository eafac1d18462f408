"""The largest microbatch that fits a topology, found by compiling."""

from typing import Any, NamedTuple

from rich.console import Console

from presence_t5x.config_types import RunConfig
from presence_t5x.planning.compilation import (
    DoesNotFitError,
    StepPlan,
    check_rows,
    compile_step,
    possible_microbatches,
    with_microbatches,
)
from presence_t5x.planning.topology import Topology


class Suggestion(NamedTuple):
    """The fewest microbatches that fit.

    Attributes:
      microbatch_size: rows, over all devices.
      trials: what was compiled: number of microbatches, bytes needed, whether they fit.
      config: the run with so many.
      step: its compiled step.
    """

    num_microbatches: int
    microbatch_size: int
    trials: tuple[dict[str, Any], ...]
    config: RunConfig
    step: StepPlan


def suggest_microbatches(config: RunConfig, topology: Topology, console: Console) -> Suggestion:
    """Returns the fewest microbatches whose step fits.

    Bisects the numbers that batch and devices allow, taking for granted that more microbatches need
    no more memory; prints each trial. Other numbers of microbatches are other units to PRESENCE.

    Raises:
      ValueError: a topology without memory limit, a batch that does not divide, or not even the
        smallest microbatch fits.
    """
    if topology.hbm_bytes is None:
        raise ValueError(f"--suggest needs the memory of a TPU topology, not {topology.name}")
    numbers = possible_microbatches(config, topology)
    if not numbers:
        check_rows(config, topology)  # says what would divide
    trials: list[dict[str, Any]] = []
    refusal = fitting = None
    low, high = 0, len(numbers)  # numbers[high:] fit
    while low < high:
        middle = (low + high) // 2
        number = numbers[middle]
        try:
            fitting = compile_step(with_microbatches(config, number), topology)
            needed = fitting.hbm_peak_bytes
            fits, high = True, middle
        except DoesNotFitError as error:
            needed, refusal = round(error.needed_bytes), error
            fits, low = False, middle + 1
        trials.append({"num_microbatches": number, "hbm_peak_bytes": needed, "fits": fits})
        console.print(
            f"NUM_MICROBATCHES={number}: {needed / 2**30:.2f} GiB of "
            f"{topology.hbm_bytes / 2**30:.2f} GiB a device, {'fits' if fits else 'does not fit'}",
            markup=False,
            highlight=False,
        )
    if fitting is None:
        raise ValueError(f"no number of microbatches fits: {refusal}")
    size = config.data.batch_size // numbers[high]
    console.print(
        f"suggestion: NUM_MICROBATCHES={numbers[high]}, {size} rows each", highlight=False
    )
    chosen = with_microbatches(config, numbers[high])
    return Suggestion(numbers[high], size, tuple(trials), chosen, fitting)
