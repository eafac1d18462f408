"""Whole processes that are stopped, starved and killed: what chaos.sh does at length, once each."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from presence_t5x import chaos
from presence_t5x.resilience.chaos_job import TRAIN_STEPS, Job, write_texts


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    write_texts(folder / "texts")
    return folder


def test_the_short_form_of_chaos_loses_nothing(output):
    assert chaos.main(["--short", str(output)]) == 0
    outcomes = json.loads((output / "outcomes.json").read_text())
    faults = [record["fault"] for record in outcomes]
    assert faults == ["kill"] * 3 + ["disk_full", "corrupt_checkpoint", "host_killed"]
    for record in outcomes:
        assert record["outcome"] == "identical"
        for name in ("parameters", "state", "metrics", "influence"):
            assert record[f"{name}_sha256"] == record[f"uninterrupted_{name}_sha256"]


def metrics_of(job):
    lines = (job.model_dir / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row for row in map(json.loads, lines)}


def data_order(job):
    """The documents of every step and unit, in the order of their rows."""
    import pyarrow.parquet as pq

    found = {}
    for path in sorted((job.model_dir / "influence.parquet").glob("*.parquet")):  # hosts in order
        for row in pq.read_table(path).to_pylist():
            found.setdefault((row["step"], row["unit"]), []).extend(row["example_ids"])
    return found


# Equality over devices is claimed without dropout, whose masks depend on them.
CHANGES = {"DROPOUT_RATE": 0.0, "TRAIN_STEPS": 12, "BATCH_SIZE": 16, "NUM_MICROBATCHES": 2}
LOSS_TOLERANCE = 1e-5


def assert_same_training(job, other):
    left, right = metrics_of(job), metrics_of(other)
    assert left.keys() == right.keys()
    for step, row in left.items():
        assert row["train/loss"] == pytest.approx(right[step]["train/loss"], rel=LOSS_TOLERANCE)
    assert data_order(job) == data_order(other)


@pytest.fixture(scope="module")
def alone(output):
    job = Job(output, "alone", **CHANGES)
    job.finish_fresh()
    return job


def test_two_processes_equal_one(output, alone):
    job = Job(output, "two", 2, **CHANGES)
    job.finish_fresh()
    assert_same_training(job, alone)


def test_two_processes_that_share_their_rows_equal_one(output, alone):
    """A group of tensor parallelism lies across them."""
    job = Job(output, "tensor", 2, NUM_TENSOR_PARTITIONS=2, **CHANGES)
    job.finish_fresh()
    assert_same_training(job, alone)


@pytest.mark.slow
def test_four_processes_equal_one_and_their_checkpoint_resumes_anywhere(output, alone):
    job = Job(output, "four", 4, **CHANGES)
    job.finish_fresh()
    assert_same_training(job, alone)
    for num_devices in (1, 2, 8):
        half = Job(output, f"on_{num_devices}", 4, **{**CHANGES, "TRAIN_STEPS": 6})
        half.finish_fresh()
        rest = Job(output, half.model_dir.name, num_devices=num_devices, **CHANGES)
        rest.finish()
        assert_same_training(rest, alone)


def test_hosts_that_differ_do_not_start(output):
    job = Job(output, "differ", 2, **CHANGES)
    job.start(each=[{}, {"TAU_2": -2.0}])
    assert job.wait() == [2, 2]
    for host in (0, 1):
        said = job.log(host).read_text().strip().splitlines()[-1]
        assert said.startswith("error: the hosts do not have the same program")
        assert "settings.temperature.temperature_2 is -2.0 on host 1, -1.0 on host 0" in said
    assert not (job.model_dir / "metrics.jsonl").exists()


@pytest.fixture(scope="module")
def bad(output):
    """A run whose first update throws the parameters out of float32's range."""
    job = Job(output, "bad", BASE_LEARNING_RATE=1e38, MAX_SKIPPED_UPDATES=3, DROPOUT_RATE=0.0)
    job.clear()
    job.start()
    return job, job.wait()


def test_a_run_of_skipped_updates_stops_and_is_replayed(bad):
    job, statuses = bad
    said = job.log(0).read_text().strip().splitlines()[-1]
    assert statuses == [1] and "the last 3 updates were skipped" in said
    (folder,) = (job.model_dir / "bad_steps").iterdir()
    step = int(folder.name)
    command = [sys.executable, "-m", "presence_t5x.replay", str(job.model_dir), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, env=job.environment())
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["step"] == step and found["skipped"]
    assert not any(unit["live"] for unit in found["units"])
    assert not any(example["finite"] for example in found["examples"])
    order = {id for row in found["units"] for id in row["example_ids"]}
    assert order == {example["example_id"] for example in found["examples"]} and len(order) == 8
    assert found["first_nonfinite_layer"] is not None and found["nonfinite_gradients"]


@pytest.mark.slow
def test_memory_threads_and_files_stay_flat(output):
    """2,000 steps with the audit on; CI has no time for the 10,000 of EXPERIMENTS.md."""
    steps = int(os.environ.get("FLAT_STEPS", "2000"))
    changes = {"TRAIN_STEPS": steps, "CHECKPOINT_PERIOD": 200, "EVAL_PERIOD": 500}
    job = Job(output, "long", LOG_PERIOD=10, **changes)
    job.clear()
    (process,) = job.start()
    folder, seen = Path("/proc", str(process.pid)), {}
    for share in (0.3, 0.5, 0.7, 0.95):
        job.wait_for_step(int(steps * share) // 10 * 10)
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        files = len(list((folder / "fd").iterdir()))
        seen[share] = (int(status["VmRSS"].split()[0]), int(status["Threads"]), files)
    assert job.wait() == [0]
    print(seen)
    memory, threads, files = zip(*seen.values())
    assert max(memory) <= 1.05 * memory[0], seen
    assert max(threads) <= threads[0] + 2 and max(files) <= files[0] + 2, seen


@pytest.mark.slow
def test_a_killed_stream_resumes_to_the_same_bits(output):
    """Chaos kills runs of prepared data; a stream's position is another thing."""
    whole = Job(output, "stream", READER="streaming").finish_fresh()
    job = Job(output, "killed_stream", READER="streaming")
    job.clear()
    (process,) = job.start()
    job.wait_for_step(33)
    process.kill()
    process.wait()
    assert job.finish() == whole


@pytest.mark.slow
def test_sigterm_on_one_host_stops_both_at_one_step(output):
    whole = Job(output, "two_whole", 2).finish_fresh()
    job = Job(output, "two_stopped", 2)
    job.clear()
    processes = job.start()
    job.wait_for_step(9)
    processes[1].send_signal(signal.SIGTERM)
    assert job.wait() == [0, 0]
    assert "stopped and saved; resume with python -m" in job.log(0).read_text()
    assert 9 <= job.step() < TRAIN_STEPS
    assert job.finish() == whole


@pytest.mark.slow
def test_saving_by_time_changes_nothing(output):
    whole = Job(output, "by_steps").finish_fresh()
    job = Job(output, "by_time", CHECKPOINT_SECONDS=1, CHECKPOINT_PERIOD=1000)
    assert job.finish_fresh() == whole
