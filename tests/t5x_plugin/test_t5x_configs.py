"""configs/t5x: T5X's gin reads every file, and the paper's numbers arrive where they belong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import t5x_peer as peer

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "t5x"
# Batch size, microbatches, model width, parts of the model.
SIZES = {
    "small": (1024, 8, 512, 1),
    "base": (1024, 8, 768, 1),
    "large": (512, 4, 1024, 1),
    "xl": (512, 4, 2048, 2),
    "xxl": (512, 4, 4096, 8),
}
RUNS = {size: ([f"configs/t5x/mt5_{size}_presence.gin"], []) for size in SIZES} | {
    "own": (
        ["presence_t5x/configs/t5x/mt5_base_presence.gin", "configs/t5x/own_model.gin"],
        ["NORMALIZER = 'ema'", "TAU_2 = -2.0", "GRANULARITY = 'example'"],
    ),
    "unweighted": (
        ["configs/t5x/mt5_base_presence.gin"],
        ["TEMPERATURE_SCHEDULE = 'unweighted'"],
    ),
    "tiny": (["configs/t5x/tiny_presence.gin"], []),
    "other": (
        [
            "t5x/examples/scalable_t5/t5_1_1/base.gin",
            "t5x/configs/runs/pretrain.gin",
            "configs/t5x/presence.gin",
        ],
        [
            "MIXTURE_OR_TASK_NAME = 'x'",
            "TASK_FEATURE_LENGTHS = {}",
            "TRAIN_STEPS = 1",
            "DROPOUT_RATE = 0.0",
        ],
    ),
    "finetune": (
        ["t5x/examples/t5/mt5/base.gin", "configs/t5x/finetune.gin"],
        [
            "MIXTURE_OR_TASK_NAME = 'x'",
            "TASK_FEATURE_LENGTHS = {}",
            "INITIAL_CHECKPOINT_PATH = 'pretrained'",
        ],
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of T5X and what it imports


def t5x_root():
    """Returns the directory in which T5X's gin files are found as t5x/..."""
    return str(Path(peer.need("t5x.trainer").__file__).parents[1])


@pytest.fixture(scope="module")
def given():
    """What T5X's `train` would be given by every run."""
    program = Path(__file__).with_name("read_configs.py")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), t5x_root(), json.dumps(RUNS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_the_paper_settings(size, given):
    rows, num_microbatches, width, num_partitions = SIZES[size]
    run = given[size]
    assert run["network"]["emb_dim"] == width
    assert run["network"]["dropout_rate"] == 0.0
    assert run["loss_normalizing_factor"] == rows * 229
    assert run["data"]["batch_size"] == rows
    assert run["data"]["task_feature_lengths"] == {"inputs": 1024, "targets": 229}
    assert (run["data"]["mixture_or_task_name"], run["data"]["pack"]) == ("mc4", True)
    assert run["settings"]["total_steps"] == 1_000_000
    assert run["trainer"] == "PresenceTrainer"
    assert run["num_microbatches"] == run["presence"]["num_microbatches"] == num_microbatches
    assert run["presence"]["layers"] == ["encoder/layers_0", "decoder/layers_0"]
    assert (run["presence"]["granularity"], run["presence"]["row_order"]) == (
        "microbatch",
        "contiguous",
    )
    assert run["temperatures"] == [1.0, 1.0, -1.0]
    assert run["learning_rates"] == pytest.approx([0.01, 0.005])
    assert run["num_partitions"] == num_partitions
    assert run["carries_moments"] is False


def test_own_model_takes_the_sizes_of_t5x_network(given):
    run = given["own"]
    assert (run["model"], run["module"]) == ("PresenceEncoderDecoderModel", "T5Module")
    assert (run["network"]["emb_dim"], run["network"]["vocab_size"]) == (768, 250112)
    assert (run["network"]["scan_layers"], run["network"]["remat_policy"]) == (True, "elementwise")
    assert run["carries_moments"] is True
    assert run["temperatures"] == [1.0, 1.0, -2.0]
    assert (run["presence"]["granularity"], run["presence"]["normalizer"]) == ("example", "ema")


def test_unweighted_runs_have_no_temperature(given):
    assert given["unweighted"]["temperatures"] is None


def test_any_t5x_run_becomes_a_weighted_one(given):
    run = given["other"]
    assert (run["model"], run["trainer"]) == ("EncoderDecoderModel", "PresenceTrainer")
    assert run["temperatures"] == [1.0, 1.0, -1.0]
    assert run["learning_rates"] == pytest.approx([0.01, 0.005])


def test_fine_tuning_is_t5x_with_the_paper_settings(given):
    run = given["finetune"]
    assert (run["trainer"], run["restored"]) == ("Trainer", "pretrained")
    assert run["settings"]["relative_steps"] == 20_000
    assert run["data"]["batch_size"] == 128
    assert run["network"]["dropout_rate"] == 0.1
    assert run["learning_rates"] == pytest.approx([0.001, 0.001])


def test_the_tiny_run_needs_nothing_but_the_package(given):
    run = given["tiny"]
    assert run["data"]["mixture_or_task_name"] == "encyclopedia"
    assert run["network"]["vocab_size"] == 4096
    assert run["loss_normalizing_factor"] == run["data"]["batch_size"] * 14


def test_every_file_opens_with_its_command_and_is_packaged():
    files = sorted(CONFIGS.glob("*.gin"))
    assert len(files) == 10
    for file in files:
        head = file.read_text().split("\n\n")[0]
        assert "# Command:" in head and "# Required:" in head, file.name
    assert '"presence_t5x.configs.t5x": ["*.gin"]' in (ROOT / "setup.py").read_text()
