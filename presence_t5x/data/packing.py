"""Several whole examples in one row, told apart by segment ids, as seqio packs them.

Not to be confused with what `DataConfig.pack` makes of text in the prepared reader: raw documents
are concatenated before corruption. Here finished (inputs, targets) pairs share a row and must not
see each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from presence_t5x.data.seeded_rows import places_of, rows_of

PAIR_FEATURES = ("inputs", "targets")
Example = Mapping[str, Int[np.ndarray, " tokens"]]


def shift_right(targets: Int[np.ndarray, "*rows length"]) -> Int[np.ndarray, "*rows length"]:
    """Returns decoder inputs: BOS (0), then every target but the last.

    >>> shift_right(np.array([3, 9, 1]))
    array([0, 3, 9])
    """
    return np.concatenate([np.zeros_like(targets[..., :1]), targets[..., :-1]], axis=-1)


def target_features(targets: Int[np.ndarray, "rows length"]) -> dict[str, np.ndarray]:
    """Returns a decoder's features of rows that are shifted as a whole; padding has no loss."""
    return {
        "decoder_target_tokens": targets,
        "decoder_input_tokens": shift_right(targets),
        "decoder_loss_weights": (targets != 0).astype(np.float32),
    }


def _check_examples(examples, lengths):
    if set(lengths) != set(PAIR_FEATURES):
        raise ValueError(f"lengths={dict(lengths)!r} must have the keys 'inputs' and 'targets'")
    for number, example in enumerate(examples):
        for feature, length in lengths.items():
            size = len(example[feature])
            if not 1 <= size <= length:
                raise ValueError(
                    f"example {number}: {size} {feature} do not fit in a row of {length}; pass "
                    f"lengths[{feature!r}] >= {max(size, 1)} or drop the example"
                )


def assign_rows(
    sizes: Int[np.ndarray, "examples features"], lengths: Sequence[int]
) -> Int[np.ndarray, " rows"]:
    """Returns the first example of every row: the next one joins the open row while it fits.

    Greedy and in order, so the result depends on nothing but the sizes.

    Args:
      sizes: tokens of every feature of every example, at most its length.
      lengths: of a row, of every feature.

    >>> assign_rows(np.array([[4, 2], [4, 2], [4, 2]]), [8, 9])
    array([0, 2])
    """
    ends = np.cumsum(sizes, axis=0, dtype=np.int64)
    starts = []
    start = 0
    while start < len(sizes):
        starts.append(start)
        limits = np.asarray(lengths) + (ends[start - 1] if start else 0)
        fitting = (
            int(np.searchsorted(column, limit, side="right"))
            for column, limit in zip(ends.T, limits)
        )
        start = max(start + 1, min(fitting))
    return np.asarray(starts, np.int64)


class Segments(NamedTuple):
    """Tokens of all segments of all rows, one after the other, and where each stands.

    Attributes:
      tokens: as they are.
      rows, columns: of each token.
      segment_ids: from 1 in a row.
      positions: from 0 in a segment.
      shape: (rows, length).
    """

    tokens: Int[np.ndarray, " tokens"]
    rows: Int[np.ndarray, " tokens"]
    columns: Int[np.ndarray, " tokens"]
    segment_ids: Int[np.ndarray, " tokens"]
    positions: Int[np.ndarray, " tokens"]
    shape: tuple[int, int]

    @classmethod
    def place(cls, rows: Sequence[Sequence[Int[np.ndarray, " tokens"]]], length: int) -> "Segments":
        """Places the segments of every row, which must fit its length, one behind the other."""
        segments = [segment for row in rows for segment in row]
        lengths = np.array([len(segment) for segment in segments], np.int64)
        row_lengths = np.array([sum(map(len, row)) for row in rows], np.int64)
        numbers = places_of(np.array([len(row) for row in rows], np.int64)) + 1
        return cls(
            np.concatenate([np.zeros(0, np.int32), *segments]).astype(np.int32, copy=False),
            rows_of(row_lengths),
            places_of(row_lengths),
            np.repeat(numbers, lengths),
            places_of(lengths),
            (len(rows), length),
        )

    def fill(
        self, values: Shaped[np.ndarray, " tokens"], dtype: Any = np.int32
    ) -> Shaped[np.ndarray, "rows length"]:
        """Returns rows with a value at every token and 0 elsewhere."""
        filled = np.zeros(self.shape, dtype)
        filled[self.rows, self.columns] = values
        return filled

    def shifted(self) -> Int[np.ndarray, "rows length"]:
        """Returns rows of decoder inputs: BOS (0) at the start of every segment."""
        return self.fill(np.where(self.positions == 0, 0, np.roll(self.tokens, 1)))

    def where(self, prefix: str) -> dict[str, np.ndarray]:
        """Returns the features that tell segments apart, named after "encoder" or "decoder"."""
        return {
            f"{prefix}_segment_ids": self.fill(self.segment_ids),
            f"{prefix}_positions": self.fill(self.positions),
        }


def pack_examples(examples: Sequence[Example], lengths: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Packs examples into as few rows as their order allows; returns T5X's packed features.

    Segments are numbered from 1 in a row (0 is padding), positions restart at 0 in each segment,
    and decoder inputs are shifted within a segment, so no example sees its neighbour's last token.

    Args:
      examples: {"inputs": tokens, "targets": tokens}, EOS included, none empty.
      lengths: {"inputs": tokens, "targets": tokens} of a row.

    Returns:
      int32[rows, length] encoder_input_tokens, encoder_segment_ids, encoder_positions,
      decoder_target_tokens, decoder_input_tokens, decoder_segment_ids, decoder_positions, and
      float32[rows, length] decoder_loss_weights.

    Raises:
      ValueError: an example is empty or longer than a row.

    >>> example = {"inputs": np.array([7, 1]), "targets": np.array([3, 1])}
    >>> pack_examples([example] * 2, {"inputs": 5, "targets": 4})["encoder_segment_ids"]
    array([[1, 1, 2, 2, 0]], dtype=int32)
    """
    _check_examples(examples, lengths)
    sizes = [[len(example[feature]) for feature in PAIR_FEATURES] for example in examples]
    order = [lengths[feature] for feature in PAIR_FEATURES]
    starts = assign_rows(np.reshape(sizes, (-1, len(PAIR_FEATURES))), order)
    stops = [*starts[1:].tolist(), len(examples)]
    rows = [examples[start:stop] for start, stop in zip(starts.tolist(), stops)]
    return segment_rows(rows, lengths)


def segment_rows(
    rows: Sequence[Sequence[Example]], lengths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Returns the features of `pack_examples` for rows whose examples fit; empty rows are zeros."""
    encoder, decoder = (
        Segments.place([[example[name] for example in row] for row in rows], lengths[name])
        for name in PAIR_FEATURES
    )
    targets = decoder.fill(decoder.tokens)
    return {
        "encoder_input_tokens": encoder.fill(encoder.tokens),
        **encoder.where("encoder"),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": decoder.shifted(),
        **decoder.where("decoder"),
        "decoder_loss_weights": (targets != 0).astype(np.float32),
    }
