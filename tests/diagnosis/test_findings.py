"""Every check's both verdicts, from what was seen; nothing here touches a machine."""

import json

import numpy as np
import pytest
import tiny_model

from presence_t5x import doctor
from presence_t5x.config_types import (
    DataConfig,
    OptimizerConfig,
    PresenceConfig,
    RunConfig,
    T5Config,
    TaskEvaluationConfig,
    TemperatureConfig,
)
from presence_t5x.diagnosis import environment, places, resources
from presence_t5x.diagnosis.findings import Finding, from_error, look, worst
from presence_t5x.diagnosis.resources import Needs

GIB = 2**30


def verdict(finding, *texts):
    """The verdict of a finding, which must hold texts, and a fix where something is wrong."""
    said = f"{finding.what} | {finding.fix}"
    assert all(text in said for text in texts), said
    assert finding.what.isprintable() and bool(finding.fix) == (finding.verdict != "ok")
    return finding.verdict


def test_python():
    judge = environment.judge_python
    assert verdict(judge((3, 10)), "3.10", "install Python 3.11") == "fault"
    assert verdict(judge((3, 13)), "3.13", "3.11") == "warning"
    assert verdict(judge((3, 11))) == "ok"


def test_versions():
    judge = environment.judge_versions
    tested = {"jax": "0.10.2", "numpy": "2.4.6", "beam": "1"}
    installed = {"jax": "0.10.2", "numpy": "2.4.6", "other": "3"}
    assert verdict(judge(installed, tested, ["jax"]), "2 packages") == "ok"
    old = judge(installed | {"numpy": "1.0"}, tested, ["jax"])
    assert verdict(old, "numpy 1.0 (tested 2.4.6)", "pip install") == "warning"
    assert verdict(judge({}, tested, ["jax", "flax"]), "flax, jax", "pip install") == "fault"
    many = judge({}, {}, [f"p{i}" for i in range(9)])
    assert "and 4 more" in many.what


def test_versions_of_this_environment_are_found():
    tested, installed = environment.tested_versions(), environment.installed_versions()
    assert len(tested) > 50 and tested["jax"] and installed["jax"]
    assert "jax" in environment.required_packages() or not environment.required_packages()


def test_open_files():
    judge = environment.judge_open_files
    assert verdict(judge(1024, 4096, 100)) == "ok"
    assert verdict(judge(-1, -1, 10**6), "any number") == "ok"
    assert verdict(judge(1024, 10**6, 5000), "1,024", "ulimit -n 5256") == "fault"
    assert verdict(judge(1024, 2048, 5000), "root") == "fault"


def test_extras():
    assert verdict(environment.judge_tpu_extra(True, False), '-e ".[tpu]"') == "fault"
    assert verdict(environment.judge_tpu_extra(True, True)) == "ok"
    assert verdict(environment.judge_tpu_extra(False, False), "not installed") == "ok"
    assert verdict(environment.judge_t5x_extra(True, ["fiddle"]), "fiddle") == "warning"
    assert verdict(environment.judge_t5x_extra(True, [])) == "ok"
    assert verdict(environment.judge_t5x_extra(False, ["fiddle"])) == "ok"


def test_device_memory():
    judge = resources.judge_device_memory
    needs = Needs(state_bytes=64 * GIB, device_bytes=8 * GIB, gradient_bytes=4 * GIB)
    assert verdict(judge(needs, 16 * GIB), "8.00 GiB", "16.00 GiB") == "ok"
    assert verdict(judge(needs, 13 * GIB), "NUM_FSDP_PARTITIONS") == "warning"
    assert verdict(judge(needs, 11 * GIB), "NUM_TENSOR_PARTITIONS") == "fault"


def test_host_memory():
    needs = Needs(state_bytes=8 * GIB, device_bytes=GIB, gradient_bytes=GIB // 2)
    assert resources.host_memory_bytes(needs, 8, on_cpu=False) == 8 * GIB
    assert resources.host_memory_bytes(needs, 8, on_cpu=True) == 20 * GIB
    assert verdict(resources.judge_host_memory(GIB, 2 * GIB)) == "ok"
    assert verdict(resources.judge_host_memory(2 * GIB, GIB), "2.00", "1.00") == "fault"


def test_disk():
    judge = resources.judge_disk
    assert verdict(judge(GIB, 3, 10 * GIB, "runs/x"), "3 checkpoints of 1.00 GiB") == "ok"
    assert verdict(judge(GIB, 3, int(3.1 * GIB), "runs/x")) == "warning"
    full = judge(GIB, 100, 10 * GIB, "runs/x")
    assert verdict(full, "100.00 GiB", "runs/x", "KEEP_CHECKPOINTS=8") == "fault"
    assert verdict(judge(GIB, 2, GIB // 2, "runs/x"), "another MODEL_DIR") == "fault"


def run_config(**changes):
    lengths = {"inputs": 32, "targets": 8}
    settings = {
        "model": T5Config(vocab_size=384, **tiny_model.SIZES),
        "data": DataConfig(mixture_or_task_name="t", task_feature_lengths=lengths, batch_size=16),
        "optimizer": OptimizerConfig(),
        "presence": PresenceConfig(num_microbatches=2),
        "temperature": TemperatureConfig(),
        "model_dir": "runs/x",
        "train_steps": 1000,
        "checkpoint_period": 100,
    }
    return RunConfig(**settings | changes)


@pytest.mark.parametrize(
    ("keep", "steps", "best", "number"),
    [
        (None, [], "last", 10),
        (None, [100, 250], "last", 8),
        (None, [1000], "last", 0),
        (3, [], "last", 4),
        (3, [100, 200, 300], "last", 1),
        (3, [], "best", 5),
        (3, [900], "last", 1),
        (30, [], "last", 10),
    ],
)
def test_checkpoints_to_come(keep, steps, best, number):
    """As many as stay, and the one that is written before an old one goes."""
    judged = TaskEvaluationConfig(task="t", metrics=("m",), selection="best")
    evaluation = judged if best == "best" else TaskEvaluationConfig()
    config = run_config(keep_checkpoints=keep, task_evaluation=evaluation)
    assert resources.checkpoints_to_come(config, steps) == number


def test_existing_steps_and_folders(tmp_path):
    assert resources.existing_steps(tmp_path) == []
    for name in ("100", "5.orbax-checkpoint-tmp", "x"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert resources.existing_steps(tmp_path) == [100]
    assert resources.nearest_folder(tmp_path / "a" / "b") == tmp_path


def test_write_access(tmp_path):
    assert places.write_error(tmp_path / "new" / "folder") is None
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        error = places.write_error(path)
        assert error and "is a file" in error
    assert verdict(places.judge_write("MODEL_DIR", "a", None)) == "ok"
    assert verdict(places.judge_write("MODEL_DIR", "a", "it is a file"), "it is a file") == "fault"


def test_clocks(tmp_path):
    judge = places.judge_clocks
    assert verdict(judge(["a", "b"], [1000.0, 1000.5]), "2 clocks") == "ok"
    assert verdict(judge(["a", "b"], [1000.0, 1009.0]), "b is 9.0 s ahead of a") == "warning"
    assert verdict(judge(["a", "b", "c"], [1000.0, 900.0, 901.0]), "a is 100.0 s", "ntp") == "fault"
    here, there = places.file_system_times(tmp_path)
    assert abs(here - there) < 60 and not list(tmp_path.iterdir())
    assert len(places.host_times()) == 1 and places.host_times()[0] == pytest.approx(here, abs=60)


def test_needs_are_those_of_a_real_state():
    """Sizes from shapes alone against a state that was made, device by device."""
    import jax

    from presence_t5x.objective import initial_state, make_mesh, make_objective

    config = run_config()
    needs = resources.run_needs(config)
    state = initial_state(config, make_objective(config, make_mesh(config)))
    leaves = jax.tree.leaves(state)
    assert needs.state_bytes == sum(np.asarray(leaf).nbytes for leaf in leaves)
    first = jax.devices()[0]
    shards = [s for leaf in leaves for s in leaf.addressable_shards if s.device == first]
    assert needs.device_bytes == sum(np.asarray(shard.data).nbytes for shard in shards)
    assert needs.device_bytes < needs.state_bytes


def test_a_mesh_that_does_not_fit_is_a_fault():
    data = DataConfig(
        mixture_or_task_name="t", task_feature_lengths={"inputs": 32, "targets": 8}, batch_size=12
    )
    (found,) = look("mesh", lambda: resources.check_run(run_config(data=data)))
    assert verdict(found, "batch_size=12", "multiple of 8 devices") == "fault"


def test_errors_become_findings():
    assert from_error("data", ValueError("a; b; do c"))[2:] == ("a; b", "do c")
    assert verdict(from_error("data", ValueError("no remedy"))) == "fault"

    def fail():
        yield Finding("x", "ok", "fine")
        raise RuntimeError("driver\nis gone")

    (found,) = look("devices", fail)
    assert verdict(found, "RuntimeError: driver is gone") == "fault"
    assert worst([]) == "ok"
    assert worst([Finding("a", "warning", ""), Finding("b", "ok", "")]) == "warning"
    assert worst([Finding("a", "warning", ""), Finding("b", "fault", "")]) == "fault"


def test_report_for_people_and_machines(capsys):
    findings = [Finding("a", "ok", "fine [b]"), Finding("b", "fault", "bad", "mend it")]
    doctor.report(findings, as_json=False)
    shown = capsys.readouterr().out
    assert "fine [b]" in shown and "mend it" in shown and "1 ok, 0 warning, 1 fault" in shown
    doctor.report(findings, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["verdict"] == "fault"
    assert content["findings"][1] == findings[1]._asdict()
