"""A scoring on the terminal: progress while it runs, and what came out by language."""

import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich import progress, table
from rich.console import Console
from rich.text import Text


class _Speed(progress.ProgressColumn):
    """Documents a second since this run began, and how long the others take at that speed.

    Rich's own forgets what is older than 30 seconds, and takes what was done before for this run's.
    """

    def render(self, task: progress.Task) -> Text:
        done = task.completed - task.fields["done_before"]
        if not done or not task.elapsed:
            return Text("")
        speed = done / task.elapsed
        left = datetime.timedelta(seconds=round((task.remaining or 0.0) / speed))
        return Text(f"{speed:,.1f} documents/s, {left} left")


def progress_bar(console: Console) -> progress.Progress:
    """Returns a bar over documents, which shows on a terminal alone.

    Its tasks have a field `done_before`: documents that an earlier run has scored.
    """
    return progress.Progress(
        progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f} documents"),
        progress.BarColumn(bar_width=None),
        _Speed(),
        console=console,
        disable=not console.is_terminal,
        expand=True,
    )


def print_languages(console: Console, path: Path) -> None:
    """Prints how many documents each language has, and their mean loss and score."""
    found = pq.read_table(path, columns=["language", "loss", "score"])
    everyone = pc.CountOptions(mode="all")  # those without a score, too
    grouped = found.group_by("language").aggregate(
        [
            ("score", "count", everyone),
            ("loss", "mean"),
            ("score", "mean"),
            ("score", "approximate_median"),
        ]
    )
    grid = table.Table(title=Text(str(path)))
    for name in ("language", "documents", "mean loss", "mean score", "median score"):
        grid.add_column(name, justify="left" if name == "language" else "right")
    for row in grouped.sort_by("language").to_pylist():
        numbers = (row["loss_mean"], row["score_mean"], row["score_approximate_median"])
        shown = ("-" if number is None else f"{number:.4g}" for number in numbers)
        grid.add_row(Text(row["language"] or "?"), f"{row['score_count']:,}", *shown)
    console.print(grid)
