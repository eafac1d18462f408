"""Files hold each step's own numbers, survive torn lines, and resume where the run does."""

import io
import json

import numpy as np
import pytest

from presence_t5x import run_log


def steps_in(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("torn", ["", '{"step": 5, "tra', '{"step": 5}'])
def test_resume_drops_later_and_torn_lines(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 5)) + torn)
    file = run_log.JsonLines(path, resume_step=3)
    assert steps_in(path) == [1, 2, 3]
    file.write({"step": 4, "value": np.float32(1.5)})
    file.sync()
    file.close()
    assert steps_in(path) == [1, 2, 3, 4]


def test_numbers_are_plain_json():
    row = {"a": np.array([1.0, np.nan]), "b": np.float32(2), "c": np.int32(3), "d": ["x", None]}
    text = json.dumps(run_log.plain_numbers(row), allow_nan=False)
    assert json.loads(text) == {"a": [1.0, None], "b": 2.0, "c": 3, "d": ["x", None]}


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    display = run_log.Display(100, 0, stream)
    metrics = {
        "train/loss": 2.5,
        "presence/temperature": -1.0,
        "presence/effective_sample_size": 6.25,
        "presence/num_live_units": 8,
    }
    display.show(10, metrics, {"seconds_per_step": 0.5, "tokens_per_second": 1234.0})
    display.show(20, {"train/loss": 2.0}, {"seconds_per_step": 0.5, "tokens_per_second": 1.0})
    display.close()
    first, second = stream.getvalue().splitlines()
    assert first == "step 10/100  loss 2.500  tau -1.00  ESS 6.2/8  1,234 tokens/s  45 s left"
    assert "tau" not in second


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path):
    log = run_log.RunLog(tmp_path, resume_step=0, total_steps=1, enabled=False)
    log.step(1, {"train/loss": 1.0}, {})
    log.rows(run_log.EVALUATION, 1, [], "eval", "loss")
    log.sync()
    log.close()
    assert not list(tmp_path.iterdir())
