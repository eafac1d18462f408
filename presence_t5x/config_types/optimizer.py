"""An optimizer and its learning rate."""

import dataclasses
from typing import Literal

from presence_t5x._validate import check_bool, check_choice, check_float, check_int, check_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer and learning-rate schedule, with T5X's names.

    Attributes:
      name: "adafactor" (as T5X runs it) or "adamw".
      factors: learning-rate factors joined by "*": constant, linear_warmup, linear_decay,
        rsqrt_decay, rsqrt_normalized_decay, decay_every, cosine_decay.
      warmup_steps: of linear_warmup, and the plateau of rsqrt_decay.
      decay_rate: exponent of Adafactor's second-moment schedule.
      step_offset: Adafactor's second-moment schedule counts from here (fine-tuning).
    """

    name: Literal["adafactor", "adamw"] = "adafactor"
    factors: str = "constant * rsqrt_decay"
    base_learning_rate: float = 1.0
    warmup_steps: int = 10_000
    decay_factor: float = 0.5
    steps_per_decay: int = 20_000
    steps_per_cycle: int = 100_000
    decay_rate: float = 0.8
    step_offset: int = 0
    multiply_by_parameter_scale: bool = True
    clipping_threshold: float | None = 1.0
    min_dim_size_to_factor: int = 128
    b1: float = 0.9
    b2: float = 0.999
    weight_decay: float = 0.0

    def __post_init__(self):
        check_choice("name", self.name, ("adafactor", "adamw"))
        check_text("factors", self.factors)
        check_float("base_learning_rate", self.base_learning_rate, minimum=0.0)
        for name in ("warmup_steps", "step_offset"):
            check_int(name, getattr(self, name), minimum=0)
        for name in ("steps_per_decay", "steps_per_cycle", "min_dim_size_to_factor"):
            check_int(name, getattr(self, name), minimum=1)
        check_float("decay_factor", self.decay_factor, minimum=0.0)
        check_float("decay_rate", self.decay_rate, minimum=0.0)
        check_bool("multiply_by_parameter_scale", self.multiply_by_parameter_scale)
        if self.clipping_threshold is not None:
            check_float(
                "clipping_threshold", self.clipping_threshold, minimum=0.0, exclusive_minimum=True
            )
        check_float("b1", self.b1, minimum=0.0, maximum=1.0)
        check_float("b2", self.b2, minimum=0.0, maximum=1.0)
        check_float("weight_decay", self.weight_decay, minimum=0.0)
