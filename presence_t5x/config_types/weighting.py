"""What is scored and weighted, and how: PRESENCE itself."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

from presence_t5x._validate import (
    check_choice,
    check_float,
    check_int,
    check_sequence,
    check_text,
)

GRANULARITIES = ("microbatch", "shard", "example")
NORMALIZERS = ("batch", "ema", "none")
ACCUMULATORS = ("stored", "streaming")
ROW_ORDERS = ("strided", "contiguous")
SCORES = ("self_influence", "loss", "loss_weighted_influence", "log_perplexity_influence")
SCORE_LOSSES = ("mean", "sum")
UNWEIGHTED = "unweighted"
SCHEDULES = (
    "two_stage",
    "constant",
    "linear",
    "cosine",
    "piecewise",
    "learning_rate",
    UNWEIGHTED,
)
FIRST_BLOCKS = "first_blocks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PresenceConfig:
    """What is a unit, how it is scored, and how its gradient is accumulated.

    Attributes:
      num_microbatches: slices of a step's batch that are differentiated one after another.
      layers: path patterns over whole segments (globs within a segment) of the scored parameters.
        "encoder/layers_0" also names element 0 of a scanned stack. In a run "first_blocks" stands
        for the first block of each of the model's stacks.
      granularity: what gets one score: "microbatch" (the paper), "shard" (the part of a microbatch
        on one data shard) or "example" (a row).
      normalizer: "batch" (this step's scores, the paper), "ema" (previous steps) or "none".
      accumulator: "stored" keeps microbatch gradients until the weights are known; "streaming"
        keeps one weighted sum. They apply to "microbatch" and "shard"; per-example weights are
        known before a microbatch's weighted gradient is formed: "example" never stores any.
      score: of a unit with squared gradient norm S over the scored parameters and mean token loss
        l: "self_influence" S, "loss" l, "loss_weighted_influence" S * l^2,
        "log_perplexity_influence" log S + 2 l, or a function of (selected gradients by path, loss
        sum, token count) to a scalar. Text that the model has learned to be unpredictable (random
        words that are part of training) has a small S while l stays high, so that inverse weighting
        by S favours it. The third is the self-influence under the loss l^2 / 2, the fourth the
        logarithm of that under the perplexity exp(l): both grow with l itself, and the logarithm
        keeps their tail from deciding alone.
      score_loss: "mean" scores the gradient of a unit's mean token loss, "sum" of its summed loss
        (the paper and T5X).
      loss_normalizer: the constant C that divides every gradient: None (1), a positive number, or
        "num_real_target_tokens" of the whole batch.
      row_order: "strided" (unit i = rows i, i + n, ...) or "contiguous" (T5X).
      epsilon: relative to the squared mean score, under the root of the normalisation.
      max_abs_z: clips normalised scores; "default" is None for "microbatch" and for normalizer
        "none" (raw scores may all lie beyond any bound), 3.0 otherwise.
      target_effective_sample_size: in units; chooses |temperature| each step (normalizer "batch").
      ema_decay: of the score moments that normalizer "ema" uses.
      gradient_dtype: in which a microbatch's gradient is stored and sums cross devices;
        "bfloat16" halves both. Sums over microbatches are kept in float32 either way.

    Raises:
      ValueError: a value out of its bounds, or a combination that cannot be exact, with the remedy.
    """

    num_microbatches: int = 8
    layers: Sequence[str] = ("encoder/layers_0", "decoder/layers_0")
    granularity: Literal["microbatch", "shard", "example"] = "microbatch"
    normalizer: Literal["batch", "ema", "none"] = "batch"
    accumulator: Literal["stored", "streaming"] = "stored"
    score: str | Callable[..., Any] = "self_influence"
    score_loss: Literal["mean", "sum"] = "mean"
    loss_normalizer: float | str | None = None
    row_order: Literal["strided", "contiguous"] = "strided"
    epsilon: float = 1e-8
    max_abs_z: float | str | None = "default"
    target_effective_sample_size: float | None = None
    ema_decay: float = 0.99
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_int("num_microbatches", self.num_microbatches, minimum=1)
        check_choice("granularity", self.granularity, GRANULARITIES)
        check_choice("normalizer", self.normalizer, NORMALIZERS)
        check_choice("accumulator", self.accumulator, ACCUMULATORS)
        check_choice("score_loss", self.score_loss, SCORE_LOSSES)
        check_choice("row_order", self.row_order, ROW_ORDERS)
        check_choice("gradient_dtype", self.gradient_dtype, ("float32", "bfloat16"))
        check_float("epsilon", self.epsilon, minimum=0.0)
        check_float("ema_decay", self.ema_decay, minimum=0.0, maximum=1.0 - 1e-7)
        if not callable(self.score):
            check_choice("score", self.score, SCORES)
        self._check_layers()
        self._check_loss_normalizer()
        self._check_sharpness()
        self._check_exactness()

    def _check_layers(self):
        layers = (self.layers,) if isinstance(self.layers, str) else self.layers
        check_sequence("layers", layers)
        if not layers:
            raise ValueError(
                "layers=() selects nothing; name at least one path, e.g. 'encoder/layers_0'"
            )
        for pattern in layers:
            check_text("layers", pattern)
        object.__setattr__(self, "layers", tuple(layers))

    def _check_loss_normalizer(self):
        value = self.loss_normalizer
        if isinstance(value, str):
            if value.lower() != "num_real_target_tokens":
                raise ValueError(
                    f"loss_normalizer={value!r} must be None, a positive number or "
                    "'num_real_target_tokens'; a normaliser of each microbatch or sequence would "
                    "turn the gradient (one constant divides the whole step here)"
                )
            object.__setattr__(self, "loss_normalizer", value.lower())
        elif value is not None:
            check_float("loss_normalizer", value, minimum=0.0, exclusive_minimum=True)

    def _check_sharpness(self):
        if self.max_abs_z not in (None, "default"):
            check_float("max_abs_z", self.max_abs_z, minimum=0.0, exclusive_minimum=True)
        if self.target_effective_sample_size is not None:
            check_float(
                "target_effective_sample_size", self.target_effective_sample_size, minimum=1.0
            )
            if self.normalizer != "batch":
                raise ValueError(
                    f"target_effective_sample_size needs every score before the weights; set "
                    f"normalizer='batch' (it is {self.normalizer!r})"
                )

    def _check_exactness(self):
        if self.granularity == "shard":
            if self.normalizer == "batch":
                raise ValueError(
                    "granularity='shard' cannot use normalizer='batch' (its scores are known one "
                    "microbatch at a time); set normalizer='ema' or 'none'"
                )
            if self.accumulator != "streaming":
                raise ValueError(
                    "granularity='shard' keeps no unit gradients; set accumulator='streaming'"
                )
        if (
            self.granularity == "microbatch"
            and self.accumulator == "streaming"
            and self.normalizer == "batch"
        ):
            raise ValueError(
                "accumulator='streaming' cannot be exact with normalizer='batch': z needs every "
                "score of the step first; set accumulator='stored', or normalizer='ema' or 'none'"
            )

    @property
    def score_clip(self) -> float | None:
        """The bound on |z| after the default is filled in."""
        if self.max_abs_z == "default":
            is_raw = self.normalizer == "none"
            return None if is_raw or self.granularity == "microbatch" else 3.0
        return self.max_abs_z  # pyright: ignore[reportReturnType]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemperatureConfig:
    """Temperature over steps (Thakkar et al. 2023, section 4.2; the other schedules are ours).

    Attributes:
      schedule: "two_stage" (temperature_1 before `switch_step`, temperature_2 from it on; the first
        `switch_step` updates use temperature_1), "constant" (temperature_1), "linear" and "cosine"
        (from temperature_1 at step 0 to temperature_2 at `switch_step`), "piecewise" (linear
        between `points`), "learning_rate" (temperature_1 times learning rate over its peak), or
        "unweighted" (no score is computed: the plain step).
      points: (step, temperature) pairs of "piecewise", in order of step.
    """

    schedule: str = "two_stage"
    temperature_1: float = 1.0
    temperature_2: float = -1.0
    switch_step: int = 100_000
    points: Sequence[tuple[int, float]] = ()

    def __post_init__(self):
        check_choice("schedule", self.schedule, SCHEDULES)
        check_float("temperature_1", self.temperature_1)
        check_float("temperature_2", self.temperature_2)
        check_int("switch_step", self.switch_step, minimum=0)
        if self.schedule in ("linear", "cosine"):
            check_int("switch_step", self.switch_step, minimum=1)
        if (self.schedule == "piecewise") != bool(self.points):
            raise ValueError(
                f"points={self.points!r} belong to schedule='piecewise' and are needed there "
                f"(schedule={self.schedule!r})"
            )
        check_sequence("points", self.points)
        for point in self.points:
            if not isinstance(point, Sequence) or len(point) != 2:
                raise ValueError(f"points: {point!r} must be a pair (step, temperature)")
            step, temperature = point
            check_int("points: step", step, minimum=0)
            check_float("points: temperature", temperature)
        if list(self.points) != sorted(self.points, key=lambda point: point[0]):
            raise ValueError(f"points={self.points!r} must be in order of step")
