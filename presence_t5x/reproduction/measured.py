"""Everything that is done of a plan, by pre-training, setting and task: values of every seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from presence_t5x.reproduction.bootstrap import Values
from presence_t5x.reproduction.guesses import constant_score
from presence_t5x.reproduction.held_out_results import (
    Effort,
    TrainedResult,
    mean_effort,
    read_trained,
)
from presence_t5x.reproduction.plan_parts import HELD_OUT, Task
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.results import LanguageResult, language_results, read_evaluation
from presence_t5x.reproduction.units import Cell, Work


class Group(NamedTuple):
    """What one pre-training, setting and task identify."""

    pretraining: str
    setting: str
    task: str


class Measured(NamedTuple):
    """The results of a group.

    Attributes:
      values: of every language, all seeds.
      seeds: their numbers.
      guesses: of every language; none for losses.
      ids: of every language, the ids of the examples; none for losses.
      effort: of a pre-training that is judged by its loss.
      sizes: of every language, the numbers of rows and tokens that its loss is a mean over.
    """

    values: Mapping[str, Values]
    seeds: tuple[int, ...]
    guesses: Mapping[str, float]
    ids: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    effort: Effort | None = None
    sizes: Mapping[str, tuple[int, float]] = MappingProxyType({})


def measure(plan: Plan, cells: Sequence[Cell], output: Path) -> dict[Group, Measured]:
    """Returns everything that is done of a plan.

    Raises:
      ValueError: a damaged evaluation, or seeds that were tested on different examples.
    """
    found: dict[Group, dict[int, dict[str, LanguageResult]]] = {}
    for cell in cells:
        evaluated = read_evaluation(output / cell.directory)
        if evaluated is None:
            continue
        for name in cell.evaluation.tasks:
            group = Group(cell.pretraining, cell.setting, name)
            results = language_results(evaluated, plan.task(name))
            found.setdefault(group, {})[cell.seed] = results
    return {group: _measured(group, seeds, plan.task(group.task)) for group, seeds in found.items()}


def measure_held_out(plan: Plan, work: Work, output: Path) -> dict[Group, Measured]:
    """Returns the held-out losses of every pre-training of a plan that is done.

    Raises:
      ValueError: a damaged file, no held-out rows of a task's label, or others in another seed.
    """
    units = {unit.name: unit for unit in work.units}
    names = {n for table in plan.tables if HELD_OUT in table.settings for n in table.tasks}
    found: dict[str, dict[int, TrainedResult]] = {}
    for trained in work.trained:
        result = read_trained(trained, units[trained.unit], output)
        if result is not None:
            found.setdefault(trained.pretraining, {})[trained.seed] = result
    measured = {}
    for pretraining, results in found.items():
        seeds = tuple(sorted(results))
        effort = mean_effort([results[seed].effort for seed in seeds])
        for task in (plan.task(name) for name in sorted(names)):
            losses = [results[seed].by_language(task.noise) for seed in seeds]
            # One "example" a language and seed: the loss, already a mean over rows.
            values = {
                code: np.array([[[one[code].loss, 1.0]] for one in losses]) for code in losses[0]
            }
            sizes = [{code: one[1:] for code, one in by_code.items()} for by_code in losses]
            if any(found_sizes != sizes[0] for found_sizes in sizes):
                raise ValueError(
                    f"{pretraining}, {task.name}: seeds {list(seeds)} were judged on different "
                    "held-out rows; run them again with the same EVAL_ROWS and data"
                )
            group = Group(pretraining, HELD_OUT, task.name)
            measured[group] = Measured(values, seeds, {}, effort=effort, sizes=sizes[0])
    return measured


def _measured(
    group: Group, seeds: Mapping[int, Mapping[str, LanguageResult]], task: Task
) -> Measured:
    """The seeds of a group, stacked.

    Raises:
      ValueError: they were not tested on the same examples.
    """
    numbers = tuple(sorted(seeds))
    first = seeds[numbers[0]]
    for number in numbers:
        if {code: one.ids for code, one in seeds[number].items()} != {
            code: one.ids for code, one in first.items()
        }:
            raise ValueError(
                f"{group.pretraining}, {group.setting}, {group.task}: seeds {numbers[0]} and "
                f"{number} were tested on different examples; evaluate them again"
            )
    values = {
        code: np.concatenate([seeds[number][code].values for number in numbers]) for code in first
    }
    guesses = {code: constant_score(one.gold, task.metric) for code, one in first.items()}
    return Measured(values, numbers, guesses, {code: one.ids for code, one in first.items()})
