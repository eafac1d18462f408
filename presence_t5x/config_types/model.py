"""The sizes of a model: what those of all families have; each family has a class in `families`.

Beside its settings a class says what the rest of the package needs to know of its family: the
features of its batches and their lengths, its stacks, and which sizes a mesh must divide.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

from presence_t5x._validate import check_bool, check_choice, check_float, check_int
from presence_t5x.config_types.data import Objective
from presence_t5x.config_types.features import BatchFeatures

# Far beyond any model, and small enough that describing one takes no time.
_MOST_LAYERS, LARGEST_SIZE, _MOST_IDS = 1024, 2**20, 2**24
REMAT_POLICIES = ("none", "elementwise", "attention", "minimal", "full")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(abc.ABC):
    """What the models of all families have; parameters are always float32.

    Attributes:
      vocab_size: rows of the embedding table; None is filled in by the run: the vocabulary's size,
        rounded up to a multiple of 128.
      dtype: of activations, "float32" or "bfloat16"; logits are always float32.
      float32_attention_logits: logits and softmax of attention in float32 whatever `dtype` is.
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
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    dropout_rate: float = 0.0
    float32_attention_logits: bool = False
    scan_layers: bool = False
    remat_policy: Literal["none", "elementwise", "attention", "minimal", "full"] = "none"

    def __post_init__(self):
        if self.vocab_size is not None:
            check_int("vocab_size", self.vocab_size, minimum=1, maximum=_MOST_IDS)
        for name in ("emb_dim", "num_heads", "head_dim", "mlp_dim"):
            check_int(name, getattr(self, name), minimum=1, maximum=LARGEST_SIZE)
        for name in self._layer_counts:
            check_int(name, getattr(self, name), minimum=1, maximum=_MOST_LAYERS)
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        check_float("dropout_rate", self.dropout_rate, minimum=0.0, maximum=0.99)
        check_choice("remat_policy", self.remat_policy, REMAT_POLICIES)
        for name in ("float32_attention_logits", "scan_layers"):
            check_bool(name, getattr(self, name))

    _layer_counts: ClassVar[Mapping[str, str]] = {}  # setting to the name of its stack

    @property
    @abc.abstractmethod
    def features(self) -> BatchFeatures:
        """What batches of this model hold."""

    @property
    @abc.abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """Which of `DataConfig.objective` make batches of this model."""

    @property
    def head(self) -> tuple[str, ...]:
        """Parameters that another head does not have: it is trained anew on the same layers."""
        return ()

    @property
    def answers(self) -> Literal["text", "label"] | None:
        """How examples are answered: in words, by one of their labels, or not at all."""
        return None

    @property
    def stacks(self) -> dict[str, int]:
        """The names of the stacks of layers among the parameters, and their numbers of layers."""
        return {stack: getattr(self, name) for name, stack in self._layer_counts.items()}

    @property
    def first_blocks(self) -> tuple[str, ...]:
        """Path patterns of the first block of each stack: what is scored unless a run says else."""
        return tuple(f"{stack}/layers_0" for stack in self.stacks)

    @property
    def tensor_sizes(self) -> dict[str, int | None]:
        """The sizes that tensor partitions must divide, by the names of their settings."""
        names = ("num_heads", "mlp_dim", "vocab_size")
        return {name: getattr(self, name) for name in names}

    def describe(self) -> str:
        """Returns the sizes in a line.

        >>> from presence_t5x.config_types import T5Config
        >>> T5Config(vocab_size=128).describe()
        'emb 512, 8+8 layers, vocabulary 128'
        """
        layers = "+".join(map(str, self.stacks.values()))
        return f"emb {self.emb_dim}, {layers} layers, vocabulary {self.vocab_size}"

    def check_objective(self, objective: str) -> None:
        """Raises ValueError if an objective makes no rows for this model."""
        if objective not in self.objectives:
            names = " or ".join(f"OBJECTIVE={name!r}" for name in self.objectives)
            raise ValueError(
                f"objective={objective!r} makes no rows for a {type(self).__name__}; set {names}, "
                "or take another model"
            )

    @abc.abstractmethod
    def row_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        """Returns the tokens of a row in each stack, from the lengths of a task's features.

        Raises:
          ValueError: lengths that are missing, or of which this model has no use.
        """
