"""What the tables say, in sentences: does weighting help, and does anything transfer?"""

from collections.abc import Iterable, Sequence

from presence_t5x.reproduction.grids import (
    difference_text,
    metric_name,
    model_labels,
    plain_words,
)
from presence_t5x.reproduction.plan_parts import FINETUNED, SETTINGS
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.rows import AVERAGE, LOSS, Row


def findings(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Returns one sentence on the whole, then one for each variant and setting that was compared.

    A difference counts if its interval does not hold zero; one seed alone decides nothing.
    """
    run = {row.pretraining for row in rows if row.mean is not None}
    labels = model_labels(plan, [found.name for found in plan.pretrainings])
    shown = {table.name: table.language for table in plan.tables}
    lines = [f"{len(run)} of {len(labels)} models were evaluated."]
    for name, label in labels.items():
        for setting in SETTINGS:
            mine = _once(
                row
                for row in rows
                if (row.pretraining, row.setting) == (name, setting)
                and row.language == shown[row.table]
                and row.difference is not None
            )
            if mine:
                parts = "; ".join(_compare(plan, row) for row in mine)
                lines.append(f"{label} against baseline, {plain_words(setting)}: {parts}.")
    return lines


def transfer_lines(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Returns for each setting and task in how many languages each model is above guessing."""
    labels = model_labels(plan, [found.name for found in plan.pretrainings])
    lines = []
    for setting in FINETUNED:
        for task in plan.tasks:
            run = [
                row
                for row in rows
                if (row.setting, row.task) == (setting, task.name)
                and row.language != AVERAGE
                and row.mean is not None
            ]
            names = {row.pretraining for row in run}
            counts = [
                f"{label} {_count(_once(row for row in run if row.pretraining == name))}"
                for name, label in labels.items()
                if name in names
            ]
            if counts:
                lines.append(
                    f"Languages above chance and above the most frequent answer, "
                    f"{plain_words(setting)}, {task.title}: {'; '.join(counts)}."
                )
    return lines


def _count(rows: Sequence[Row]) -> str:
    """In how many languages a model is above guessing, and in which it is not."""
    below = sorted(row.language for row in rows if not row.above_guess)
    number = f"{len(rows) - len(below)} of {len(rows)}"
    return f"{number} (not {', '.join(below)})" if below and len(below) < len(rows) else number


def _once(rows: Iterable[Row]) -> list[Row]:
    """Rows that several tables show, once."""
    return [*{(row.task, row.language): row for row in rows}.values()]


def _compare(plan: Plan, row: Row) -> str:
    task = plan.task(row.task)
    title = task.title if row.language == AVERAGE else f"{task.title} ({row.language})"
    return f"{title} {metric_name(task.metric)} {difference_text(row)} ({_verdict(row)})"


def _verdict(row: Row) -> str:
    if row.difference_interval is None:
        return "one seed"
    low, high = row.difference_interval
    higher, lower = ("worse", "better") if row.metric == LOSS else ("better", "worse")
    return higher if low > 0 else lower if high < 0 else "no clear difference"
