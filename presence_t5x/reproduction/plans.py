"""A plan as data: which pre-trainings, fine-tunings and evaluations fill which tables.

`plan_files` reads them; `expansion` makes commands of them. What no table asks for is not run.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from presence_t5x._validate import check_int, check_text, did_you_mean
from presence_t5x.reproduction.plan_parts import (
    HELD_OUT,
    TRAIN_STEPS,
    Evaluation,
    Finetuning,
    Preparation,
    Pretraining,
    Steps,
    Table,
    Task,
    check_folder_name,
)

MOST_SEEDS = 1000


class Run(NamedTuple):
    """A pre-trained model that is fine-tuned (None: judged as it is) and evaluated."""

    pretraining: Pretraining
    finetuning: Finetuning
    evaluations: tuple[Evaluation, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a reproduction does.

    Attributes:
      seeds: how many, from 0.
      steps: how long pre-trainings are in proportion; None is as they say.
      jobs: commands that run at once, each on its share of the cores.
    """

    name: str
    title: str
    tasks: Sequence[Task]
    tables: Sequence[Table]
    pretrainings: Sequence[Pretraining]
    finetunings: Sequence[Finetuning] = ()
    preparations: Sequence[Preparation] = ()
    seeds: int = 1
    steps: Steps | None = None
    jobs: int = 1

    def __post_init__(self):
        check_text("title", self.title)
        check_int("seeds", self.seeds, minimum=1, maximum=MOST_SEEDS)
        check_int("jobs", self.jobs, minimum=1)
        if not self.tables:
            raise ValueError("tables=() asks for nothing; describe at least one in [[tables]]")
        for kind in ("tasks", "tables", "pretrainings", "finetunings", "preparations"):
            names = [item.name for item in getattr(self, kind)]
            for name in names:
                check_folder_name(f"{kind}: name", name)
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{kind}: {twice} stand there twice; give each its own name")
        self._check_references()

    def _check_scorers(self, rows: set[str]):
        for found in self.pretrainings:
            if found.filtered is None:
                continue
            label = f"pretraining {found.name!r}: filtered.scorer"
            _check_known(label, [found.filtered.scorer], rows)
            if self.pretraining(found.filtered.scorer).filtered is not None:
                raise ValueError(
                    f"{label}={found.filtered.scorer!r} reads a filtered corpus itself; name one "
                    "that reads the whole"
                )

    def _check_references(self):
        tasks = {task.name for task in self.tasks}
        rows = {found.name for found in self.pretrainings}
        for table in self.tables:
            _check_known(f"table {table.name!r}: rows", table.rows, rows)
            _check_known(f"table {table.name!r}: tasks", table.tasks, tasks)
            self._check_settings(table)
        self._check_scorers(rows)
        self._check_steps(rows)
        for finetuning in self.finetunings:
            for evaluation in finetuning.evaluations:
                label = f"finetuning {finetuning.name!r}: tasks"
                _check_known(label, evaluation.tasks, tasks)
        self._check_producers()

    def _check_producers(self):
        """Refuses two evaluations that would fill the same cells."""
        found: dict[tuple[str, str], str] = {}
        for finetuning in self.finetunings:
            for evaluation in finetuning.evaluations:
                mine = f"{evaluation.mixture} ({evaluation.split}) after {finetuning.name!r}"
                for key in ((finetuning.setting, task) for task in evaluation.tasks):
                    if key in found:
                        raise ValueError(
                            f"task {key[1]!r}, setting {key[0]!r} is evaluated twice: "
                            f"{found[key]} and {mine}; give each its own task"
                        )
                    found[key] = mine

    def _check_settings(self, table: Table):
        """Refuses a table that asks answers and losses of one place."""
        kinds = {bool(self.task(name).noise) for name in table.tasks}
        kinds |= {setting == HELD_OUT for setting in table.settings}
        if len(kinds) > 1:
            raise ValueError(
                f"table {table.name!r}: tasks with noise (held-out losses) and settings="
                f"['{HELD_OUT}'] go together and with no others; split it into two"
            )

    def _check_steps(self, rows: set[str]):
        if self.steps is None or not self.steps.equal_flops_of:
            return
        _check_known("steps: equal_flops_of", [self.steps.equal_flops_of], rows)
        for found in self.pretrainings:
            if TRAIN_STEPS not in found.settings and not found.unavailable:
                raise ValueError(
                    f"pretraining {found.name!r}: steps.equal_flops_of needs {TRAIN_STEPS} among "
                    "its settings"
                )

    def num_seeds(self, found: Pretraining) -> int:
        """Returns with how many seeds a pre-training is run."""
        return self.seeds if found.seeds is None else found.seeds

    def judged_by_loss(self) -> list[Pretraining]:
        """Returns the pre-trainings whose held-out loss some table shows."""
        names = {n for table in self.tables if HELD_OUT in table.settings for n in table.rows}
        return [one for one in self.pretrainings if one.name in names and not one.unavailable]

    def runs(self) -> Iterator[Run]:
        """Yields what the tables need, each once, in the order of pre-trainings."""
        for pretraining in self.pretrainings:
            if pretraining.unavailable:
                continue
            for finetuning in self.finetunings:
                asked = {
                    task
                    for table in self.tables
                    if pretraining.name in table.rows and finetuning.setting in table.settings
                    for task in table.tasks
                }
                needed = (e for e in finetuning.evaluations if asked.intersection(e.tasks))
                if evaluations := tuple(needed):
                    yield Run(pretraining, finetuning, evaluations)

    def task(self, name: str) -> Task:
        """Returns a task by name."""
        return next(task for task in self.tasks if task.name == name)

    def pretraining(self, name: str) -> Pretraining:
        """Returns a pre-training by name."""
        return next(found for found in self.pretrainings if found.name == name)


def _check_known(label: str, names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(
                f"{label}: {name!r} is none of {sorted(known)}{did_you_mean(name, known)}"
            )
