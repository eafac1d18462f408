"""Fixed-shape batches from token stores: batch t is a pure function of (seed, t).

The data position of a run is therefore its step. Process p of P reads rows p*B/P ... of the same
global batch, so another host count changes nothing. Order and layout are decided in `rows`, noise
in `span_corruption`; here tokens are read, corrupted, padded and labelled, ahead of time in Grain's
threads.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Int

from presence_t5x._validate import check_int
from presence_t5x.config_types import DataConfig
from presence_t5x.data.mixing import RowGroup
from presence_t5x.data.packing import shift_right
from presence_t5x.data.rows import RowOrder
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_corruption import corrupt_rows, mask_key
from presence_t5x.data.span_lengths import check_span_corruption
from presence_t5x.data.token_store import TokenStore

MIXED_LABEL = "mixed"
_NUM_THREADS = 2
_PREFETCHED_BATCHES = 4


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


class RawRow(NamedTuple):
    """Tokens before corruption, and the labels of the row."""

    tokens: Int[np.ndarray, " tokens"]
    example_id: str
    language: str
    source: str
    noise: str


class Corruption:
    """Span corruption with the settings of a run; pads and stacks the result."""

    def __init__(self, data_config: DataConfig, vocabulary: Any):
        """Raises ValueError for every setting with which a row could fail to fit."""
        self._lengths: Mapping[str, int] = data_config.task_feature_lengths
        self._eos_id = vocabulary.eos_id
        self._settings = {
            "noise_density": data_config.noise_density,
            "mean_span": data_config.mean_noise_span_length,
        }
        self._sentinels = sentinels_of(vocabulary)
        self.raw_length = check_span_corruption(
            self._lengths["inputs"],
            self._lengths["targets"],
            self._sentinels.num_sentinels,
            **self._settings,
        )

    def batch(self, rows: Sequence[tuple[RawRow, int]], batch_size: int) -> Batch:
        """Corrupts rows, each with its own key; missing rows are all zeros."""
        inputs, targets = (
            corrupted.pad(batch_size, self._lengths[name])
            for name, corrupted in zip(
                ("inputs", "targets"),
                corrupt_rows(
                    [row.tokens for row, _ in rows],
                    [key for _, key in rows],
                    self._sentinels.first_id,
                    self._eos_id,
                    num_sentinels=self._sentinels.num_sentinels,
                    **self._settings,
                ),
            )
        )
        features = {
            "encoder_input_tokens": inputs,
            "decoder_target_tokens": targets,
            "decoder_input_tokens": shift_right(targets.T).T,
            "decoder_loss_weights": (targets != 0).astype(np.float32),
        }
        empty = RawRow(np.zeros(0, np.int32), "", "", "", "")
        labels = [row[1:] for row, _ in rows] + [empty[1:]] * (batch_size - len(rows))
        return Batch(features, *(list(column) for column in zip(*labels)))


def _common(labels: Sequence[str]) -> str:
    return labels[0] if len(set(labels)) == 1 else MIXED_LABEL


def read_row(
    store: TokenStore, pieces: Sequence[tuple[int, int, int]], segment_length: int | None = None
) -> RawRow:
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
    labels = (_common([getattr(d, name) for d in documents]) for name in RawRow._fields[2:])
    return RawRow(np.concatenate(tokens), "|".join(ids), *labels)


class PreparedBatches:
    """The endless batches of a mixture of stores, by step."""

    def __init__(
        self,
        groups: Sequence[RowGroup],
        data_config: DataConfig,
        vocabulary: Any,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Locates rows; reads nothing yet.

        Args:
          groups: what is mixed.
          data_config: lengths, batch size over all processes, layout, seed.
          vocabulary: the one the stores were written with.
          process_index: this process reads rows process_index * B / P and on.
          process_count: P, must divide the batch size.

        Raises:
          ValueError: P does not divide B, lengths that do not fit, too few tokens for a row.
        """
        check_int("process_count", process_count, minimum=1)
        check_int("process_index", process_index, minimum=0)
        if process_index >= process_count or data_config.batch_size % process_count:
            raise ValueError(
                f"process_count={process_count} must divide batch_size={data_config.batch_size} "
                f"and exceed process_index={process_index}"
            )
        self._seed = data_config.seed
        self._batch_size = data_config.batch_size
        self._local_size = data_config.batch_size // process_count
        self._first_row = process_index * self._local_size
        self._corruption = Corruption(data_config, vocabulary)
        self._order = RowOrder(
            groups, self._corruption.raw_length, pack=data_config.pack, seed=data_config.seed
        )
        self._segment_length = None if data_config.pack else self._corruption.raw_length
        self._next_step = 0

    @property
    def rows_per_epoch(self) -> list[int]:
        """Rows of one epoch of each group."""
        return self._order.rows_per_epoch

    def epochs_at(self, step: int) -> list[dict[str, Any]]:
        """Returns how often each group's rows have been seen after `step` steps."""
        epochs = self._order.epochs_at(step * self._batch_size)
        return [
            {"group": group.name, "epochs": passes, "rows_per_epoch": rows}
            for group, passes, rows in zip(self._order.groups, epochs, self.rows_per_epoch)
        ]

    def batch_at(self, step: int) -> Batch:
        """Returns this process's rows of batch `step` (0, 1, ...); changes no state."""
        check_int("step", step, minimum=0)
        first = step * self._batch_size + self._first_row
        rows = [self._read(index) for index in range(first, first + self._local_size)]
        return self._corruption.batch(rows, self._local_size)

    def _read(self, index: int) -> tuple[RawRow, int]:
        row = self._order.row(index)
        raw = read_row(self._order.groups[row.group].store, row.pieces, self._segment_length)
        first = row.pieces[0]
        # A packed row's id does not say where in its first document it begins.
        key = raw.example_id if self._segment_length else f"{raw.example_id}@{first.start}"
        return raw, mask_key(self._seed, key, row.epoch)

    def iterate(self, start_step: int | None = None) -> Iterator[Batch]:
        """Yields batch_at(start_step), batch_at(start_step + 1), ..., read ahead by threads.

        Args:
          start_step: None continues from the state.
        """
        step = self._next_step if start_step is None else start_step
        check_int("start_step", step, minimum=0)
        options = grain.ReadOptions(
            num_threads=_NUM_THREADS, prefetch_buffer_size=_PREFETCHED_BATCHES
        )
        steps = grain.MapDataset.range(step, 2**40)
        for batch in steps.map(self.batch_at).to_iter_dataset(options):
            step += 1
            self._next_step = step
            yield batch

    def get_state(self) -> bytes:
        """Returns the step of the next batch of `iterate`."""
        return json.dumps({"step": self._next_step}).encode()

    def set_state(self, state: bytes) -> None:
        """Makes the next `iterate()` continue where `get_state` was called."""
        self._next_step = int(json.loads(state)["step"])
