"""`python -m t5x.train` with the tiny configuration, killed and resumed, and what it shows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import t5x_peer as peer

ROOT = Path(__file__).parents[2]
PERIOD, LAST_STEP = 10, 30
ARGUMENTS = [
    "--gin_file=configs/t5x/tiny_presence.gin",
    "--gin.NORMALIZER='ema'",
    "--gin.SWITCH_STEP=15",
    f"--gin.TRAIN_STEPS={LAST_STEP}",
    f"--gin.utils.SaveCheckpointConfig.period={PERIOD}",
    f"--gin.train.eval_period={PERIOD}",
    "--gin.train.stats_period=5",
]
PATIENCE_SECONDS = 600

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def start(model_dir, log):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XLA_FLAGS": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "t5x.train", *ARGUMENTS, f"--gin.MODEL_DIR='{model_dir}'"],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
    )


def wait_for(path, process):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown(directory):
    """Returns what TensorBoard shows of the directory's event files: {name: {step: value}}."""
    event_accumulator = peer.need("tensorboard.backend.event_processing.event_accumulator")
    tensor_util = peer.need("tensorboard.util.tensor_util")
    events = event_accumulator.EventAccumulator(str(directory), size_guidance={"tensors": 0})
    events.Reload()
    return {
        name: {
            event.step: tensor_util.make_ndarray(event.tensor_proto)
            for event in events.Tensors(name)
        }
        for name in events.Tags()["tensors"]
        if name != "config"
    }


def test_a_killed_run_resumes_with_its_moments_and_shows_its_metrics(tmp_path):
    peer.need("t5x.train")
    model_dir, log_path = tmp_path / "run", tmp_path / "log"
    with log_path.open("w") as log:
        process = start(model_dir, log)
        try:
            wait_for(model_dir / f"checkpoint_{PERIOD}" / "commit_success.txt", process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL
        assert not (model_dir / f"checkpoint_{LAST_STEP}").exists()
        assert start(model_dir, log).wait(PATIENCE_SECONDS) == 0, log_path.read_text()[-3000:]

    found = shown(model_dir / "train")
    assert max(found["loss"]) == LAST_STEP
    assert found["loss"][LAST_STEP] < found["loss"][5]
    assert [float(found["presence/temperature"][step]) for step in (10, 15, 20)] == [1, 1, -1]
    for name in ("score_mean", "score_std", "weight_max", "effective_sample_size"):
        values = np.array(list(found[f"presence/{name}"].values()))
        assert np.isfinite(values).all() and (values > 0).all()
    assert {float(value) for value in found["presence/num_live_units"].values()} == {8.0}
    assert found["presence/weights"][LAST_STEP].shape[1] == 3  # a histogram: from, to, count
    evaluated = shown(model_dir / "training_eval" / "encyclopedia")
    assert set(evaluated["loss"]) >= {2 * PERIOD, LAST_STEP}

    checkpointer = peer.need("orbax.checkpoint").PyTreeCheckpointer()
    state = checkpointer.restore(model_dir / f"checkpoint_{LAST_STEP}" / "state")
    assert int(state["flax_mutables"]["presence"]["num_updates"]) == LAST_STEP
