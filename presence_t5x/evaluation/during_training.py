"""The tasks that a run answers every few steps, and the step that it keeps as its best."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
from jaxtyping import PyTree

from presence_t5x.config_types import RunConfig, TaskEvaluationConfig
from presence_t5x.evaluation.answering import answering_of, make_predictor
from presence_t5x.evaluation.evaluator import Evaluator
from presence_t5x.evaluation.scores import averages, own_metrics, score_rows
from presence_t5x.evaluation.selection import Best, best_of, value_of, write_best
from presence_t5x.evaluation.settings import data_of_run
from presence_t5x.run_log import TASKS, RunLog, read_lines


class TaskJudge:
    """Answers a run's tasks, if it has any; touches neither its state nor its data."""

    def __init__(self, config: RunConfig, mesh: jax.sharding.Mesh | None):
        """Reads the sets; compiles nothing.

        Raises:
          ValueError: no such task, split, language or metric, broken examples, or another
            vocabulary than the run's.
        """
        self._rule = config.task_evaluation
        self._model_dir = Path(config.model_dir)
        self._best: Best | None = None
        self._evaluator = None if self._rule.task is None else _open(config, mesh)

    @property
    def best_step(self) -> int | None:
        """After how many updates tasks were answered best; None where there is no choice yet."""
        return None if self._best is None else self._best.step

    def describe(self) -> list[str]:
        """Returns what is evaluated, and what is cut, a line each."""
        if self._evaluator is None:
            return []
        sets = self._evaluator.sets
        number = sum(len(found.examples) for found in sets)
        task, split = self._rule.task, self._rule.split
        lines = [f"evaluating {task!r}, {split}: {number:,} examples in {len(sets)} sets"]
        for key, cut in self._evaluator.num_cut.items():
            lines.append(f"{key}: {cut:,} inputs are longer than a row and are cut")
        return lines

    def resume(self, step: int) -> None:
        """Takes up the evaluations that the run's log has up to a step."""
        log = self._model_dir / TASKS
        if self._rule.selection == "best" and log.exists():
            found = [row for row in read_lines(log) if row["step"] <= step]
            if found:
                self._best = best_of([(row["step"], row["rows"]) for row in found], self._rule)

    def evaluate(self, step: int, params: PyTree, log: RunLog) -> None:
        """Answers, scores and logs all sets; remembers the step if it is the best so far."""
        if self._evaluator is None:
            return
        results = list(self._evaluator.evaluate(params))
        rows = [row for result in results for row in score_rows(result)]
        means, own = averages(rows), own_metrics(results)
        shown = [
            f"{row['task']} {row['metric']} {row['value']:.4g}"
            for row in means
            if row["metric"] in own[row["task"]]
        ]
        value = None
        if self._rule.selection == "best":
            value = value_of(rows, self._rule)
            if self._best is None or value > self._best.value:
                self._best = Best(step, value)
            shown.append(f"best is step {self._best.step} ({self._best.value:.4g})")
        log.tasks(step, rows, means, value)
        log.say(f"step {step}  {'  '.join(shown)}")

    def record(self) -> None:
        """Writes the choice to the run's directory, if there is one."""
        if self._best is not None and jax.process_index() == 0:
            write_best(self._model_dir, self._best, self._rule)


def _open(config: RunConfig, mesh: jax.sharding.Mesh | None) -> Evaluator:
    """Returns the evaluator of a run's tasks, checked."""
    from presence_t5x.data.finetuning.evaluation_sets import evaluation_sets
    from presence_t5x.data.sources import resolve_vocabulary

    rule = config.task_evaluation
    data = data_of_run(config.data, rule, config.model)
    sets = evaluation_sets(
        data, rule.split, max_examples=rule.max_examples, languages=rule.languages
    )
    _check_sets(sets, rule)
    vocabulary = resolve_vocabulary(data)
    predictor = make_predictor(
        config.model,
        answering_of(config.model, data, config.data, eos_id=cast(int, vocabulary.eos_id)),
        vocabulary,
        input_length=data.task_feature_lengths["inputs"],
        batch_size=config.data.batch_size,
        mesh=mesh,
    )
    return Evaluator(sets, predictor)


def _check_sets(sets: Sequence[Any], rule: TaskEvaluationConfig) -> None:
    """Raises ValueError if examples are broken, or a metric of the rule is not there."""
    problems = [problem for found in sets for problem in found.problems]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ValueError(f"EVAL_TASK={rule.task!r}: {problems[0]}{more}; repair or remove them")
    rows = []
    for found in sets:
        scores = dataclasses.replace(found, examples=found.examples[:1]).score([""])
        labels = {"task": found.task, "language": found.language}
        rows += [{**labels, "metric": name, "value": value} for name, value in scores.items()]
    if rule.metrics:
        value_of(rows, rule)
