"""Checkpoints that are damaged, foreign or cannot be written; runs that are asked to stop."""

import json
import os
import pty
import resource
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x.checkpointer import DAMAGED, Checkpointer, SaveError
from presence_t5x.checksums import array_checksums
from presence_t5x.train_step import TrainState
from presence_t5x.weighting import PresenceState

# What asyncio says of reads that Orbax cancels after the first one failed.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning"
)


def state_of(step):
    zero = jnp.zeros((), jnp.int32)
    params = {"a": jnp.arange(5000.0) * step, "b": {"c": jnp.full((7, 5), float(step))}}
    presence = PresenceState(zero, jnp.zeros(()), jnp.zeros(()))
    return TrainState(jnp.int32(step), params, {"m": jnp.arange(9.0)}, presence, zero, zero)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run directory with checkpoints of steps 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("saved")
    checkpointer = Checkpointer(folder)
    for step in (1, 2, 3):
        checkpointer.save(state_of(step), b"data %d" % step, {"model": {}})
        checkpointer.check()
    checkpointer.close()
    return folder


@pytest.fixture
def run_dir(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def largest_file(run_dir, step):
    files = [path for path in (run_dir / "checkpoints" / str(step)).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_in(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "flipped bit": lambda run_dir: flip_a_bit(largest_file(run_dir, 3)),
    "truncated": lambda run_dir: os.truncate(largest_file(run_dir, 3), 100),
    "no parameters": lambda run_dir: shutil.rmtree(run_dir / "checkpoints/3/params"),
    "no position": lambda run_dir: (run_dir / "checkpoints/3/position/metadata").unlink(),
    "a name is lost": lambda run_dir: replace_in(
        run_dir / "checkpoints/3/params/_METADATA", '"key": "c"', '"key": "d"'
    ),
    "empty": lambda run_dir: (
        shutil.rmtree(run_dir / "checkpoints/3"),
        (run_dir / "checkpoints/3").mkdir(),
    ),
}


def restore(run_dir):
    said = []
    checkpointer = Checkpointer(run_dir)
    found = checkpointer.restore_newest(state_of(0), said.append)
    checkpointer.close()
    return found, said


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(damage, run_dir):
    DAMAGES[damage](run_dir)
    left = sorted(path.name for path in (run_dir / "checkpoints/3").rglob("*"))
    found, said = restore(run_dir)
    assert int(found.state.step) == 2 and found.data_state == b"data 2"
    np.testing.assert_array_equal(found.state.params["a"], np.arange(5000.0) * 2)
    assert "checkpoint of step 3 is damaged" in said[0] and str(run_dir / DAMAGED) in said[0]
    assert "from the checkpoint of step 2 instead of 3" in said[1]
    assert sorted(path.name for path in (run_dir / DAMAGED / "3").rglob("*")) == left
    assert not (run_dir / "checkpoints/3").exists()


def test_an_undamaged_one_is_restored_quietly(run_dir):
    (run_dir / "checkpoints/9.orbax-checkpoint-tmp").mkdir()  # a save that was killed
    found, said = restore(run_dir)
    assert int(found.state.step) == 3 and not said


def test_shapes_without_a_sharding_are_restored_on_the_first_device(tmp_path):
    """Wherever they lay when they were saved."""
    everywhere = jax.sharding.NamedSharding(
        jax.make_mesh((8,), ("data",)), jax.sharding.PartitionSpec("data")
    )
    state = state_of(3)
    state.params["a"] = jax.device_put(state.params["a"], everywhere)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(state, b"", {"model": {}})
    found = checkpointer.restore(jax.eval_shape(lambda: state_of(0)))
    checkpointer.close()
    np.testing.assert_array_equal(found.state.params["a"], np.arange(5000.0) * 3)
    assert {leaf.sharding for leaf in jax.tree.leaves(found.state)} == {
        jax.sharding.SingleDeviceSharding(jax.devices()[0])
    }


def test_only_damaged_ones_stop_the_run(run_dir):
    for step in (1, 2, 3):
        flip_a_bit(largest_file(run_dir, step))
    with pytest.raises(ValueError, match=r"every checkpoint of .* was damaged"):
        restore(run_dir)
    assert sorted(os.listdir(run_dir / DAMAGED)) == ["1", "2", "3"]


def without_checksums(run_dir):
    """As converted checkpoints are, and those of older versions."""
    for file in (run_dir / "checkpoints").glob("*/position/metadata"):
        position = json.loads(file.read_text())
        del position["checksums"]
        file.write_text(json.dumps(position))


OTHERS = {
    "optimizer": (
        {"optimizer_state": {"m": jnp.arange(9.0), "v": jnp.arange(9.0)}},
        r"differ in optimizer_state/v \(absent there, \(9,\) here\); continue with the settings",
    ),
    "fewer": ({"optimizer_state": {}}, r"optimizer_state/m \(\(9,\) there, absent here\)"),
    "width": (
        {"params": {"a": jnp.zeros(4000), "b": {"c": jnp.zeros((7, 4))}}},
        r"params/a \(\(5000,\) there, \(4000,\) here\), params/b/c \(\(7, 5\) there, \(7, 4\) h",
    ),
}


@pytest.mark.parametrize("has_checksums", [True, False])
@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_state_is_no_damage(other, has_checksums, run_dir):
    if not has_checksums:
        without_checksums(run_dir)
    parts, message = OTHERS[other]
    checkpointer = Checkpointer(run_dir)
    with pytest.raises(ValueError, match=message):
        checkpointer.restore_newest(state_of(0)._replace(**parts), print)
    checkpointer.close()
    assert not (run_dir / DAMAGED).exists()


def test_a_checkpoint_without_checksums_is_restored(run_dir):
    without_checksums(run_dir)
    found, said = restore(run_dir)
    assert int(found.state.step) == 3 and not said


def test_a_full_disk_ends_in_a_sentence_and_leaves_the_checkpoint_before(run_dir):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpointer = Checkpointer(run_dir)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # larger files cannot be written
    try:
        with pytest.raises(SaveError, match=r"checkpoint of step 4 .* File too large"):
            checkpointer.save(state_of(4), b"", {"model": {}})
            checkpointer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found, said = restore(run_dir)
    assert int(found.state.step) == 3 and not said


def test_checksums_see_single_elements_and_places_but_not_devices():
    state = {"x": jnp.arange(6.0).reshape(2, 3), "y": jnp.array([True, False])}
    whole = array_checksums(state)
    changed = state | {"x": state["x"].at[1, 2].set(jnp.float32(5.0000005))}
    assert array_checksums(changed)["x"] != whole["x"]
    assert array_checksums(state | {"x": state["x"][::-1]})["x"] != whole["x"]
    expected = sum(
        int(bits) * (2 * place + 1)
        for place, bits in enumerate(np.arange(6.0, dtype=np.float32).view(np.uint32))
    )
    assert whole["x"] == expected % 2**32 and whole["y"] == 1


STOPPING = """
import sys, time, jax
from presence_t5x.resilience.stopping import StopRequest
stop = StopRequest(["python -m run", "--x=1"], grace_seconds=float(sys.argv[2]))
stop.install()
if sys.argv[1].startswith("host"):
    jax.distributed.initialize(sys.argv[3], num_processes=1, process_id=0)
if sys.argv[1] != "early":
    stop.start_saving()
print("ready", flush=True)
for step in range(1, 1000):
    time.sleep(0.05)
    if stop.reached(step):
        if "hangs" in sys.argv[1]:
            time.sleep(60)
        stop.saved()
        print("saved", flush=True)
        time.sleep(min(1.2 * stop.grace_seconds, 3))  # while others are waited for
        sys.exit(stop.status)
"""


@pytest.mark.parametrize(
    "what, grace, number, status, output",
    [
        ("saves", 2, "TERM", 0, "saved"),
        ("saves", 60, "INT", 130, "saved"),
        ("early", 60, "TERM", 0, "resume with python -m run --x=1"),
        ("hangs", 0.3, "TERM", 1, "none was written within 0.3 s"),
        ("host saves", 2, "TERM", 0, "saved"),
        ("host hangs", 0.3, "TERM", 1, "none was written within 0.3 s"),
        ("host hangs", 0.3, "INT", 1, "none was written within 0.3 s"),
    ],
)
def test_signals(what, grace, number, status, output):
    """Of several hosts, JAX takes SIGTERM over and tells of it when it is time to save."""
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING, what, str(grace), address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        subprocess.run(["kill", f"-{number}", str(process.pid)], check=True)
        text = process.stdout.read()
    assert process.returncode == status and output in text, text


def test_a_stop_at_once_gives_the_terminal_its_cursor_back():
    """A progress bar hides it, and a process that ends so runs nothing that would show it again."""
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING, "early", "60"],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | {"TERM": "xterm"},
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.terminate()
    said = os.read(terminal, 10_000)
    assert b"stopped before the first step" in said and b"\x1b[?25h" in said
    os.close(terminal)
    os.close(stderr)
