"""The sizes of T5, of a decoder as Llama's, of an encoder as XLM-RoBERTa's."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from presence_t5x._validate import (
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_sequence,
)
from presence_t5x.config_types.data import Objective
from presence_t5x.config_types.features import (
    CLASSIFICATION,
    DECODER_ONLY,
    ENCODER_DECODER,
    ENCODER_ONLY,
    BatchFeatures,
)
from presence_t5x.config_types.model import LARGEST_SIZE, ModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config(ModelConfig):
    """Sizes of a T5.1.1/mT5 encoder-decoder.

    Attributes:
      position_biases_per_layer: every layer has its own table of relative positions, as in umT5 and
        T5X's `scalable_t5`; otherwise the layers of a stack share one (T5, mT5).
    """

    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    mlp_activations: Sequence[str] = ("gelu", "linear")
    logits_via_embedding: bool = False
    position_biases_per_layer: bool = False

    _layer_counts: ClassVar[Mapping[str, str]] = {
        "num_encoder_layers": "encoder",
        "num_decoder_layers": "decoder",
    }

    def __post_init__(self):
        super().__post_init__()
        check_sequence("mlp_activations", self.mlp_activations)
        for activation in self.mlp_activations:
            check_choice("mlp_activations", activation, ("gelu", "relu", "silu", "linear"))
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        for name in ("logits_via_embedding", "position_biases_per_layer"):
            check_bool(name, getattr(self, name))

    @property
    def features(self) -> BatchFeatures:
        """What batches of an encoder-decoder hold."""
        return ENCODER_DECODER

    @property
    def answers(self) -> Literal["text"]:
        """In words."""
        return "text"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Targets in their own stack."""
        return ("span_corruption",)

    def row_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """Returns {"encoder": of "inputs", "decoder": of "targets"}; ValueError without both."""
        _check_lengths(
            task_feature_lengths, ("inputs", "targets"), {"inputs": 1024, "targets": 229}
        )
        return {
            "encoder": task_feature_lengths["inputs"],
            "decoder": task_feature_lengths["targets"],
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderOnlyConfig(ModelConfig):
    """Sizes of a decoder as Llama's (Touvron et al. 2023).

    Attributes:
      num_kv_heads: heads of keys and values, each shared by a group of query heads (Ainslie et al.
        2023); None is `num_heads`: every query head has its own.
      rotary_base: the base of the rotary positions' wavelengths (Su et al. 2021).
      norm_epsilon: added to the mean square in every norm.
      logits_via_embedding: the token table gives the logits, unscaled.
    """

    num_layers: int = 8
    num_kv_heads: int | None = None
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    logits_via_embedding: bool = False

    _layer_counts: ClassVar[Mapping[str, str]] = {"num_layers": "decoder"}

    def __post_init__(self):
        super().__post_init__()
        check_bool("logits_via_embedding", self.logits_via_embedding)
        check_float("norm_epsilon", self.norm_epsilon, minimum=0.0)
        check_float("rotary_base", self.rotary_base, minimum=1.0, exclusive_minimum=True)
        if self.num_kv_heads is not None:
            check_int("num_kv_heads", self.num_kv_heads, minimum=1)
            if self.num_heads % self.num_kv_heads:
                raise ValueError(
                    f"num_kv_heads={self.num_kv_heads} must divide num_heads={self.num_heads}"
                )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim={self.head_dim} must be even: rotary positions turn pairs of features"
            )

    @property
    def features(self) -> BatchFeatures:
        """What batches of a decoder hold."""
        return DECODER_ONLY

    @property
    def answers(self) -> Literal["text"]:
        """In words."""
        return "text"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Targets behind their inputs, if there are any."""
        return ("next_token", "prefix")

    @property
    def tensor_sizes(self) -> dict[str, int | None]:
        """The sizes that tensor partitions must divide."""
        return super().tensor_sizes | {"num_kv_heads": self.num_kv_heads}

    def row_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """Returns {"decoder": of "targets", and of "inputs" where they come first (prefix)}."""
        _check_lengths(task_feature_lengths, ("targets",), {"targets": 1024}, optional=("inputs",))
        return {"decoder": sum(task_feature_lengths.values())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderOnlyConfig(ModelConfig):
    """Sizes of an encoder as XLM-RoBERTa's (Conneau et al. 2020), with one of two heads.

    Attributes:
      max_positions: the longest row that the table of positions is made for.
      norm_epsilon: added to the variance in every norm.
      num_classes: of a classification head; None is the masked language model's head.
    """

    num_layers: int = 8
    max_positions: int = 512
    norm_epsilon: float = 1e-5
    num_classes: int | None = None

    _layer_counts: ClassVar[Mapping[str, str]] = {"num_layers": "encoder"}

    def __post_init__(self):
        super().__post_init__()
        check_int("max_positions", self.max_positions, minimum=1, maximum=LARGEST_SIZE)
        check_float("norm_epsilon", self.norm_epsilon, minimum=0.0)
        if self.num_classes is not None:
            check_int("num_classes", self.num_classes, minimum=2, maximum=LARGEST_SIZE)

    @property
    def features(self) -> BatchFeatures:
        """What batches of an encoder hold: masked tokens, or a label a row."""
        return ENCODER_ONLY if self.num_classes is None else CLASSIFICATION

    @property
    def head(self) -> tuple[str, ...]:
        """What follows the encoder."""
        return ("lm_head",) if self.num_classes is None else ("classifier", "classes")

    @property
    def answers(self) -> Literal["label"] | None:
        """By the classes of a head, which a masked language model does not have."""
        return None if self.num_classes is None else "label"

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """That of the head."""
        return ("masked_tokens",) if self.num_classes is None else ("classification",)

    def row_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """Returns {"encoder": of "inputs"}; "targets", if they are given, must be as long."""
        _check_lengths(task_feature_lengths, ("inputs",), {"inputs": 512}, optional=("targets",))
        lengths = set(task_feature_lengths.values())
        if self.num_classes is None and len(lengths) > 1:
            raise ValueError(
                f"task_feature_lengths={dict(task_feature_lengths)!r}: a masked language model has "
                "a target for every input; give both the same length"
            )
        length = task_feature_lengths["inputs"]
        if length > self.max_positions:
            raise ValueError(
                f"task_feature_lengths['inputs']={length} must be <= max_positions="
                f"{self.max_positions}; set EncoderOnlyConfig.max_positions={length} to train a "
                "longer table"
            )
        return {"encoder": length}


MODEL_CONFIGS = (T5Config, DecoderOnlyConfig, EncoderOnlyConfig)


def model_config_of(settings: Mapping[str, Any]) -> ModelConfig:
    """Returns the model that saved settings describe: of the class that has all of them.

    Raises:
      TypeError, ValueError: settings of no class (T5's complaint is raised), or bad values.
    """
    for config_class in MODEL_CONFIGS:
        if settings.keys() <= {field.name for field in dataclasses.fields(config_class)}:
            return config_class(**settings)
    return T5Config(**settings)


def _check_lengths(
    lengths: Mapping[str, int],
    required: tuple[str, ...],
    example: dict[str, int],
    optional: tuple[str, ...] = (),
) -> None:
    """Refuses lengths of other features than a family's."""
    if not set(required) <= set(lengths) <= {*required, *optional}:
        names = " and ".join(map(repr, required))
        keys = f"the key{'s' if len(required) > 1 else ''} {names}"
        also = "".join(f" (and {name!r}, if you like)" for name in optional)
        raise ValueError(
            f"task_feature_lengths={dict(lengths)!r} must be a dict with {keys}{also}, e.g. "
            f"{example}"
        )
