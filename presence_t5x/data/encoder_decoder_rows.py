"""Features of encoder-decoders: text corrupted by spans, and targets from inputs.

A pair is cut to the lengths less one; everything ends in EOS. Rows of text have no segment ids,
unless they stand beside packed pairs.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from presence_t5x.config_types import DataConfig
from presence_t5x.data.packing import PAIR_FEATURES, Example, segment_rows, target_features
from presence_t5x.data.raw_rows import PairRow, TextRow, trim_tokens
from presence_t5x.data.seeded_rows import RaggedRows
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_corruption import corrupt_rows


class EncoderDecoderRows:
    """Corrupts text and trims pairs."""

    def __init__(self, data_config: DataConfig, vocabulary: Any, *, has_segments: bool):
        """Args: lengths and noise; EOS, and sentinels for text; whether pairs are packed."""
        self._lengths: Mapping[str, int] = data_config.task_feature_lengths
        self._vocabulary = vocabulary
        self._has_segments = has_segments
        self._noise = {
            "noise_density": data_config.noise_density,
            "mean_span": data_config.mean_noise_span_length,
        }

    def features(
        self, rows: Sequence[tuple[TextRow | PairRow, int]], num_rows: int
    ) -> dict[str, np.ndarray]:
        """Returns the features of rows, each with its own key; missing rows are all zeros."""
        examples = self._examples(rows)
        return (self._segment if self._has_segments else self._pad)(examples, num_rows)

    @functools.cached_property
    def _sentinels(self):
        return sentinels_of(self._vocabulary)

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

    def _corrupt(self, rows: Sequence[tuple[np.ndarray, int]]) -> list[Example]:
        tokens, keys = zip(*rows)
        sentinels = self._sentinels
        features = corrupt_rows(
            tokens,
            keys,
            sentinels.first_id,
            self._vocabulary.eos_id,
            num_sentinels=sentinels.num_sentinels,
            **self._noise,
        )
        columns = [rows.split() for rows in features]
        return [dict(zip(PAIR_FEATURES, row)) for row in zip(*columns)]

    def _trim(self, pair: tuple[np.ndarray, np.ndarray]) -> Example:
        return {
            name: trim_tokens(tokens, self._lengths[name], self._vocabulary.eos_id)
            for name, tokens in zip(PAIR_FEATURES, pair)
        }

    def _pad(self, rows: list[list[Example]], num_rows: int) -> dict[str, np.ndarray]:
        """The features of rows of one example each."""
        inputs, targets = (
            RaggedRows.join([row[0][name] for row in rows]).pad(num_rows, self._lengths[name])
            for name in PAIR_FEATURES
        )
        return {"encoder_input_tokens": inputs, **target_features(targets)}

    def _segment(self, rows: list[list[Example]], num_rows: int) -> dict[str, np.ndarray]:
        return segment_rows([*rows, *([[]] * (num_rows - len(rows)))], self._lengths)
