"""The directory of an evaluation: whole files, taken up again, never mixed."""

import dataclasses
import json
import math

import pytest

from presence_t5x.data.finetuning.evaluation_sets import EvaluationExample, EvaluationSet
from presence_t5x.evaluation.files import PredictionFiles, example_digests
from presence_t5x.evaluation.predictor import Answers
from presence_t5x.evaluation.scores import SetResult
from presence_t5x.task_metrics import accuracy, squad

IDENTITY = {"checkpoint": "runs/a", "step": 7, "commit": "abc", "alpha": None}
# What str.splitlines takes for the end of a line, inside of answers.
TEXTS = ["line\nline", "par\u2028par", 'quote " and \\']


def one_set(gold="answers", language="sw", size=3):
    examples = [
        EvaluationExample(f"q{i}", language, "x" * 300, "a", ["a", "b"] if gold else "a", {})
        for i in range(size)
    ]
    metric = squad if gold else accuracy
    return EvaluationSet("qa_eval.sw", "test", language, examples, lambda t, f: t, [metric])


def result(found, texts=TEXTS):
    answers = Answers(list(texts), [-0.5, math.nan, -2.0])
    return SetResult(found, answers, found.judge(answers.texts), 0)


def lines(path):
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_answers_are_written_with_what_they_are_judged_by_and_read_again(tmp_path):
    files = PredictionFiles(tmp_path, IDENTITY)
    found = one_set()
    assert files.read(found) is None
    files.write(result(found, ["b", "a a", "c"]))
    rows = lines(tmp_path / "predictions" / "qa_eval.sw.jsonl")
    assert rows[0] | {"inputs": ""} == {
        "id": "q0",
        "language": "sw",
        "inputs": "",
        "prediction": "b",
        "targets": "a",
        "score": -0.5,
        "values": {"em": 100.0, "f1": 100.0},
        "answers": ["a", "b"],
    }
    assert rows[0]["inputs"] == "x" * 200 + "…" and rows[1]["score"] is None
    # "a" is an article: nothing is left of the answer, and nothing overlaps.
    assert [row["values"]["f1"] for row in rows] == [100.0, 0.0, 0.0]
    files.write(result(found))
    again = PredictionFiles(tmp_path, IDENTITY).read(found)
    assert again is not None and again.texts == TEXTS
    assert again.scores[::2] == [-0.5, -2.0] and math.isnan(again.scores[1])


def test_scores_come_last_and_name_the_files(tmp_path):
    files = PredictionFiles(tmp_path, IDENTITY)
    found = one_set()
    files.write(result(found))
    content = files.finish({"step": 7, "scores": [{"value": math.nan}]}, [found])
    assert content == json.loads((tmp_path / "scores.json").read_text())
    assert content["scores"] == [{"value": None}]
    assert content["predictions"] == {"qa_eval.sw": "predictions/qa_eval.sw.jsonl"}
    PredictionFiles(tmp_path, IDENTITY)  # it is evaluated again
    assert not (tmp_path / "scores.json").exists()


def test_other_data_or_source_code_are_answered_anew(tmp_path):
    found = one_set()
    PredictionFiles(tmp_path, IDENTITY).write(result(found))
    assert PredictionFiles(tmp_path, IDENTITY).read(one_set(size=2)) is None
    assert PredictionFiles(tmp_path, {**IDENTITY, "commit": "abd"}).read(found) is None
    assert not list((tmp_path / "predictions").iterdir())


@pytest.mark.parametrize("field", ["inputs", "targets"])
def test_examples_of_the_same_ids_and_other_text_are_answered_anew(tmp_path, field):
    found = one_set()
    other = [example._replace(**{field: "b"}) for example in found.examples[:1]]
    changed = dataclasses.replace(found, examples=[*other, *found.examples[1:]])
    before, after = ({**IDENTITY, "examples": example_digests([one])} for one in (found, changed))
    PredictionFiles(tmp_path, before).write(result(found))
    assert PredictionFiles(tmp_path, before).read(found) is not None
    assert PredictionFiles(tmp_path, after).read(changed) is None


def test_an_evaluation_that_tells_nothing_of_its_examples_is_answered_anew(tmp_path):
    found = one_set()
    PredictionFiles(tmp_path, IDENTITY).write(result(found))  # as earlier versions did
    identity = {**IDENTITY, "examples": example_digests([found])}
    assert PredictionFiles(tmp_path, identity).read(found) is None


def test_an_evaluation_of_something_else_is_refused_or_replaced(tmp_path):
    found = one_set()
    files = PredictionFiles(tmp_path, IDENTITY)
    files.write(result(found))
    files.finish({}, [found])
    other = {**IDENTITY, "step": 8}
    with pytest.raises(ValueError, match=r"another evaluation: step=7 there, 8 here; .*--overwrit"):
        PredictionFiles(tmp_path, other)
    assert (tmp_path / "scores.json").exists()
    assert PredictionFiles(tmp_path, other, overwrite=True).read(found) is None
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(ValueError, match=r"evaluation\.json is damaged"):
        PredictionFiles(tmp_path, other)
