"""A scoring on the terminal: progress while it runs, and what came out by language."""

from pathlib import Path

import pyarrow.parquet as pq
from rich import progress, table
from rich.console import Console
from rich.text import Text


class _Speed(progress.ProgressColumn):
    """Documents a second."""

    def render(self, task: progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} documents/s")


def progress_bar(console: Console) -> progress.Progress:
    """Returns a bar over documents, which shows on a terminal alone."""
    return progress.Progress(
        progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f} documents"),
        progress.BarColumn(bar_width=None),
        _Speed(),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        expand=True,
    )


def print_languages(console: Console, path: Path) -> None:
    """Prints how many documents each language has, and their mean loss and score."""
    found = pq.read_table(path, columns=["language", "loss", "score"])
    grouped = found.group_by("language").aggregate(
        [("score", "count"), ("loss", "mean"), ("score", "mean"), ("score", "approximate_median")]
    )
    grid = table.Table(title=str(path))
    for name in ("language", "documents", "mean loss", "mean score", "median score"):
        grid.add_column(name, justify="left" if name == "language" else "right")
    for row in grouped.sort_by("language").to_pylist():
        numbers = (row["loss_mean"], row["score_mean"], row["score_approximate_median"])
        shown = ("-" if number is None else f"{number:.4g}" for number in numbers)
        grid.add_row(row["language"] or "?", f"{row['score_count']:,}", *shown)
    console.print(grid)
