"""The tables of `presence_t5x.benchmark`, readable at 100 columns."""

from collections.abc import Sequence

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from presence_t5x.benchmarking.comparison import Comparison, Measurement
from presence_t5x.benchmarking.contenders import SCORING, TRAINING
from presence_t5x.benchmarking.peers import PEERS
from presence_t5x.benchmarking.sweep import Sweep
from presence_t5x.benchmarking.variants import UNWEIGHTED, VARIANTS
from presence_t5x.config_types import RunConfig

_MEBIBYTE = 2**20


def describe_run(config: RunConfig) -> str:
    """Returns sizes, batch and devices in a line."""
    batch = f"{config.data.batch_size} rows, {config.presence.num_microbatches} microbatches"
    return f"{describe_sweep(config)}; {batch}"


def describe_sweep(config: RunConfig) -> str:
    """Returns sizes and devices, without the batch, in a line."""
    return (
        f"{config.model.describe()}, {' + '.join(map(str, config.row_lengths.values()))} tokens, "
        f"{jax.device_count()} {jax.devices()[0].platform} device(s)"
    )


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints one table for training steps, one for scoring, and what is not installed."""
    console.print(describe_run(comparison.config), highlight=False)
    headings = {TRAINING: "Training steps", SCORING: "Scores of all rows, no update"}
    for kind, heading in headings.items():
        rows = [row for row in comparison.measurements if row.kind == kind]
        if rows:
            console.print(_table(heading, rows))
    for missing in comparison.absent:
        console.print(
            f"not installed: {missing.title} ({missing.reason}): {missing.install}",
            highlight=False,
            markup=False,
        )


def print_sweep(sweep: Sweep, console: Console) -> None:
    """Prints a table of time and memory ratios, a line for each cell."""
    console.print(describe_sweep(sweep.config), highlight=False)
    table = Table(title="Weighted over unweighted", box=box.SIMPLE_HEAD)
    for title in ("batch", "micro-\nbatches", "unweighted\nseconds", "temp\nMiB"):
        table.add_column(title, justify="right")
    for name in sweep.variants:
        title = VARIANTS[name].title.replace(", ", ",\n")
        table.add_column(f"{title}\n time   temp", justify="right")
    previous = None
    for cell in sweep.cells:
        if previous not in (None, cell.batch_size):
            table.add_section()
        previous = cell.batch_size
        table.add_row(
            str(cell.batch_size),
            str(cell.num_microbatches),
            f"{cell.seconds_per_step[UNWEIGHTED]:.4f}",
            _mebibytes(cell.temp_bytes[UNWEIGHTED]),
            *(
                f"{cell.time_ratio[name]:.3f}  {_ratio(cell.memory_ratio[name])}"
                for name in sweep.variants
            ),
        )
    console.print(table)


def _table(heading: str, rows: Sequence[Measurement]) -> Table:
    """Returns a line a contender: time over its baseline, speed over the peers of its kind."""
    peers = list(rows[0].speed_over_peers)
    baselines = sorted({row.baseline for row in rows if row.baseline != UNWEIGHTED})
    notes = ["±: half the interquartile range", "time over: the unweighted step"]
    notes += [f"or {VARIANTS[name].title!r}" for name in baselines]
    table = Table(title=heading, caption=", ".join(notes), box=box.SIMPLE_HEAD)
    table.add_column("step", no_wrap=True)
    columns = ["seconds", "±", "tokens/s", "time\nover"]
    columns += [f"times as\nfast as\n{PEERS[name].short}" for name in peers]
    for title in [*columns, "temp\nMiB"]:
        table.add_column(title, justify="right", no_wrap=True)
    for position, row in enumerate(rows):
        if row.is_peer and not rows[position - 1].is_peer:
            table.add_section()
        low, high = row.seconds_quartiles
        table.add_row(
            row.title,
            f"{row.seconds_per_step:.4f}",
            f"{50 * (high - low) / row.seconds_per_step:.1f}%",
            f"{row.tokens_per_second:,.0f}",
            f"{row.over_baseline:.3f}",
            *(f"{row.speed_over_peers[name]:.2f}" for name in peers),
            _mebibytes(row.temp_bytes),
        )
    return table


def _mebibytes(value: int | None) -> str:
    return "–" if value is None else f"{value / _MEBIBYTE:,.1f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
