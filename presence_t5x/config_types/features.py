"""Which features of a batch a model and its loss read, by seqio's names."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class BatchFeatures(NamedTuple):
    """The features of one family of models.

    Attributes:
      inputs: what a model is applied to, in the order of its arguments.
      packing: of packed rows alone: which example a token belongs to, and its place therein. They,
        and `optional` ones, are arguments of the same names.
      optional: what a model takes beside them where a batch has it: batches of tasks that have
        inputs and targets do.
      targets: int32 [rows, length], or [rows] of one target a row.
      weights: float32 of the targets' shape, 1 for a target that counts; None: those that are not
        negative count.
    """

    inputs: tuple[str, ...]
    packing: tuple[str, ...]
    optional: tuple[str, ...]
    targets: str
    weights: str | None

    @property
    def required(self) -> tuple[str, ...]:
        """What every batch has."""
        names = (*self.inputs, self.targets, self.weights)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def options(self, batch: Mapping[str, Any]) -> Iterator[str]:
        """Returns which of a model's keyword arguments a batch has."""
        return (name for name in (*self.packing, *self.optional) if name in batch)


ENCODER_DECODER = BatchFeatures(
    inputs=("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens"),
    packing=(
        "encoder_segment_ids",
        "decoder_segment_ids",
        "encoder_positions",
        "decoder_positions",
    ),
    optional=(),
    targets="decoder_target_tokens",
    weights="decoder_loss_weights",
)
DECODER_ONLY = BatchFeatures(
    inputs=("decoder_input_tokens", "decoder_target_tokens"),
    packing=("decoder_segment_ids", "decoder_positions"),
    optional=("decoder_causal_attention",),
    targets="decoder_target_tokens",
    weights="decoder_loss_weights",
)
ENCODER_ONLY = BatchFeatures(
    inputs=("encoder_input_tokens",),
    packing=("encoder_segment_ids", "encoder_positions"),
    optional=(),
    targets="encoder_target_tokens",
    weights="encoder_loss_weights",
)
CLASSIFICATION = ENCODER_ONLY._replace(packing=(), targets="labels", weights=None)
