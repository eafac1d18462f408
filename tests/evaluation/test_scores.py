"""Averages and the choice of a step, from planted scores."""

import json

import pytest

from presence_t5x.config_types import TaskEvaluationConfig
from presence_t5x.evaluation.scores import averages
from presence_t5x.evaluation.selection import Best, best_of, read_best, value_of, write_best


def rows(family, metric, **values):
    return [
        {"task": f"{family}.{code}", "language": code, "metric": metric, "value": value}
        for code, value in values.items()
    ]


NLI = rows("nli_eval", "accuracy", en=80.0, sw=50.0, zh=20.0)
NER = rows("ner_eval", "span_f1", en=0.9, sw=0.3)
BOTH = [*NLI, *NER]


def rule(*metrics):
    return TaskEvaluationConfig(task="t", metrics=metrics, selection="best")


def test_languages_count_alike_and_families_are_apart():
    found = {(row["task"], row["metric"]): row for row in averages(BOTH)}
    assert found["nli_eval", "accuracy"]["value"] == 50.0
    assert found["nli_eval", "accuracy"]["languages"] == ["en", "sw", "zh"]
    assert found["ner_eval", "span_f1"]["value"] == pytest.approx(0.6)
    squad = [{"task": "squad", "language": "en", "metric": "f1", "value": 90.0}]
    found = averages([*squad, *rows("mlqa", "f1", en=70.0, de=50.0)])
    assert [(row["task"], row["value"]) for row in found] == [("squad", 90.0), ("mlqa", 60.0)]


def test_a_rule_is_the_mean_of_its_metrics_in_percent():
    assert value_of(BOTH, rule("accuracy")) == 50.0
    assert value_of(BOTH, rule("span_f1")) == pytest.approx(60.0)
    assert value_of(BOTH, rule("accuracy", "span_f1")) == pytest.approx(55.0)
    # Two families with one metric count half each, whatever their numbers of languages.
    mixed = [*rows("squad", "f1", en=90.0), *rows("mlqa", "f1", en=70.0, de=50.0)]
    assert value_of(mixed, rule("f1")) == 75.0
    with pytest.raises(ValueError, match=r"no metric 'f1'; it has \['accuracy', 'span_f1'\]"):
        value_of(BOTH, rule("f1"))


def test_the_average_over_tasks_counts_each_once_by_all_its_metrics():
    """As GLUE's: (mean(60, 80) + 90 + 50) / 3; what is reported beside plays no part."""
    rows = [
        {"task": task, "language": "en", "metric": metric, "value": value}
        for task, metric, value in (
            ("mrpc", "f1", 60.0),
            ("mrpc", "accuracy", 80.0),
            ("rte", "accuracy", 90.0),
            ("ner.en", "span_f1", 0.5),
            ("rte", "script/f1", 7.0),
        )
    ]
    assert value_of(rows, rule("task_average")) == pytest.approx(70.0)


def test_the_best_step_is_the_first_of_the_highest():
    values = {100: 40.0, 200: 60.0, 300: 60.0, 400: 55.0}
    evaluations = [(step, rows("nli", "accuracy", en=value)) for step, value in values.items()]
    assert best_of(evaluations, rule("accuracy")) == Best(200, 60.0)
    assert best_of(evaluations[2:], rule("accuracy")) == Best(300, 60.0)


def test_the_choice_is_recorded_with_its_rule(tmp_path):
    chosen = TaskEvaluationConfig(
        task="nli", split="validation", languages=("en",), metrics="accuracy", selection="best"
    )
    write_best(tmp_path, Best(200, 61.5), chosen)
    record = json.loads((tmp_path / "best.json").read_text())
    assert record == {
        "step": 200,
        "value": 61.5,
        "rule": {
            "task": "nli",
            "split": "validation",
            "metrics": ["accuracy"],
            "languages": ["en"],
            "max_examples": None,
        },
    }
    assert read_best(tmp_path) == Best(200, 61.5)
    (tmp_path / "best.json").write_text("{")
    with pytest.raises(ValueError, match=r"best\.json is damaged .*--select=newest"):
        read_best(tmp_path)
    with pytest.raises(ValueError, match=r"chose no best checkpoint; train with SELECTION='best'"):
        read_best(tmp_path / "none")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"selection": "best"}, "needs a task and metrics"),
        ({"selection": "best", "task": "x"}, r"metrics=\(\)\); set EVAL_TASK and EVAL_METRIC"),
        ({"selection": "first"}, r"selection='first' must be one of \['best', 'last'\]"),
        ({"max_examples": 0}, "max_examples=0 must be >= 1"),
        ({"languages": ("",)}, "languages='' must be a non-empty string"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TaskEvaluationConfig(**settings)
