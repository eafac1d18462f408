"""Units run once, in order, with resume; fingerprints guard what is there. Trivial commands."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest

from presence_t5x.reproduction.display import TimeLeft
from presence_t5x.reproduction.execution import (
    LOG,
    UnitFailedError,
    run_units,
)
from presence_t5x.reproduction.records import RECORD, done_seconds, read_record
from presence_t5x.reproduction.units import Unit


class Listener:
    """A display that remembers what it is told."""

    def __init__(self):
        self.events, self.shares, self.told = [], [], []

    def start(self, unit):
        self.events.append(("start", unit.name))

    def tell(self, text):
        self.told.append(text)

    def advance(self, shares):
        self.shares.append(dict(shares))

    def finish(self, unit, seconds):
        assert seconds >= 0
        self.events.append(("finish", unit.name))

    def started(self):
        return [name for event, name in self.events if event == "start"]


def make_unit(name, code, needs=(), fingerprint="f", **settings):
    """A unit whose command runs a line of Python (timeit -n 1 -r 1 is `python -m` for that)."""
    return Unit(
        name=name,
        module="timeit",
        arguments=("-n", "1", "-r", "1", code),
        needs=needs,
        fingerprint=fingerprint,
        **settings,
    )


def append(letter):
    return f"open(r'{{output}}/letters', 'a').write('{letter}')"


def test_what_is_needed_runs_first_and_nothing_twice(tmp_path):
    units = [
        make_unit("pretrain/a", append("a")),
        make_unit("finetune/a", append("b"), ("pretrain/a",)),
        make_unit("evaluate/a", append("c"), ("finetune/a",)),
    ]
    first, again = Listener(), Listener()
    run_units(units, tmp_path, jobs=2, display=first)
    assert (tmp_path / "letters").read_text() == "abc"
    assert first.started() == ["pretrain/a", "finetune/a", "evaluate/a"]
    run_units(units, tmp_path, jobs=2, display=again)
    assert again.events == []
    record = read_record(tmp_path / "pretrain/a")
    assert record.seconds is not None and record.command[:3] == [sys.executable, "-m", "timeit"]
    assert done_seconds(units, tmp_path).keys() == {"pretrain/a", "finetune/a", "evaluate/a"}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="wants two cores")
def test_two_jobs_run_side_by_side_each_on_its_cores(tmp_path):
    """Each waits for the file that the other one writes."""
    code = (
        "import os, time; time.sleep(0.3); "
        "open(r'{{output}}/{0}', 'w').write(str(os.sched_getaffinity(0))); "
        "[time.sleep(0.05) for _ in range(400) if not os.path.exists(r'{{output}}/{1}')]; "
        "assert os.path.exists(r'{{output}}/{1}')"
    )
    pairs = (("a", "b"), ("b", "a"))
    units = [make_unit(f"pretrain/{own}", code.format(own, other)) for own, other in pairs]
    run_units(units, tmp_path, jobs=2, display=Listener())
    cores = [set(json.loads(f"[{(tmp_path / own).read_text()[1:-1]}]")) for own, _ in pairs]
    assert cores[0] | cores[1] == os.sched_getaffinity(0) and not cores[0] & cores[1]


def test_a_failure_stops_with_the_end_of_its_log_and_the_rest_goes_on_later(tmp_path):
    bad = "assert open(r'{output}/exists').read(), 'the file is empty'"
    units = [
        make_unit("pretrain/a", append("a")),
        make_unit("pretrain/b", bad, ("pretrain/a",)),
        make_unit("pretrain/c", append("c"), ("pretrain/b",)),
    ]
    with pytest.raises(UnitFailedError, match=r"pretrain/b failed with status 1") as caught:
        run_units(units, tmp_path, jobs=1, display=Listener())
    assert "No such file or directory" in str(caught.value)
    assert str(tmp_path / "pretrain/b" / LOG) in str(caught.value)
    assert (tmp_path / "letters").read_text() == "a"
    (tmp_path / "exists").write_text("x")
    listener = Listener()
    run_units(units, tmp_path, jobs=1, display=listener)
    assert listener.started() == ["pretrain/b", "pretrain/c"]
    assert (tmp_path / "letters").read_text() == "ac"


def test_only_the_end_of_the_last_call_is_quoted(tmp_path):
    unit = make_unit("pretrain/a", "raise ValueError(open(r'{output}/why').read())")
    for why in ("first reason", "second reason"):
        (tmp_path / "why").write_text(why)
        with pytest.raises(UnitFailedError) as caught:
            run_units([unit], tmp_path, jobs=1, display=Listener())
    assert "second reason" in str(caught.value) and "first reason" not in str(caught.value)


def test_results_of_other_settings_are_never_overwritten(tmp_path):
    run_units([make_unit("pretrain/a", append("a"))], tmp_path, jobs=1, display=Listener())
    other = [make_unit("pretrain/a", append("b"), fingerprint="other")]
    with pytest.raises(ValueError, match="pretrain/a hold results of other settings"):
        run_units(other, tmp_path, jobs=1, display=Listener())
    assert (tmp_path / "letters").read_text() == "a"


def test_what_rests_on_something_undone_is_not_done(tmp_path):
    units = [
        make_unit("pretrain/a", append("a")),
        make_unit("finetune/a", append("b"), ("pretrain/a",)),
    ]
    run_units(units, tmp_path, jobs=1, display=Listener())
    (tmp_path / "pretrain/a" / RECORD).unlink()
    assert done_seconds(units, tmp_path) == {}


def backdate(directory):
    """Makes a record a minute older, as its time has whole seconds."""
    content = json.loads((directory / RECORD).read_text())
    started = datetime.fromisoformat(content["started"]) - timedelta(minutes=1)
    content["started"] = started.strftime("%Y-%m-%dT%H:%M:%S%z")
    (directory / RECORD).write_text(json.dumps(content))


@pytest.mark.parametrize("is_complete", [True, False])
def test_what_was_made_of_a_need_that_ran_again_is_set_aside(tmp_path, is_complete):
    """As a training does nothing where its last step is, and goes on where it is not."""
    train = "import os; path = r'{output}/finetune/a/done'; os.path.exists(path) or open(path, 'w')"
    units = [
        make_unit("pretrain/a", append("a")),
        make_unit(
            "finetune/a", f"{train}.write(open(r'{{output}}/letters').read())", ("pretrain/a",)
        ),
    ]
    run_units(units, tmp_path, jobs=1, display=Listener())
    for unit in units:
        backdate(tmp_path / unit.name)
    record = tmp_path / "finetune/a" / RECORD
    if not is_complete:
        record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": None}))
    (tmp_path / "pretrain/a" / RECORD).unlink()
    # The second run stops between the two units.
    run_units(units[:1], tmp_path, jobs=1, display=Listener())
    assert done_seconds(units, tmp_path).keys() == {"pretrain/a"}
    listener = Listener()
    run_units(units, tmp_path, jobs=1, display=listener)
    assert listener.started() == ["finetune/a"]
    assert (tmp_path / "finetune/a/done").read_text() == "aa"
    assert (tmp_path / "stale/finetune/a.1/done").read_text() == "a"
    assert "finetune/a: what it needs was run again" in listener.told[0]
    assert done_seconds(units, tmp_path).keys() == {"pretrain/a", "finetune/a"}


def test_a_unit_that_was_stopped_goes_on_where_it_was(tmp_path):
    units = [
        make_unit("pretrain/a", append("a")),
        make_unit("finetune/a", "open(r'{output}/exists')", ("pretrain/a",)),
    ]
    with pytest.raises(UnitFailedError):
        run_units(units, tmp_path, jobs=1, display=Listener())
    (tmp_path / "exists").touch()
    listener = Listener()
    run_units(units, tmp_path, jobs=1, display=listener)
    assert listener.told == [] and not (tmp_path / "stale").exists()


@pytest.mark.parametrize("text", ["{", '{"fingerprint": "f", "command": [], "started": "now"}'])
def test_a_damaged_record_is_named(tmp_path, text):
    unit = make_unit("pretrain/a", append("a"))
    (tmp_path / unit.name).mkdir(parents=True)
    (tmp_path / unit.name / RECORD).write_text(text)
    with pytest.raises(ValueError, match=r"unit\.json is damaged .*remove its directory"):
        done_seconds([unit], tmp_path)


def test_progress_within_a_training_is_read_from_its_metrics(tmp_path):
    lines = "".join(json.dumps({"step": step}) + "\n" for step in (1000, 1010, 1050)) + '{"step": 9'
    code = (
        "import os, time; os.makedirs(r'{output}/pretrain/a/run'); "
        f"open(r'{{output}}/pretrain/a/run/metrics.jsonl', 'w').write({lines!r}); time.sleep(1.5)"
    )
    settings = {"train_steps": 2000, "train_steps_relative": 100}
    listener = Listener()
    unit = make_unit("pretrain/a", code, settings=settings)
    run_units([unit], tmp_path, jobs=1, display=listener)
    shares = {shares.get("pretrain/a", 0.0) for shares in listener.shares}
    assert 0.5 in shares


def test_time_left_is_that_of_the_same_kind_of_unit():
    units = [make_unit(f"{kind}/{n}", "pass") for kind in ("pretrain", "evaluate") for n in "abc"]
    left = TimeLeft(units, {"pretrain/a": 100.0}, jobs=2)
    assert left.seconds({}) is None  # no evaluation yet
    left.finish(units[3], 10.0)
    assert left.seconds({}) == (2 * 100 + 2 * 10) / 2
    left.finish(units[1], 200.0)
    assert left.seconds({"pretrain/c": 0.5}) == (0.5 * 150 + 2 * 10) / 2


RUNNER = """
import signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_execution import Listener, make_unit
from presence_t5x.reproduction.execution import run_units
unit = make_unit("pretrain/a", "import time; open(r'{{output}}/begun', 'w'); time.sleep(300)")
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    run_units([unit], Path({output!r}), jobs=1, display=Listener())
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def runner(tmp_path):
    """A process that runs a unit which takes minutes; the unit has begun."""
    code = RUNNER.format(tests=os.path.dirname(__file__), output=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 300
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield process
    process.kill()
    process.wait()


def processes_of(output):
    found = subprocess.run(["pgrep", "-f", f"{output}/begun"], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def test_one_at_a_time_and_nothing_runs_on_behind_it(tmp_path, runner):
    with pytest.raises(ValueError, match="is in use by another reproduction"):
        run_units([], tmp_path, jobs=1, display=Listener())
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=30) == 130
    assert not processes_of(tmp_path)
    assert read_record(tmp_path / "pretrain/a").seconds is None
    run_units([], tmp_path, jobs=1, display=Listener())


def test_units_of_a_runner_that_was_killed_hold_its_directory_until_they_end(tmp_path, runner):
    runner.kill()
    runner.wait()
    (left,) = processes_of(tmp_path)
    try:
        with pytest.raises(ValueError, match="or by units that one left running"):
            run_units([], tmp_path, jobs=1, display=Listener())
    finally:
        os.kill(left, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    run_units([], tmp_path, jobs=1, display=Listener())
