"""A small job in processes of its own, on one or several hosts of this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from presence_t5x.resilience.run_hashes import run_hashes

TRAIN_STEPS, CHECKPOINT_PERIOD = 60, 6
_MOST_SECONDS = 300  # of one process
_HOST_TIMEOUT = 60  # seconds; with less a machine under load passes for a dead one
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
        return run_hashes(self.model_dir)

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


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
