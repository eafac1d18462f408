"""Where a run's numbers go: JSON lines in MODEL_DIR, TensorBoard, and the terminal.

Every file holds one object a line with its "step" (updates done). When a run resumes, lines (and
TensorBoard's events) after the restored step and a torn last line are cut off, so that an
interrupted run and an uninterrupted one leave the same files. Times are in a file of their own:
they are never the same twice.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich import progress
from rich.console import Console

from presence_t5x.files import write_text_atomically
from presence_t5x.tensorboard_files import drop_steps_beyond

METRICS, TIMING, EVALUATION, PROBE, EPOCHS, TASKS, WARNINGS = (
    "metrics.jsonl",
    "timing.jsonl",
    "evaluation.jsonl",
    "probe.jsonl",
    "epochs.jsonl",
    "tasks.jsonl",
    "warnings.jsonl",
)
PROBE_SCORES = "probe_scores.jsonl"


class JsonLines:
    """A file of JSON objects, one a line, each written whole and in order of step."""

    def __init__(self, path: Path, *, resume_step: int):
        """Opens `path` for appending after dropping what lies beyond `resume_step`."""
        _truncate(path, resume_step)
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one object and hands it to the operating system."""
        self._file.write(json.dumps(plain_numbers(row)) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Returns once everything written is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class RunLog:
    """All sinks of one run; on any process but the first it writes nothing."""

    def __init__(
        self, model_dir: Path, *, resume_step: int, total_steps: int, enabled: bool = True
    ):
        """Opens the files of `model_dir` at `resume_step`, TensorBoard and the display."""
        self._enabled, self._model_dir = enabled, model_dir
        if not enabled:
            return
        self._files = {
            name: JsonLines(model_dir / name, resume_step=resume_step)
            for name in (METRICS, TIMING, EVALUATION, PROBE, EPOCHS, TASKS, WARNINGS)
        }
        from clu.metric_writers import SummaryWriter  # imports TensorFlow: only where it is used

        drop_steps_beyond(model_dir / "tensorboard", resume_step)
        self._tensorboard = SummaryWriter(str(model_dir / "tensorboard"))
        self._display = Display(total_steps, resume_step)

    def rows_so_far(self, file: str) -> list[dict[str, Any]]:
        """Returns what a file of the run holds."""
        return read_lines(self._model_dir / file) if self._enabled else []

    def step(self, step: int, metrics: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        """Logs one training step."""
        if not self._enabled:
            return
        self._files[METRICS].write({"step": step, **metrics})
        self._files[TIMING].write({"step": step, **timing})
        scalars = {name: value for name, value in metrics.items() if np.ndim(value) == 0}
        self._tensorboard.write_scalars(step, {**scalars, **_prefixed("timing", timing)})
        self._display.show(step, metrics, timing)

    def rows(
        self,
        file: str,
        step: int,
        rows: list[dict[str, Any]],
        prefix: str,
        key: str,
        names: Sequence[str] = ("language", "noise"),
    ) -> None:
        """Logs rows to a file, and `key` of each to TensorBoard as prefix/name/name."""
        if not self._enabled:
            return
        self._files[file].write({"step": step, "rows": rows})
        scalars = {"/".join([prefix, *(row[name] for name in names)]): row[key] for row in rows}
        self._tensorboard.write_scalars(step, scalars)

    def tasks(
        self,
        step: int,
        rows: list[dict[str, Any]],
        averages: list[dict[str, Any]],
        value: float | None,
    ) -> None:
        """Logs the scores of tasks by language, and what the run's choice is made by, if by any."""
        if not self._enabled:
            return
        record = {"step": step, "rows": rows, "averages": averages, "value": value}
        self._files[TASKS].write(record)
        scalars = {f"{row['task']}/{row['language']}/{row['metric']}": row["value"] for row in rows}
        scalars |= {f"{row['task']}/average/{row['metric']}": row["value"] for row in averages}
        scalars |= {} if value is None else {"value": value}
        self._tensorboard.write_scalars(step, _prefixed("tasks", scalars))

    def warnings(self, step: int, found: Sequence[tuple[str, str]]) -> None:
        """Logs and prints signs that something goes wrong, each with what it means."""
        if not self._enabled:
            return
        for sign, text in found:
            self._files[WARNINGS].write({"step": step, "sign": sign, "warning": text})
            self.say(f"WARNING: step {step}: {text}")

    def say(self, text: str) -> None:
        """Prints one line above the progress bar."""
        if self._enabled:
            self._display.say(text)

    def sync(self) -> None:
        """Returns once everything logged is on the disk."""
        if self._enabled:
            self._tensorboard.flush()
            for file in self._files.values():
                file.sync()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Closes every sink; what that raises, on a full disk, say, hides no error before it."""
        with contextlib.suppress(*([] if kind is None else [Exception])):
            self.close()

    def close(self) -> None:
        """Closes every sink."""
        if self._enabled:
            self._display.close()
            self._tensorboard.close()
            for file in self._files.values():
                file.close()


class Display:
    """A live progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, total_steps: int, first_step: int, stream: TextIO | None = None):
        """Starts at `first_step` of `total_steps`."""
        self._console = Console(file=stream or sys.stderr)
        self._total = total_steps
        self._live = self._console.is_terminal
        self._bar = progress.Progress(
            progress.TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            progress.BarColumn(bar_width=None),
            progress.TextColumn("{task.fields[numbers]}"),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=False,
            expand=True,
        )
        self._task = self._bar.add_task(
            "train", total=total_steps, completed=first_step, numbers=""
        )
        if self._live:
            self._bar.start()

    def show(self, step: int, metrics: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        """Shows one step's numbers: loss, temperature, sample size, speed, time left."""
        numbers = f"loss {float(metrics['train/loss']):.3f}"
        if "presence/temperature" in metrics:
            numbers += (
                f"  tau {float(metrics['presence/temperature']):+.2f}"
                f"  ESS {float(metrics['presence/effective_sample_size']):.1f}"
                f"/{int(metrics['presence/num_live_units'])}"
            )
        numbers += f"  {timing['tokens_per_second']:,.0f} tokens/s"
        if self._live:
            self._bar.update(self._task, completed=step, numbers=numbers)
            return
        left = (self._total - step) * timing["seconds_per_step"]
        self._console.print(
            f"step {step}/{self._total}  {numbers}  {left:,.0f} s left",
            highlight=False,
            soft_wrap=True,
        )

    def say(self, text: str) -> None:
        """Prints one line."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._live:
            self._bar.stop()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a file of JSON lines, without a torn last line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def plain_numbers(value: Any) -> Any:
    """Returns nested arrays and numbers as JSON has them; a number that is not finite is null."""
    if isinstance(value, Mapping):
        return {name: plain_numbers(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_numbers(item) for item in value]
    if isinstance(value, (str, bool, type(None))):
        return value
    value = np.asarray(value)
    if value.ndim:
        return [plain_numbers(item) for item in value]
    number = value.item()
    return number if math.isfinite(number) else None


def _truncate(path: Path, step: int) -> None:
    """Keeps the complete lines up to `step`, atomically."""
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if row is None or row["step"] > step:
            break
        kept.append(line)
    write_text_atomically(b"".join(kept).decode("utf-8"), path)


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
