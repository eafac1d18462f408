"""Rows of tables.json laid out as the paper's tables: what stands in which line and column.

A table of variants has a line a model and variant and a column a task (Tables 2 to 5), a table of
temperatures a line a task and a column a temperature (Figure 5), each once a setting. Scores by
language have a column a language, for all models of the plan at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

from presence_t5x.reproduction.plan_parts import SETTINGS, Pretraining, Table
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.rows import AVERAGE, LOSS, Row, decimals

# As the paper writes them; other variants are written as they are.
_VARIANTS = {
    "baseline": "baseline",
    "direct": "PRESENCE-D",
    "inverse": "PRESENCE-I",
    "inverse_direct": "PRESENCE-I-D",
    "presence": "PRESENCE",
    "presence_example": "PRESENCE by example",
    "sequential": "PRESENCE-Sequential",
    "sequential_reverse": "Sequential-reverse",
}
GUESS = "most frequent answer"
_METRICS = {"span_f1": "span F1", "f1": "F1", "em": "exact match"}
# Of a held-out loss: what the run took.
_EFFORT = (
    "seeds",
    "steps",
    "FLOPs over baseline",
    "seconds a step over baseline",
    "effective sample size",
)


class Line(NamedTuple):
    """One line of a grid.

    Attributes:
      cells: rows, figures without a spread, text, None where nothing stands.
    """

    label: str
    cells: tuple[Row | float | str | None, ...]


class Grid(NamedTuple):
    """One table as it is printed."""

    title: str
    corner: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def plain_words(name: str) -> str:
    """Returns a name with spaces.

    >>> plain_words("zero_shot")
    'zero shot'
    """
    return name.replace("_", " ")


def model_labels(plan: Plan, names: Sequence[str]) -> dict[str, str]:
    """Returns how models are called in front of their lines, by name of their pre-training.

    With the model where there are several; by that name where it would still be ambiguous.
    """
    found = [plan.pretraining(name) for name in names]
    with_model = len({one.model for one in found}) > 1
    labels = {one.name: _row_label(one, with_model=with_model) for one in found}
    texts = [*labels.values()]
    return {name: text if texts.count(text) == 1 else name for name, text in labels.items()}


def table_grids(plan: Plan, table: Table, rows: Sequence[Row]) -> list[Grid]:
    """Returns a table, once for each of its settings."""
    mine = {
        (row.setting, row.pretraining, row.task): row
        for row in rows
        if row.table == table.name and row.language == table.language
    }
    make = _temperature_grid if table.layout == "temperatures" else _variant_grid
    return [make(plan, table, setting, mine) for setting in table.settings]


def language_grids(plan: Plan, rows: Sequence[Row]) -> list[Grid]:
    """Returns the scores by language of every setting and task that was run."""
    run = {
        (row.setting, row.task, row.pretraining, row.language): row
        for row in rows
        if row.mean is not None
    }
    labels = model_labels(plan, [found.name for found in plan.pretrainings])
    grids = []
    for setting in SETTINGS:
        for task in plan.tasks:
            mine = [key for key in run if key[:2] == (setting, task.name)]
            languages = sorted({key[3] for key in mine} - {AVERAGE})
            if not languages:
                continue
            columns = [*languages, *([AVERAGE] if any(k[3] == AVERAGE for k in mine) else [])]
            names = {key[2] for key in mine}
            lines = tuple(
                Line(label, tuple(run.get((setting, task.name, name, c)) for c in columns))
                for name, label in labels.items()
                if name in names
            )
            title = f"{plain_words(setting)}, {task.title} ({metric_name(task.metric)})"
            grids.append(Grid(title, "", tuple(columns), _with_guesses(lines)))
    return grids


def metric_name(metric: str) -> str:
    """Returns a metric as the paper writes it."""
    return _METRICS.get(metric, metric)


def difference_text(row: Row | None) -> str:
    """Returns a row less its baseline, with the interval of the difference; "" without one."""
    if row is None or row.difference is None:
        return ""
    digits, interval = decimals(row), row.difference_interval
    span = "" if interval is None else " [{0:+.{2}f}, {1:+.{2}f}]".format(*interval, digits)
    return f"{row.difference:+.{digits}f}{span}"


def _variant_grid(plan: Plan, table: Table, setting: str, rows: dict) -> Grid:
    columns = [f"{t.title} ({metric_name(t.metric)})" for t in map(plan.task, table.tasks)]
    found = {
        name: tuple(rows.get((setting, name, task)) for task in table.tasks) for name in table.rows
    }
    if any(row is not None and row.metric == LOSS for cells in found.values() for row in cells):
        columns = [columns[0], "less baseline", *columns[1:], *_EFFORT]
        found = {
            name: (cells[0], difference_text(cells[0]), *cells[1:], *_effort_texts(cells[0]))
            for name, cells in found.items()
        }
    labels = model_labels(plan, table.rows)
    lines = tuple(Line(labels[name], cells) for name, cells in found.items())
    return Grid(plain_words(setting), "", tuple(columns), _with_guesses(lines))


def _effort_texts(row: Row | None) -> tuple[str, ...]:
    """What a run took, in the order of `_EFFORT`."""
    if row is None:
        return ("",) * len(_EFFORT)
    share = None if row.sample_share is None else f"{100 * row.sample_share:.0f} % of units"
    ratios = (row.relative_flops, row.relative_seconds)
    texts = ("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
    steps = "" if row.steps is None else f"{row.steps:,}"
    return (str(row.seeds or ""), steps, *texts, share or "")


def _temperature_grid(plan: Plan, table: Table, setting: str, rows: dict) -> Grid:
    found = sorted(map(plan.pretraining, table.rows), key=lambda one: one.temperature or 0.0)
    columns = tuple(f"{one.temperature or 0:g}" for one in found)
    lines = tuple(
        Line(
            f"{task.title} ({metric_name(task.metric)})",
            tuple(rows.get((setting, one.name, task.name)) for one in found),
        )
        for task in map(plan.task, table.tasks)
    )
    first = [rows.get((setting, one.name, table.tasks[0])) for one in found]
    if any(row is not None and row.metric == LOSS for row in first):
        efforts = [*zip(*map(_effort_texts, first))]
        lines = (
            lines[0],
            Line("less baseline", tuple(map(difference_text, first))),
            *lines[1:],
            *(Line(name, texts) for name, texts in zip(_EFFORT, efforts)),
        )
    return Grid(plain_words(setting), "temperature", columns, lines)


def _with_guesses(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """Lines of models, and behind them what the most frequent answer scores, if it is known."""
    columns = zip(*(line.cells for line in lines))
    guesses = tuple(
        next((r.guess for r in column if isinstance(r, Row) and r.guess is not None), None)
        for column in columns
    )
    known = any(guess is not None for guess in guesses)
    return (*lines, Line(GUESS, guesses)) if known else lines


def _row_label(found: Pretraining, *, with_model: bool) -> str:
    name = _VARIANTS.get(found.variant, plain_words(found.variant))
    return f"{plain_words(found.model)}, {name}" if with_model else name
