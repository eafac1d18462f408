"""What pre-trainings themselves show: held-out losses, and at what cost.

The losses are those of the last step in a run's `evaluation.jsonl`: mean token losses on rows that
are the same in every run of a plan, so that what is left between two runs is how they were trained.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from presence_t5x.held_out import CLEAN
from presence_t5x.reproduction.units import MODEL_DIR, Trained, Unit
from presence_t5x.run_log import EVALUATION, METRICS, TIMING

NOISE = "noise"  # all labels but clean


class LanguageLoss(NamedTuple):
    """One run's loss in one language: the mean over labels, each counting once; NaN if it diverged.

    Numbers of rows and of target tokens tell whether two runs were judged on the same rows.
    """

    loss: float
    num_rows: int
    num_tokens: float


class Effort(NamedTuple):
    """What a run cost.

    Attributes:
      steps: updates.
      flops: of all of them, matrix products alone; None is not known.
      sample_share: effective sample size over the number of live units, mean over the logged steps;
        None of an unweighted run.
      seconds_per_step: median of what was logged, the first lap (it compiles) left out; None of a
        run that logged no other.
    """

    steps: int
    flops: float | None
    sample_share: float | None
    seconds_per_step: float | None


class TrainedResult(NamedTuple):
    """One pre-training, done: its held-out rows by (language, label), and its effort."""

    losses: Mapping[tuple[str, str], LanguageLoss]
    effort: Effort

    def by_language(self, noise: str) -> dict[str, LanguageLoss]:
        """Returns the losses on rows of a label, or of all but clean ones ("noise").

        Raises:
          ValueError: there are none.
        """
        found: dict[str, list[LanguageLoss]] = {}
        for (language, label), one in self.losses.items():
            if label == noise or (noise == NOISE and label != CLEAN):
                found.setdefault(language, []).append(one)
        if not found:
            labels = sorted({label for _, label in self.losses})
            raise ValueError(f"no held-out rows are labelled {noise!r}; there are {labels}")
        return {language: _joined(ones) for language, ones in found.items()}


def read_trained(trained: Trained, unit: Unit, output: Path) -> TrainedResult | None:
    """Returns what a pre-training shows; None if it has not come to its last step.

    Raises:
      ValueError: a file of the run is damaged.
    """
    directory = output / trained.unit / MODEL_DIR
    evaluations = _read_lines(directory / EVALUATION)
    if not evaluations or evaluations[-1]["step"] != unit.num_steps:
        return None
    losses = {
        (row["language"], row["noise"]): LanguageLoss(
            # The log has null for what is not finite.
            math.nan if row["loss"] is None else row["loss"],
            row["num_rows"],
            row["num_tokens"],
        )
        for row in evaluations[-1]["rows"]
        if row["num_tokens"]  # without any there is no loss
    }
    return TrainedResult(losses, _effort(unit, directory))


def mean_effort(efforts: Sequence[Effort]) -> Effort:
    """Returns the mean over seeds, of seconds the median."""
    shares = [one.sample_share for one in efforts if one.sample_share is not None]
    seconds = [one.seconds_per_step for one in efforts if one.seconds_per_step is not None]
    return efforts[0]._replace(
        sample_share=float(np.mean(shares)) if shares else None,
        seconds_per_step=float(np.median(seconds)) if seconds else None,
    )


def _effort(unit: Unit, directory: Path) -> Effort:
    lines = _read_lines(directory / METRICS)
    sizes = [
        [line.get(f"presence/{name}") for name in ("effective_sample_size", "num_live_units")]
        for line in lines
    ]
    shares = [size / units for size, units in sizes if size is not None and units]
    laps = [line["seconds_per_step"] for line in _read_lines(directory / TIMING)]
    return Effort(
        steps=unit.num_steps,
        flops=None if unit.step_flops is None else float(unit.step_flops * unit.num_steps),
        sample_share=float(np.mean(shares)) if shares else None,
        seconds_per_step=float(np.median(laps[1:])) if laps[1:] else None,
    )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; [] if there is none."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove its unit's directory to run it again"
        ) from error


def _joined(losses: Sequence[LanguageLoss]) -> LanguageLoss:
    values, num_rows, num_tokens = zip(*losses)
    return LanguageLoss(float(np.mean(values)), sum(num_rows), sum(num_tokens))
