"""Several whole examples in one row, told apart by segment ids, as seqio packs them.

Not to be confused with what `DataConfig.pack` makes of text in the prepared reader: raw documents
are concatenated before corruption. Here finished (inputs, targets) pairs share a row and must not
see each other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

_PREFIXES = {"inputs": "encoder", "targets": "decoder"}
Example = Mapping[str, Int[np.ndarray, " tokens"]]


def shift_right(targets: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " tokens"]:
    """Returns decoder inputs: BOS (0), then every target but the last.

    >>> shift_right(np.array([3, 9, 1]))
    array([0, 3, 9])
    """
    return np.concatenate([np.zeros_like(targets[:1]), targets[:-1]])


def _check_examples(examples, lengths):
    if set(lengths) != set(_PREFIXES):
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


def _fill(features, row, prefix, position, segment_id, tokens):
    """Writes one example's tokens, segment id and positions into a row."""
    where = (row, slice(position, position + len(tokens)))
    name = "encoder_input_tokens" if prefix == "encoder" else "decoder_target_tokens"
    features[name][where] = tokens
    features[f"{prefix}_segment_ids"][where] = segment_id
    features[f"{prefix}_positions"][where] = np.arange(len(tokens))
    if prefix == "decoder":
        features["decoder_input_tokens"][where] = shift_right(np.asarray(tokens))
        features["decoder_loss_weights"][where] = np.asarray(tokens) != 0


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
    sizes = [[len(example[feature]) for feature in _PREFIXES] for example in examples]
    order = [lengths[feature] for feature in _PREFIXES]
    starts = assign_rows(np.reshape(sizes, (-1, len(_PREFIXES))), order)
    stops = [*starts[1:].tolist(), len(examples)]
    rows = [examples[start:stop] for start, stop in zip(starts.tolist(), stops)]
    return segment_rows(rows, lengths)


def segment_rows(
    rows: Sequence[Sequence[Example]], lengths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Returns the features of `pack_examples` for rows whose examples fit; empty rows are zeros."""
    features = {}
    for feature, prefix in _PREFIXES.items():
        tokens = ("input",) if prefix == "encoder" else ("target", "input")
        for name in [*(f"{kind}_tokens" for kind in tokens), "segment_ids", "positions"]:
            features[f"{prefix}_{name}"] = np.zeros((len(rows), lengths[feature]), np.int32)
    features["decoder_loss_weights"] = np.zeros((len(rows), lengths["targets"]), np.float32)
    for row, examples in enumerate(rows):
        used = dict.fromkeys(lengths, 0)
        for segment_id, example in enumerate(examples, start=1):
            for feature, prefix in _PREFIXES.items():
                tokens = example[feature]
                _fill(features, row, prefix, used[feature], segment_id, tokens)
                used[feature] += len(tokens)
    return features
