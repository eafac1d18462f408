"""The command `plan`: what it prints for virtual CPUs and TPUs, and what it refuses."""

import dataclasses
import importlib.util
import json
import math
import os
import re
import subprocess
import sys

import jax
import pytest

from presence_t5x import plan
from presence_t5x.planning import compilation, suggestion
from presence_t5x.planning.compilation import DoesNotFitError, StepPlan
from presence_t5x.planning.hlo_cost import Cost
from presence_t5x.planning.topology import CHIPS, Topology, get_topology

# A run of the user's own text that names neither text nor vocabulary nor MODEL_DIR, made small.
SMALL = [
    "--gin_file=configs/runs/pretrain_local.gin",
    *(
        f"--gin.{binding}"
        for binding in (
            "T5Config.vocab_size=256",
            "T5Config.num_encoder_layers=1",
            "T5Config.num_decoder_layers=1",
            "T5Config.scan_layers=True",
            'TASK_FEATURE_LENGTHS={"inputs": 32, "targets": 16}',
            "BATCH_SIZE=32",
            "NUM_MICROBATCHES=2",
        )
    ),
]
STEP_KEYS = {
    "flops_per_device", "hbm_argument_bytes", "hbm_temp_bytes", "hbm_peak_bytes",
    "compile_seconds", "collective_bytes", "collectives",
}  # fmt: skip
has_libtpu = importlib.util.find_spec("libtpu") is not None


@pytest.fixture
def small_config():
    bindings = [argument.removeprefix("--gin.") for argument in SMALL[1:]]
    return plan.load_plan_config(["configs/runs/pretrain_local.gin"], bindings)


def check_plan(found, topology, num_chips, num_devices):
    """Checks what holds for every plan of the small run."""
    assert (found["topology"], found["num_chips"], found["num_devices"]) == (
        topology, num_chips, num_devices,
    )  # fmt: skip
    for name in (plan.PRESENCE, plan.UNWEIGHTED):
        step = found[name]
        assert step.keys() >= STEP_KEYS
        assert step["loops_counted_once"] == []
        matmul = step["matmul_flops_per_device"]
        assert matmul == pytest.approx(found["analytic_flops_per_device"], rel=0.05)
        assert step["flops_per_device"] >= matmul
        assert step["collective_bytes"] == sum(
            collective["bytes"] * collective["executions"] for collective in step["collectives"]
        )
        outside = step["hbm_argument_bytes"] + step["hbm_output_bytes"]
        assert outside < step["hbm_peak_bytes"]
        if topology.startswith("cpu"):  # libtpu's own peak counts what it does not call temporary
            assert step["hbm_peak_bytes"] == outside + step["hbm_temp_bytes"]
    assert found[plan.PRESENCE]["collective_bytes"] > found[plan.UNWEIGHTED]["collective_bytes"]


def test_plan_for_virtual_cpus(capsys, tmp_path):
    arguments = [*SMALL, "--topology=cpu:8", "--json", f"--dump_hlo={tmp_path / 'hlo'}"]
    assert plan.main(arguments) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    check_plan(found, "cpu:8", 8, 8)
    assert found["hbm_bytes_per_device"] is None
    assert found[plan.PRESENCE]["chip_hours"] is None
    assert "compiling the presence step for cpu:8" in output.err
    for name in (plan.PRESENCE, plan.UNWEIGHTED):
        assert "ENTRY" in (tmp_path / "hlo" / f"{name}.hlo.txt").read_text()
        step = found[name]
        parts = ("hbm_argument_bytes", "hbm_output_bytes", "hbm_temp_bytes")
        assert step["hbm_peak_bytes"] == sum(step[part] for part in parts)


@pytest.mark.skipif(not has_libtpu, reason="libtpu is not installed (extra tpu)")
def test_two_plans_for_tpus_at_once():
    """libtpu wants to be alone on a machine; plans hold no chip."""
    command = [sys.executable, "-m", "presence_t5x.plan", *SMALL, "--topology=v4:2x2x1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    runs = [
        subprocess.Popen([*command, *more], env=environment, **pipes) for more in (["--json"], [])
    ]
    (as_json, messages), (as_text, _) = [run.communicate(timeout=600) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], messages
    found = json.loads(as_json)
    check_plan(found, "v4:2x2x1", 4, 8)
    assert found["chip"] == "v4"
    assert 15 * 2**30 < found["hbm_bytes_per_device"] < 16 * 2**30
    # 1000 steps of 8 devices at 0.4 of 275 TFLOP/s a chip.
    flops = found[plan.PRESENCE]["flops_per_device"]
    expected = flops * 8 * 1000 / (0.4 * 275e12) / 3600
    assert found[plan.PRESENCE]["chip_hours"] == pytest.approx(expected)
    assert messages.splitlines() == [
        f"compiling the {name} step for v4:2x2x1" for name in (plan.PRESENCE, plan.UNWEIGHTED)
    ]
    assert max(map(len, as_text.splitlines())) <= 100
    assert "v4:2x2x1: 4 chips = 8 devices, 15.25 GiB each" in as_text


@pytest.mark.slow
@pytest.mark.skipif(not has_libtpu, reason="libtpu is not installed (extra tpu)")
@pytest.mark.parametrize(
    "run", ["pretrain_decoder_only_1_3b_presence", "pretrain_xlmr_large_presence"]
)
def test_the_other_families_on_a_pod(run):
    command = [sys.executable, "-m", "presence_t5x.plan", "--json", "--topology=v4:4x4x4"]
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    process = subprocess.run(
        [*command, f"--gin_file=configs/runs/{run}.gin"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    check_plan(found, "v4:4x4x4", 64, 128)
    weighted, unweighted = found[plan.PRESENCE], found[plan.UNWEIGHTED]
    assert weighted["flops_per_device"] <= 1.005 * unweighted["flops_per_device"]
    assert weighted["flops_per_device"] <= 1.05 * found["analytic_flops_per_device"]
    assert weighted["hbm_peak_bytes"] < found["hbm_bytes_per_device"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no gin file given"),
        (["--topology=cpu:8", "--gin_file=configs/runs/nothing.gin"], "does not exist"),
        (SMALL, r"--topology is missing, e.g. --topology=v4:4x4x4"),
        ([*SMALL, "--topologie=cpu:8"], "unrecognized arguments: --topologie=cpu:8; --help lists"),
        ([*SMALL, "--topology"], "argument --topology: expected one argument"),
        ([*SMALL, "--topology=cpu:8", "--json=1"], "--json: ignored explicit argument '1'"),
        ([*SMALL, "--topology=v9:2x2"], "unknown family 'v9'"),
        ([*SMALL, "--topology=cpu:8", "--utilization=2"], r"--utilization=2.0 must lie in \(0"),
        ([*SMALL, "--topology=cpu:8", "--utilization=x"], r"--utilization='x' must be a number"),
        ([*SMALL, "--topology=cpu:8", "--suggest"], "--suggest needs the memory of a TPU topology"),
        ([*SMALL, "--topology=cpu:8", "--gin.T5Config.vocab_size=None"],
         r"vocab_size=None: .* e.g. --gin.T5Config.vocab_size=32128"),
        (["--topology=cpu:8", "--gin_file=configs/runs/pretrain.gin"],
         r"required macros without a value: \['DROPOUT_RATE', 'MIXTURE.*TRAIN_STEPS'\]"),
        ([*SMALL, "--topology=cpu:8", "--gin.NUM_MICROBATCHES=8"],
         "8 devices that hold rows x num_microbatches=8 = 64; use NUM_MICROBATCHES of 1, 2 or 4, "
         "or BATCH_SIZE=64"),
        ([*SMALL, "--topology=cpu:8", "--gin.BATCH_SIZE=36"],
         "batch_size=36 does not divide over cpu:8.*use BATCH_SIZE=32, or fewer devices"),
    ],
)  # fmt: skip
def test_errors_are_one_line(arguments, message, capsys):
    if arguments == []:
        arguments = ["--topology=cpu:8"]
    assert plan.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.strip().splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        plan.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{name}" in shown for name in plan.Options._fields)


class TooSmall:
    """A lowered step whose compiler refuses it, in libtpu's words."""

    def lower(self, *_):
        return self

    def compile(self):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (23.01G) exceeds available HBM (15.25G)."
        )


def test_a_step_that_does_not_fit_names_what_would(small_config, monkeypatch):
    monkeypatch.setattr(compilation.objective, "compile_ready_step", lambda *_: TooSmall())
    topology = get_topology("cpu:8")
    with pytest.raises(
        DoesNotFitError,
        match=r"does not fit on cpu:8: it needs 23.01 GiB a device of 15.25 GiB, of which the "
        r"state takes 0.00 GiB; try NUM_MICROBATCHES of 4 \(--suggest finds which\), or "
        r"T5Config.remat_policy='full', or --topology=cpu:16, or NUM_FSDP_PARTITIONS=2$",
    ) as error:
        compilation.compile_step(small_config, topology)
    assert error.value.needed_bytes == 23.01 * 2**30


def test_more_microbatches_are_no_remedy_for_a_state_that_does_not_fit(small_config, monkeypatch):
    monkeypatch.setattr(compilation.objective, "compile_ready_step", lambda *_: TooSmall())
    monkeypatch.setattr(compilation.partitioning, "bytes_per_device", lambda _: 20 * 2**30)
    # 40 / 15.25 is more than 2: four partitions leave half of the memory to the rest.
    with pytest.raises(DoesNotFitError, match=r"takes 20.00 GiB; try NUM_FSDP_PARTITIONS=4$"):
        compilation.compile_step(small_config, get_topology("cpu:8"))


@pytest.mark.parametrize(
    ("limit", "expected", "tried"),
    [(100, 1, {4, 2, 1}), (8, 4, {4, 2}), (20, 2, {4, 2, 1})],
)
def test_suggestion_is_the_fewest_microbatches_that_fit(
    small_config, monkeypatch, capsys, limit, expected, tried
):
    """A stand-in for the compiler: a step of n microbatches takes 32 / n bytes."""
    trials = []

    def compile_step(config, topology):
        number = config.presence.num_microbatches
        trials.append(number)
        if 32 / number > limit:
            raise DoesNotFitError("too large", 32 / number, limit)
        return StepPlan(Cost(), 0, 0, 0, 0, 32 // number, 0.0, 0.0, "")

    monkeypatch.setattr(suggestion, "compile_step", compile_step)
    topology = Topology("v4:2x2x1", get_topology("cpu:8").devices, 4, CHIPS["v4"])
    console = plan.Console(stderr=True)
    found = suggestion.suggest_microbatches(small_config, topology, console)
    assert found.num_microbatches == found.config.presence.num_microbatches == expected
    assert found.step.hbm_peak_bytes == 32 // expected
    assert found.microbatch_size == 32 // expected
    assert set(trials) <= tried and len(trials) == len(set(trials)) <= 3
    printed = capsys.readouterr().err
    assert all(f"NUM_MICROBATCHES={number}:" in printed for number in trials)


def test_no_suggestion_when_nothing_fits(small_config, monkeypatch):
    def compile_step(config, topology):
        raise DoesNotFitError("it needs 99 GiB", 99, 1)

    monkeypatch.setattr(suggestion, "compile_step", compile_step)
    topology = Topology("v4:2x2x1", get_topology("cpu:8").devices, 4, CHIPS["v4"])
    with pytest.raises(ValueError, match="no number of microbatches fits: it needs 99 GiB"):
        suggestion.suggest_microbatches(small_config, topology, plan.Console(stderr=True))


def test_chip_hours():
    devices = get_topology("cpu:8").devices
    topology = Topology("v4:2x2x1", devices, 4, CHIPS["v4"])
    # 275e12 FLOPs a step on 8 devices are 8 chip-seconds at full speed.
    hours = plan.chip_hours(275e12, topology, steps=3600, share=0.5)
    assert hours == pytest.approx(16.0)
    assert math.isnan(plan.chip_hours(1.0, topology._replace(chip=None), 1, 0.4))


def test_an_unweighted_run_is_compared_with_its_weighting(small_config):
    temperature = dataclasses.replace(small_config.temperature, schedule=plan.UNWEIGHTED)
    baseline = dataclasses.replace(small_config, temperature=temperature)
    assert plan._variant(baseline, plan.PRESENCE).temperature.schedule == "two_stage"
    piecewise = dataclasses.replace(temperature, schedule="piecewise", points=((0, 1.0),))
    small_config = dataclasses.replace(small_config, temperature=piecewise)
    assert plan._variant(small_config, plan.PRESENCE) == small_config
    assert plan._variant(small_config, plan.UNWEIGHTED).temperature.schedule == plan.UNWEIGHTED
