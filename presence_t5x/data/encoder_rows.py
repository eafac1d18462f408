"""Features of encoder-only models: masked tokens of text, and one label for the inputs of a pair.

Names are those of `seqio.EncoderFeatureConverter`, whose loss is where the input is the mask; here
it is on all chosen tokens, those that were replaced or left among them (`masked_tokens`).

Rows begin with the begin token, which a classifier reads. EOS stands where a document ends, and
behind the inputs of a label. With `pack` segment ids and positions tell documents apart; in a
packed row what is left of a document that began in the row before has a begin token as well.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from presence_t5x.config_types import DataConfig
from presence_t5x.data.masked_tokens import EncoderIds, mask_rows, with_begin
from presence_t5x.data.packing import Segments
from presence_t5x.data.raw_rows import Frame, PairRow, TextRow
from presence_t5x.data.seeded_rows import RaggedRows


class MaskedTokenRows:
    """Text with some of its tokens hidden."""

    def __init__(self, data_config: DataConfig, ids: EncoderIds, frame: Frame):
        """Args: length, noise, whether documents share a row; special ids; those of documents."""
        self._length = data_config.task_feature_lengths["inputs"]
        self._pack = data_config.pack
        self._noise_density = data_config.noise_density
        self._ids = ids
        self._frame = frame

    def features(self, rows: Sequence[tuple[TextRow, int]], num_rows: int) -> dict[str, np.ndarray]:
        """Returns the features of rows, each with its own key; missing rows are all zeros."""
        found = [self._segments(row) for row, _ in rows]
        placed = Segments.place([*found, *([[]] * (num_rows - len(rows)))], self._length)
        whole = RaggedRows(placed.tokens, np.array([sum(map(len, row)) for row in found]))
        keys = [key for _, key in rows]
        masked = mask_rows(whole, keys, self._ids, noise_density=self._noise_density)
        return {
            "encoder_input_tokens": placed.fill(masked.inputs.tokens),
            "encoder_target_tokens": placed.fill(placed.tokens),
            "encoder_loss_weights": placed.fill(masked.is_chosen, np.float32),
            **(placed.where("encoder") if self._pack else {}),
        }

    def _segments(self, row: TextRow) -> list[Int[np.ndarray, " tokens"]]:
        first, *others = self._frame.segments(row)
        return [with_begin(first, self._ids), *others]


class LabelRows:
    """The inputs of pairs, and which of the labels their targets name."""

    def __init__(
        self, data_config: DataConfig, ids: EncoderIds, labels: Mapping[tuple[int, ...], int]
    ):
        """Args: the length of the inputs; special ids; tokens of a label's name -> its number."""
        self._length = data_config.task_feature_lengths["inputs"]
        self._ids = ids
        self._labels = labels

    def features(self, rows: Sequence[tuple[PairRow, int]], num_rows: int) -> dict[str, np.ndarray]:
        """Returns tokens and labels; missing rows are all zeros, their labels -1.

        Raises:
          ValueError: targets that name no label.
        """
        inputs = [frame_inputs(row.pairs[0][0], self._length, self._ids) for row, _ in rows]
        labels = np.full(num_rows, -1, np.int32)
        labels[: len(rows)] = [self._label(row) for row, _ in rows]
        tokens = RaggedRows.join(inputs).pad(num_rows, self._length)
        return {"encoder_input_tokens": tokens, "labels": labels}

    def _label(self, row: PairRow) -> int:
        found = self._labels.get(tuple(row.pairs[0][1].tolist()))
        if found is None:
            raise ValueError(
                f"example {row.example_id!r} has targets that are none of the labels; name all of "
                "them in label_names, or leave the example out"
            )
        return found


def frame_inputs(
    tokens: Int[np.ndarray, " inputs"], length: int, ids: EncoderIds
) -> Int[np.ndarray, " framed"]:
    """Returns what a classifier reads: the begin token, at most `length` - 2 inputs, EOS; int32."""
    kept = tokens[: length - 2]
    return np.concatenate([[ids.begin], kept, [ids.eos]]).astype(np.int32)
