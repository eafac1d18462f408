"""A model, how it generates, and its optimizer."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from presence_t5x._validate import (
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_sequence,
    check_text,
)

# Far beyond any model, and small enough that describing one takes no time.
_MOST_LAYERS, _LARGEST_SIZE, _MOST_IDS = 1024, 2**20, 2**24
REMAT_POLICIES = ("none", "elementwise", "attention", "minimal", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
    """Sizes of a T5.1.1/mT5 encoder-decoder; parameters are always float32.

    Attributes:
      vocab_size: rows of the embedding table; None is filled in by the run: the vocabulary's size,
        rounded up to a multiple of 128.
      dtype: of activations, "float32" or "bfloat16"; logits are always float32.
      position_biases_per_layer: every layer has its own table of relative positions, as in umT5 and
        T5X's `scalable_t5`; otherwise the layers of a stack share one (T5, mT5).
      scan_layers: layer weights stacked along axis 1 instead of `layers_0`, `layers_1`, ...
      remat_policy: what the backward pass recomputes: "none", "elementwise" (all but matrix
        products), "attention" (also queries times keys: the logits are a layer's largest array),
        "minimal" (all products between activations) or "full" (each layer from its input).
    """

    vocab_size: int | None = None
    emb_dim: int = 512
    num_heads: int = 6
    head_dim: int = 64
    mlp_dim: int = 1024
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    mlp_activations: Sequence[str] = ("gelu", "linear")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    dropout_rate: float = 0.0
    logits_via_embedding: bool = False
    float32_attention_logits: bool = False
    position_biases_per_layer: bool = False
    scan_layers: bool = False
    remat_policy: Literal["none", "elementwise", "attention", "minimal", "full"] = "none"

    def __post_init__(self):
        if self.vocab_size is not None:
            check_int("vocab_size", self.vocab_size, minimum=1, maximum=_MOST_IDS)
        for name in ("emb_dim", "num_heads", "head_dim", "mlp_dim"):
            check_int(name, getattr(self, name), minimum=1, maximum=_LARGEST_SIZE)
        for name in ("num_encoder_layers", "num_decoder_layers"):
            check_int(name, getattr(self, name), minimum=1, maximum=_MOST_LAYERS)
        check_sequence("mlp_activations", self.mlp_activations)
        for activation in self.mlp_activations:
            check_choice("mlp_activations", activation, ("gelu", "relu", "silu", "linear"))
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        check_float("dropout_rate", self.dropout_rate, minimum=0.0, maximum=0.99)
        check_choice("remat_policy", self.remat_policy, REMAT_POLICIES)
        for name in (
            "logits_via_embedding",
            "float32_attention_logits",
            "position_biases_per_layer",
            "scan_layers",
        ):
            check_bool(name, getattr(self, name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How targets are generated.

    Attributes:
      max_length: of targets, in tokens, the end-of-sequence token included.
      num_beams: hypotheses a row that beam search goes on with; None decodes greedily.
      alpha: exponent of beam search's length penalty; 0 compares summed log-probabilities.
      eos_id: ends a sequence.
      convention: whose beam search: "t5x" (alpha 0.6 by default there) or "huggingface" (alpha is
        its length_penalty, 1 by default); `decode.search_rules` tells how they differ.
    """

    max_length: int
    num_beams: int | None = None
    alpha: float = 0.6
    eos_id: int = 1
    convention: Literal["t5x", "huggingface"] = "t5x"

    def __post_init__(self):
        check_int("max_length", self.max_length, minimum=1)
        if self.num_beams is not None:
            check_int("num_beams", self.num_beams, minimum=1)
        check_float("alpha", self.alpha, minimum=0.0)
        check_int("eos_id", self.eos_id, minimum=1)
        check_choice("convention", self.convention, ("t5x", "huggingface"))


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
