"""A small job in processes of its own, the faults that it is to survive, and what it left.

A full disk is a limit on the size of files (RLIMIT_FSIZE, set on the process by prlimit): it needs
no privilege and no file system of its own, and writes fail in the middle of a file just so.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from presence_t5x.checkpoint import find_checkpoint
from presence_t5x.checkpointer import DAMAGED
from presence_t5x.influence_log import DIRECTORY

TRAIN_STEPS, CHECKPOINT_PERIOD = 60, 6
_MOST_SECONDS = 300  # of one process
_HOST_TIMEOUT = 60  # seconds; with less a machine under load passes for a dead one
_LIMIT_BYTES = 131_072  # the log files stay below, parameters do not
_SETTINGS = {
    "VOCABULARY_FILE": "bytes",
    "TASK_FEATURE_LENGTHS": {"inputs": 32, "targets": 8},
    "TRAIN_STEPS": TRAIN_STEPS,
    "BATCH_SIZE": 8,
    "NUM_MICROBATCHES": 4,
    "SWITCH_STEP": 20,
    "DROPOUT_RATE": 0.1,
    "CHECKPOINT_PERIOD": CHECKPOINT_PERIOD,
    "KEEP_CHECKPOINTS": 3,
    "EVAL_PERIOD": 20,
    "EVAL_ROWS": 8,
    "LOG_PERIOD": 3,
    "INFLUENCE_LOG": True,
    "HOST_TIMEOUT_SECONDS": _HOST_TIMEOUT,
    "T5Config.emb_dim": 64,
    "T5Config.num_heads": 2,
    "T5Config.head_dim": 8,
    "T5Config.mlp_dim": 64,
    "T5Config.num_encoder_layers": 1,
    "T5Config.num_decoder_layers": 1,
}
_SENTENCES = (
    "the river runs through the old town and on to the sea",
    "a good book is a friend that never leaves",
    "snow fell on the hills and the road was closed for days",
    "she keeps bees behind the house and sells the honey",
)


class UnexpectedError(RuntimeError):
    """A process did not end as it should have; the message is the record's outcome."""


def write_texts(folder: Path) -> None:
    """Writes the documents that the job trains on."""
    folder.mkdir(exist_ok=True)
    for language in ("en", "sw"):
        rows = [
            {"text": f"{_SENTENCES[i % 4]} {i}. " * 2, "lang": language, "id": f"{language}-{i}"}
            for i in range(120)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{language}.jsonl").write_text(lines, encoding="utf-8")


class Job:
    """A training of its own directory, on one or several hosts of this machine."""

    def __init__(
        self, output: Path, name: str, num_hosts: int = 1, *, num_devices: int = 1, **changes: Any
    ):
        """Starts nothing.

        Args:
          output: holds the texts, and everything the jobs write.
          name: of its directory there.
          num_hosts: processes.
          num_devices: of each.
          changes: of settings.
        """
        self.model_dir = output / name
        self._output, self._num_hosts = output, num_hosts
        self._num_devices, self._changes = num_devices, changes
        self._processes: list[subprocess.Popen] = []

    def clear(self) -> None:
        """Removes what an earlier job of this name left."""
        shutil.rmtree(self.model_dir, ignore_errors=True)

    def start(self, each: Sequence[Mapping[str, Any]] | None = None) -> list[subprocess.Popen]:
        """Starts the command on every host; `each` changes settings of single ones."""
        port = _free_port()
        self._processes = []
        for host in range(self._num_hosts):
            told = [f"--coordinator_address=127.0.0.1:{port}"]
            told += [f"--num_processes={self._num_hosts}", f"--process_id={host}"]
            command = self._command(each[host] if each else {})
            with self.log(host).open("wb") as log:
                self._processes.append(
                    subprocess.Popen(
                        [*command, *(told if self._num_hosts > 1 else [])],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env=self.environment(),
                    )
                )
        return self._processes

    def _command(self, changes: Mapping[str, Any]) -> list[str]:
        values = {
            "MODEL_DIR": str(self.model_dir),
            "LOCAL_TEXT_FILES": str(self._output / "texts" / "*.jsonl"),
            **_SETTINGS,
            **self._changes,
            **changes,
        }
        command = [sys.executable, "-m", "presence_t5x.train"]
        command += ["--gin_file=configs/runs/pretrain_local.gin"]
        return command + [f"--gin.{name}={value!r}" for name, value in values.items()]

    def wait(self) -> list[int]:
        """Returns the exit statuses; a process that takes too long is killed and counts as hung."""
        statuses = []
        for host, process in enumerate(self._processes):
            try:
                statuses.append(process.wait(_MOST_SECONDS))
            except subprocess.TimeoutExpired:
                self.kill_all()
                raise UnexpectedError(f"hung: see {self.log(host)}") from None
        return statuses

    def kill_all(self) -> None:
        """Ends what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()

    def finish(self) -> dict[str, str]:
        """Runs the command to its end; returns the hashes of what it left."""
        self.start()
        statuses = self.wait()
        if any(statuses):
            raise UnexpectedError(f"ended with {statuses}: see {self.log(0)}")
        return hashes(self.model_dir)

    def finish_fresh(self) -> dict[str, str]:
        """The same from the beginning."""
        self.clear()
        return self.finish()

    def log(self, host: int) -> Path:
        """Returns the file that holds what a host has printed."""
        folder = self._output / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{self.model_dir.name}.{host}.txt"

    def wait_for_step(self, step: int) -> None:
        """Returns once a step is logged; step 0 is the start."""
        deadline = time.monotonic() + _MOST_SECONDS
        while step and self.step() < step:
            if time.monotonic() > deadline or self._processes[0].poll() is not None:
                self.kill_all()
                raise UnexpectedError(f"did not reach step {step}: see {self.log(0)}")
            time.sleep(0.005)

    def step(self) -> int:
        """Returns the last step that is logged."""
        path = self.model_dir / "metrics.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return 0
        return json.loads(lines[-1])["step"] if lines else 0

    def environment(self) -> dict[str, str]:
        """Returns the environment of its processes: a shared cache of compiled programs."""
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(self._output.absolute() / "compilation_cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # LLVM's optimisations take longer than these few steps.
            "XLA_FLAGS": "--xla_backend_optimization_level=0 "
            f"--xla_force_host_platform_device_count={self._num_devices}",
        }
        return {**os.environ, **cache}


def kill(job: Job, rng: random.Random) -> int:
    """Kills the process somewhere between its start and its end; returns the step it had logged."""
    (process,) = job.start()
    job.wait_for_step(rng.randrange(0, TRAIN_STEPS - 3, 3))
    time.sleep(rng.random() * 0.5)
    process.kill()
    process.wait()
    return job.step()


def fill_the_disk(job: Job, rng: random.Random) -> int:
    """Lets the next save fail; the run must end by itself, with a sentence."""
    (process,) = job.start()
    job.wait_for_step(rng.randrange(3, TRAIN_STEPS - 2 * CHECKPOINT_PERIOD, 3))
    step = job.step()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_LIMIT_BYTES, resource.RLIM_INFINITY))
    (status,) = job.wait()
    said = _last_line(job.log(0))
    if status != 1 or not said.startswith("error: the checkpoint of step"):
        raise UnexpectedError(f"ended with {status} and {said!r} after a full disk")
    if "Traceback" in job.log(0).read_text():
        raise UnexpectedError(f"a full disk is one line, not tracebacks: see {job.log(0)}")
    return step


def corrupt_newest_checkpoint(job: Job, rng: random.Random) -> int:
    """Stops the run by SIGTERM, which saves, and spoils that checkpoint."""
    (process,) = job.start()
    job.wait_for_step(rng.randrange(2 * CHECKPOINT_PERIOD, TRAIN_STEPS - 6, 3))
    process.send_signal(signal.SIGTERM)
    (status,) = job.wait()
    if status != 0 or "resume with python -m presence_t5x.train" not in _last_line(job.log(0)):
        raise UnexpectedError(f"ended with {status} after SIGTERM: see {job.log(0)}")
    newest = find_checkpoint(job.model_dir)
    if rng.random() < 0.3:
        shutil.rmtree(newest / "training")
    else:
        files = [path for path in (newest / "params").rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        if rng.random() < 0.5:
            content = content[: len(content) // 2]
        else:
            content[len(content) // 2] ^= 1 << rng.randrange(8)
        largest.write_bytes(content)
    job.start()
    statuses = job.wait()
    if any(statuses) or not (job.model_dir / DAMAGED / newest.name).is_dir():
        raise UnexpectedError(f"{newest} was not set aside ({statuses}): see {job.log(0)}")
    return int(newest.name)


def kill_a_host(job: Job, rng: random.Random) -> int:
    """Kills one of two hosts; the other must end by itself, with an error."""
    processes = job.start()
    job.wait_for_step(rng.randrange(3, TRAIN_STEPS - 6, 3))
    victim = rng.randrange(2)
    processes[victim].kill()
    statuses = job.wait()
    if statuses[1 - victim] == 0:
        raise UnexpectedError(f"host {1 - victim} ended with 0 without host {victim}")
    said = job.log(1 - victim).read_text(encoding="utf-8", errors="replace")
    # Host 0 holds JAX's coordination service: JAX itself ends the others, in its own words.
    named = f"error: host {victim} " if victim else "leader task"
    if named not in said:
        raise UnexpectedError(f"nobody was named: see {job.log(1 - victim)}")
    return job.step()


def hashes(model_dir: Path) -> dict[str, str]:
    """Returns SHA-256s of a finished run: parameters, the rest of its state, all that it logged."""
    newest = find_checkpoint(model_dir)
    found = {}
    for name, item in (("parameters", "params"), ("state", "training")):
        found[f"{name}_sha256"] = _hash_arrays(_read_arrays(newest / item))
    digest = hashlib.sha256()
    for name in ("metrics.jsonl", "evaluation.jsonl", "epochs.jsonl", "warnings.jsonl"):
        digest.update((model_dir / name).read_bytes())
    digest.update(json.dumps(_tensorboard(model_dir / "tensorboard")).encode())
    found["metrics_sha256"] = digest.hexdigest()
    found["influence_sha256"] = hashlib.sha256(_influence(model_dir / DIRECTORY)).hexdigest()
    return found


def _read_arrays(folder: Path) -> Any:
    """Returns the arrays of a checkpoint as NumPy has them, wherever they lay on devices."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
    whole = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(folder, restore_args=whole)


def _hash_arrays(tree: Any) -> str:
    """Returns the SHA-256 of the arrays of a tree, in order of path."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _influence(folder: Path) -> bytes:
    """Returns the rows of influence.parquet: which documents were in which unit, in order."""
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    rows.sort(key=lambda row: (row["step"], row["unit"], row["example_ids"]))
    return json.dumps(rows).encode()


def _tensorboard(folder: Path) -> list[list[Any]]:
    """Returns every value of TensorBoard but times; a doubled step would be there twice."""
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore

    from presence_t5x.data.quiet_tensorflow import tf

    found = []
    for path in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            found += [
                [event.step, value.tag, value.tensor.tensor_content.hex() or value.simple_value]
                for value in event.summary.value
                if not value.tag.startswith("timing/")
            ]
    return sorted(found, key=str)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
