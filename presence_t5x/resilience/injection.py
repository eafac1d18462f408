"""The faults that a job is to survive: killed, out of disk, a spoilt checkpoint, a dead host.

A full disk is a limit on the size of files (RLIMIT_FSIZE, set on the process by prlimit): it needs
no privilege and no file system of its own, and writes fail in the middle of a file just so.
"""

import random
import resource
import shutil
import signal
import time
from pathlib import Path

from presence_t5x.checkpoint import find_checkpoint
from presence_t5x.checkpointer import DAMAGED
from presence_t5x.resilience.chaos_job import (
    CHECKPOINT_PERIOD,
    TRAIN_STEPS,
    Job,
    UnexpectedError,
)

_LIMIT_BYTES = 131_072  # the log files stay below, parameters do not


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


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
