"""What the tables say, in sentences: does weighting help, and does anything transfer?"""

from collections.abc import Sequence

from presence_t5x.reproduction.grids import metric_name, plain_words, row_label
from presence_t5x.reproduction.plans import SETTINGS, Plan
from presence_t5x.reproduction.rows import AVERAGE, Row


def findings(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Returns one sentence on the whole, then one for each variant and setting that was compared.

    A difference counts if its interval does not hold zero.
    """
    run = {row.pretraining for row in rows if row.mean is not None}
    possible = {name for table in plan.tables for name in table.rows}
    lines = [f"{len(run)} of {len(possible)} models were evaluated."]
    for found in plan.pretrainings:
        for setting in SETTINGS:
            mine = _unique(
                row
                for row in rows
                if (row.pretraining, row.setting, row.language) == (found.name, setting, AVERAGE)
                and row.difference is not None
            )
            if mine:
                parts = "; ".join(_compare(plan, row) for row in mine)
                label = row_label(found, with_model=True)
                lines.append(f"{label} against baseline, {plain_words(setting)}: {parts}.")
    return lines


def transfer_lines(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Returns for each setting, task and model in how many languages it is above guessing."""
    lines = []
    for setting in SETTINGS:
        for task in plan.tasks:
            for found in plan.pretrainings:
                mine = _unique(
                    row
                    for row in rows
                    if (row.setting, row.task, row.pretraining) == (setting, task.name, found.name)
                    and row.language != AVERAGE
                    and row.mean is not None
                )
                if mine:
                    below = sorted(row.language for row in mine if not row.above_guess)
                    rest = f" (not {', '.join(below)})" if below else ""
                    lines.append(
                        f"{plain_words(setting)}, {task.title}: "
                        f"{row_label(found, with_model=True)} is above chance and the most "
                        f"frequent answer in {len(mine) - len(below)} of {len(mine)} "
                        f"languages{rest}."
                    )
    return lines


def _unique(rows) -> list[Row]:
    """Rows that several tables show, once."""
    return [*{(row.task, row.language): row for row in rows}.values()]


def _compare(plan: Plan, row: Row) -> str:
    assert row.difference is not None and row.difference_interval is not None
    low, high = row.difference_interval
    verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
    task = plan.task(row.task)
    return (
        f"{task.title} {metric_name(task.metric)} {row.difference:+.1f} "
        f"[{low:+.1f}, {high:+.1f}] ({verdict})"
    )
