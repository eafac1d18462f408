"""Rows of tokens to the features of a model, by the objective of a run.

Which tokens make a row is decided in `rows`, what becomes of them in `encoder_decoder_rows`,
`encoder_rows` and `decoder_rows`; here is which of these it is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from presence_t5x.config_types import DataConfig
from presence_t5x.data.decoder_rows import NextTokenRows, PrefixRows
from presence_t5x.data.encoder_decoder_rows import EncoderDecoderRows
from presence_t5x.data.encoder_rows import LabelRows, MaskedTokenRows
from presence_t5x.data.labels import label_numbers
from presence_t5x.data.masked_tokens import encoder_ids
from presence_t5x.data.mixing import RowGroup
from presence_t5x.data.packing import PAIR_FEATURES
from presence_t5x.data.raw_rows import PairRow, TextRow
from presence_t5x.data.text_plans import TextPlan, text_plan

# What rows each objective but span corruption takes, and what else to set for the others.
_TEXT = {"masked_tokens": "classification", "next_token": "prefix"}
_PAIRS = {pairs: text for text, pairs in _TEXT.items()}


class Batch(NamedTuple):
    """Rows of a step with their labels; unknown labels and padding rows have empty strings.

    Attributes:
      features: seqio's names, int32[rows, length] but for the loss weights, which are float32.
        Encoder-decoders: encoder_input_tokens, decoder_target_tokens, decoder_input_tokens and
        decoder_loss_weights. "next_token": the decoder's of these; "prefix": these and
        decoder_causal_attention. "masked_tokens": encoder_input_tokens, encoder_target_tokens and
        encoder_loss_weights. "classification": encoder_input_tokens and labels[rows], -1 in padding
        rows. Segment ids and positions only where several documents or pairs share a row.
      example_ids: the document's id; "#k" is added for its k-th later segment; ids of a packed row
        are joined by "|".
      languages, sources, noise: one label a row, "mixed" where a packed row has several.
    """

    features: dict[str, np.ndarray]
    example_ids: list[str]
    languages: list[str]
    sources: list[str]
    noise: list[str]


class RowMaker(Protocol):
    """What makes the features of an objective."""

    def features(self, rows: Any, num_rows: int) -> dict[str, np.ndarray]: ...


class RowFeatures:
    """Makes batches of rows with the settings of a run.

    Attributes:
      plan: how documents of text are cut for it.
    """

    def __init__(
        self,
        data_config: DataConfig,
        vocabulary: Any,
        *,
        has_text: bool = True,
        has_pairs: bool = False,
    ):
        """Checks every setting with which a row could fail to fit.

        Args:
          data_config: the objective, its lengths and noise, and whether rows are packed.
          vocabulary: its EOS and, where the objective needs them, its sentinels.
          has_text: some rows are text.
          has_pairs: some rows are pairs; with `pack` all rows then have segment ids and positions.

        Raises:
          ValueError: rows that are none of the objective's, lengths that do not fit it, too few
            sentinels, or labels without names.
        """
        check_kinds(data_config, has_text=has_text, has_pairs=has_pairs)
        self.plan = TextPlan(0)
        if has_text:
            self.plan = text_plan(
                data_config.objective,
                data_config.task_feature_lengths,
                vocabulary,
                data_config.noise_density,
                data_config.mean_noise_span_length,
            )
        self._maker = _maker(data_config, vocabulary, self.plan, has_pairs)

    @property
    def raw_length(self) -> int:
        """Tokens of a full row of text before the objective; 0 without text."""
        return self.plan.raw_length

    def batch(self, rows: Sequence[tuple[TextRow | PairRow, int]], batch_size: int) -> Batch:
        """Makes features of rows, each with its own key; missing rows are all zeros.

        Pairs that share a row must fit it together.
        """
        empty = [("",) * 4] * (batch_size - len(rows))
        labels = [row.labels for row, _ in rows] + empty
        features = self._maker.features(rows, batch_size)
        return Batch(features, *(list(column) for column in zip(*labels)))


def _maker(data_config: DataConfig, vocabulary: Any, plan: TextPlan, has_pairs: bool) -> RowMaker:
    match data_config.objective:
        case "next_token":
            return NextTokenRows(data_config, plan.frame)
        case "masked_tokens":
            return MaskedTokenRows(data_config, encoder_ids(vocabulary), plan.frame)
        case "prefix":
            return PrefixRows(data_config, vocabulary.eos_id)
        case "classification":
            labels = label_numbers(data_config, vocabulary)
            return LabelRows(data_config, encoder_ids(vocabulary), labels)
    has_segments = has_pairs and data_config.pack
    return EncoderDecoderRows(data_config, vocabulary, has_segments=has_segments)


def check_kinds(data_config: DataConfig, *, has_text: bool, has_pairs: bool) -> None:
    """Raises ValueError for text where the objective takes pairs, and the other way round."""
    objective = data_config.objective
    if has_pairs and objective in _TEXT:
        raise ValueError(
            f"objective={objective!r} takes text, but {data_config.mixture_or_task_name!r} has "
            f"pairs of inputs and targets; set objective={_TEXT[objective]!r}"
        )
    if has_text and objective in _PAIRS:
        raise ValueError(
            f"objective={objective!r} takes pairs of inputs and targets, but "
            f"{data_config.mixture_or_task_name!r} has text; set objective={_PAIRS[objective]!r}"
        )


def count_trimmed(group: RowGroup, data_config: DataConfig) -> dict[str, int]:
    """Returns of how many pairs of a group the inputs, and the targets, are longer than a row."""
    lengths = data_config.task_feature_lengths
    is_label = data_config.objective == "classification"  # begin and EOS; no targets in a row
    limits = [lengths["inputs"] - 1 - is_label, np.inf if is_label else lengths["targets"] - 1]
    return dict(zip(PAIR_FEATURES, (group.pair_counts() > limits).sum(axis=0).tolist()))
