"""Features of decoder-only models: the next token of text, and targets behind their inputs.

They are those of `seqio.LMFeatureConverter` and `seqio.PrefixLMFeatureConverter`. Decoder inputs
are the targets shifted right, BOS (0) first; with `pack` in every segment, and segment ids and
positions tell documents or pairs apart. Without it a row is shifted as a whole, so that EOS is an
input, too, where padding begins; it has no loss there.
"""

from collections.abc import Sequence

import numpy as np

from presence_t5x.config_types import DataConfig
from presence_t5x.data.packing import PAIR_FEATURES, Segments, target_features
from presence_t5x.data.raw_rows import Frame, PairRow, TextRow, trim_tokens


class NextTokenRows:
    """Text as it is, EOS where a document ends; the loss is on every token."""

    def __init__(self, data_config: DataConfig, frame: Frame):
        """Args: the length of the targets, and whether documents share a row; EOS."""
        self._length = data_config.task_feature_lengths["targets"]
        self._pack = data_config.pack
        self._frame = frame

    def features(self, rows: Sequence[tuple[TextRow, int]], num_rows: int) -> dict[str, np.ndarray]:
        """Returns the features of rows; missing ones are all zeros."""
        found = [self._frame.segments(row) for row, _ in rows]
        placed = Segments.place([*found, *([[]] * (num_rows - len(rows)))], self._length)
        return decoder_features(placed, has_segments=self._pack)


class PrefixRows:
    """Pairs: each one's targets behind its inputs, both with EOS; the loss is on targets alone."""

    def __init__(self, data_config: DataConfig, eos_id: int):
        """Args: the lengths of inputs and targets, and whether pairs share a row; EOS."""
        self._limits = [data_config.task_feature_lengths[name] for name in PAIR_FEATURES]
        self._pack = data_config.pack
        self._eos_id = eos_id

    def features(self, rows: Sequence[tuple[PairRow, int]], num_rows: int) -> dict[str, np.ndarray]:
        """Returns the features of rows, and which inputs are a prefix; missing rows are zeros."""
        found = [[self._trim(pair) for pair in row.pairs] for row, _ in rows]
        lines = [[np.concatenate(pair) for pair in row] for row in found]
        prefixes = np.array([len(inputs) for row in found for inputs, _ in row])
        placed = Segments.place([*lines, *([[]] * (num_rows - len(rows)))], sum(self._limits))
        prefixes = np.repeat(prefixes, [len(line) for row in lines for line in row])
        features = decoder_features(placed, has_segments=self._pack)
        # One more place than there are inputs: there the last of them is read, and the first
        # target is predicted.
        is_prefix = placed.fill(placed.positions <= prefixes)
        is_target = placed.fill(placed.positions >= prefixes, np.float32)
        return features | {
            "decoder_loss_weights": is_target,
            "decoder_causal_attention": is_prefix,
        }

    def _trim(self, pair: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [trim_tokens(*side, self._eos_id) for side in zip(pair, self._limits)]


def decoder_features(placed: Segments, *, has_segments: bool) -> dict[str, np.ndarray]:
    """Returns the features of rows with a loss on every token.

    Args:
      placed: the targets.
      has_segments: every segment begins anew, and is told apart from the others of its row.
    """
    features = target_features(placed.fill(placed.tokens))
    if not has_segments:
        return features
    return features | {"decoder_input_tokens": placed.shifted(), **placed.where("decoder")}
