"""Rows of tokens to the features of a model: corruption or trimming, padding, labels.

A row of text is corrupted (`span_corruption`), a pair of inputs and targets is cut to the lengths
less one; both end in EOS, as seqio's `append_eos_after_trim` has it. Which tokens make a row is
decided in `rows`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from presence_t5x.config_types import DataConfig
from presence_t5x.data.layouts import PAIR_FEATURES
from presence_t5x.data.mixing import RowGroup
from presence_t5x.data.packing import Example, segment_rows, shift_right
from presence_t5x.data.seeded_rows import RaggedRows
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_corruption import corrupt_rows
from presence_t5x.data.span_lengths import check_span_corruption
from presence_t5x.data.token_store import TokenStore

MIXED_LABEL = "mixed"


class Batch(NamedTuple):
    """Rows of a step with their labels; unknown labels and padding rows have empty strings.

    Attributes:
      features: T5X's names: int32 encoder_input_tokens[rows, inputs], decoder_target_tokens and
        decoder_input_tokens[rows, targets], float32 decoder_loss_weights[rows, targets]; segment
        ids and positions only where several examples share a row.
      example_ids: the document's id; "#k" is added for its k-th later segment; ids of a packed row
        are joined by "|".
      languages, sources, noise: one label a row, "mixed" where a packed row has several.
    """

    features: dict[str, np.ndarray]
    example_ids: list[str]
    languages: list[str]
    sources: list[str]
    noise: list[str]


class TextRow(NamedTuple):
    """Tokens before corruption, and the labels of the row."""

    tokens: Int[np.ndarray, " tokens"]
    example_id: str
    language: str
    source: str
    noise: str


class PairRow(NamedTuple):
    """Inputs and targets without EOS, of several pairs where they share a row, and its labels."""

    pairs: list[tuple[Int[np.ndarray, " inputs"], Int[np.ndarray, " targets"]]]
    example_id: str
    language: str
    source: str
    noise: str


def read_text_row(
    store: TokenStore, pieces: Sequence[tuple[int, int, int]], segment_length: int | None = None
) -> TextRow:
    """Reads and concatenates (document, start, stop) pieces.

    Args:
      store: the tokens.
      pieces: at least one.
      segment_length: of the segments that rows are numbered by; None where rows are packed.
    """
    documents = [store[document] for document, _, _ in pieces]
    ids = [document.id for document in documents]
    if segment_length and pieces[0][1]:
        ids = [f"{ids[0]}#{pieces[0][1] // segment_length}"]
    tokens = [document.tokens[start:stop] for document, (_, start, stop) in zip(documents, pieces)]
    return TextRow(np.concatenate(tokens), "|".join(ids), *_common_labels(documents))


def read_pair_row(store: TokenStore, documents: Sequence[int]) -> PairRow:
    """Reads pairs that share a row."""
    found = [store[document] for document in documents]
    ids = "|".join(document.id for document in found)
    return PairRow([document.pair for document in found], ids, *_common_labels(found))


def _common_labels(documents: Sequence[Any]) -> tuple[str, ...]:
    """Language, source and noise of a row."""
    columns = zip(*(document.labels[1:] for document in documents))
    return tuple(labels[0] if len(set(labels)) == 1 else MIXED_LABEL for labels in columns)


class RowFeatures:
    """Makes batches of rows with the settings of a run."""

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
          data_config: lengths, noise, and whether rows are packed.
          vocabulary: its EOS and, if there is text, its sentinels.
          has_text: some rows are text.
          has_pairs: some rows are pairs; with `pack` all rows then have segment ids and positions.

        Raises:
          ValueError: lengths that do not fit the noise, or too few sentinels.
        """
        self._lengths: Mapping[str, int] = data_config.task_feature_lengths
        self._eos_id = vocabulary.eos_id
        self._has_segments = has_pairs and data_config.pack
        self._noise = {
            "noise_density": data_config.noise_density,
            "mean_span": data_config.mean_noise_span_length,
        }
        self.raw_length = 0
        if has_text:
            self._sentinels = sentinels_of(vocabulary)
            self.raw_length = check_span_corruption(
                self._lengths["inputs"],
                self._lengths["targets"],
                self._sentinels.num_sentinels,
                **self._noise,
            )

    def batch(self, rows: Sequence[tuple[TextRow | PairRow, int]], batch_size: int) -> Batch:
        """Corrupts or trims rows, each with its own key; missing rows are all zeros.

        Pairs that share a row must fit it together.
        """
        examples = self._examples(rows)
        empty = [("",) * 4] * (batch_size - len(rows))
        labels = [row[1:] for row, _ in rows] + empty
        features = self._segment if self._has_segments else self._pad
        return Batch(features(examples, batch_size), *(list(column) for column in zip(*labels)))

    def _examples(self, rows: Sequence[tuple[TextRow | PairRow, int]]) -> list[list[Example]]:
        """What stands in each row, EOS included."""
        text = [(row.tokens, key) for row, key in rows if isinstance(row, TextRow)]
        corrupted = iter(self._corrupt(text) if text else ())
        return [
            [next(corrupted)]
            if isinstance(row, TextRow)
            else [self._trim(pair) for pair in row.pairs]
            for row, _ in rows
        ]

    def _corrupt(self, rows: Sequence[tuple[Int[np.ndarray, " tokens"], int]]) -> list[Example]:
        tokens, keys = zip(*rows)
        sentinels = self._sentinels
        features = corrupt_rows(
            tokens,
            keys,
            sentinels.first_id,
            self._eos_id,
            num_sentinels=sentinels.num_sentinels,
            **self._noise,
        )
        columns = [rows.split() for rows in features]
        return [dict(zip(PAIR_FEATURES, row)) for row in zip(*columns)]

    def _trim(self, pair: tuple[Int[np.ndarray, " inputs"], Int[np.ndarray, " targets"]]):
        return {
            name: np.append(tokens[: self._lengths[name] - 1], np.int32(self._eos_id))
            for name, tokens in zip(PAIR_FEATURES, pair)
        }

    def _pad(self, rows: list[list[Example]], num_rows: int) -> dict[str, np.ndarray]:
        """The features of rows of one example each."""
        inputs, targets = (
            RaggedRows.join([row[0][name] for row in rows]).pad(num_rows, self._lengths[name])
            for name in PAIR_FEATURES
        )
        return {
            "encoder_input_tokens": inputs,
            "decoder_target_tokens": targets,
            "decoder_input_tokens": shift_right(targets.T).T,
            "decoder_loss_weights": (targets != 0).astype(np.float32),
        }

    def _segment(self, rows: list[list[Example]], num_rows: int) -> dict[str, np.ndarray]:
        return segment_rows([*rows, *([[]] * (num_rows - len(rows)))], self._lengths)


def count_trimmed(group: RowGroup, lengths: Mapping[str, int]) -> dict[str, int]:
    """Returns of how many pairs of a group the inputs, and the targets, are longer than a row."""
    limits = [lengths[name] - 1 for name in PAIR_FEATURES]
    return dict(zip(PAIR_FEATURES, (group.pair_counts() > limits).sum(axis=0).tolist()))
