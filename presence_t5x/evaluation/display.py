"""An evaluation on the terminal: progress while it runs, and its scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import progress, table
from rich.console import Console

from presence_t5x.evaluation.scores import family_of

_MOST_PROBLEMS = 10


def progress_bar(console: Console) -> progress.Progress:
    """Returns a bar over examples, which shows on a terminal alone."""
    return progress.Progress(
        progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f} examples"),
        progress.BarColumn(bar_width=None),
        progress.TextColumn("{task.description}"),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        expand=True,
    )


def say_problems(console: Console, problems: Sequence[str]) -> None:
    """Prints what of the data could not be read."""
    for problem in problems[:_MOST_PROBLEMS]:
        console.print(f"left out: {problem}", markup=False)
    if len(problems) > _MOST_PROBLEMS:
        console.print(f"left out: {len(problems) - _MOST_PROBLEMS:,} more")


def print_scores(
    console: Console, content: Mapping[str, Any], own: Mapping[str, Sequence[str]]
) -> None:
    """Prints a table a family of tasks: its own metrics by language, and their averages.

    Args:
      content: of scores.json.
      own: the names of each family's own metrics.
    """
    for family, metrics in own.items():
        rows = [row for row in content["scores"] if family_of(row["task"]) == family]
        values = {(row["task"], row["language"], row["metric"]): row["value"] for row in rows}
        places = dict.fromkeys((row["task"], row["language"]) for row in rows)
        sizes = {(row["task"], row["language"]): row["num_examples"] for row in rows}
        grid = table.Table(title=f"{family}, {content['split']}, step {content['step']}")
        grid.add_column("language")
        grid.add_column("examples", justify="right")
        for metric in metrics:
            grid.add_column(metric, justify="right")
        for place in places:
            shown = [_number(values.get((*place, metric))) for metric in metrics]
            grid.add_row(place[1] or "?", f"{sizes[place]:,}", *shown)
        means = {
            row["metric"]: row["value"] for row in content["averages"] if row["task"] == family
        }
        grid.add_section()
        total = f"{sum(sizes.values()):,}"
        grid.add_row("average", total, *[_number(means.get(metric)) for metric in metrics])
        console.print(grid)


def _number(value: float | None) -> str:
    """Returns a score as the field writes it: percentages to two places, fractions to four."""
    if value is None:
        return "-"
    return f"{value:.4f}" if 0 < value <= 1 else f"{value:.2f}"
