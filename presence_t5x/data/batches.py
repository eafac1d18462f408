"""Fixed-shape batches from token stores: batch t is a pure function of (seed, t).

The data position of a run is therefore its step. Process p of P reads rows p*B/P ... of the same
global batch, so another host count changes nothing. Order and layout are decided in `rows`, what
becomes of a row in `row_features`; here rows are read, ahead of time in Grain's threads.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import Int

from presence_t5x._validate import check_int, check_process
from presence_t5x.config_types import DataConfig
from presence_t5x.data.composition import compose_units, row_label
from presence_t5x.data.mixing import RowGroup
from presence_t5x.data.raw_rows import PairRow, TextRow, read_pair_row, read_text_row
from presence_t5x.data.row_features import Batch, RowFeatures, count_trimmed
from presence_t5x.data.rows import Row, RowOrder
from presence_t5x.data.seeded_rows import mask_key

_NUM_THREADS = 2
_PREFETCHED_BATCHES = 4


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
        units: Int[np.ndarray, "units rows_each"] | None = None,
    ):
        """Locates rows; reads nothing yet.

        Args:
          groups: what is mixed.
          data_config: lengths, batch size over all processes, layout, seed.
          vocabulary: the one the stores were written with.
          process_index: this process reads rows process_index * B / P and on.
          process_count: P, must divide the batch size.
          units: which rows of a whole batch form each unit (`accumulation.rows_of_units`); needed
            by a `microbatch_composition` other than "random".

        Raises:
          ValueError: P does not divide B, lengths that do not fit, too few tokens for a row, or no
            units to compose.
        """
        check_process(process_index, process_count, data_config.batch_size)
        self._composition = data_config.microbatch_composition
        if self._composition != "random" and units is None:
            raise ValueError(
                f"microbatch_composition={self._composition!r} needs units=rows_of_units(...) to "
                "fill with rows"
            )
        self._units = units
        self._seed = data_config.seed
        self._batch_size = data_config.batch_size
        self._local_size = data_config.batch_size // process_count
        self._first_row = process_index * self._local_size
        self._config = data_config
        self._features = RowFeatures(
            data_config,
            vocabulary,
            has_text=not all(group.is_pairs for group in groups),
            has_pairs=any(group.is_pairs for group in groups),
        )
        self._order = RowOrder(
            groups,
            self._features.raw_length,
            pack=data_config.pack,
            seed=data_config.seed,
            lengths=data_config.task_feature_lengths,
            num_special=self._features.plan.frame.size,
            in_line=data_config.objective == "prefix",
        )
        self._segment_length = None if data_config.pack else self._features.raw_length
        self._next_step = 0

    @property
    def rows_per_epoch(self) -> list[int]:
        """Rows of one epoch of each group."""
        return self._order.rows_per_epoch

    def manifests(self) -> dict[str, Any]:
        """Returns the manifest of each group's store, by the group's name."""
        return {group.name: group.store.manifest for group in self._order.groups}

    def epochs(self) -> list[dict[str, Any]]:
        """Returns how often each group's rows have been seen up to the next batch of `iterate`."""
        epochs = self._order.epochs_at(self._next_step * self._batch_size)
        return [
            {"group": group.name, "epochs": passes, "rows_per_epoch": rows}
            for group, passes, rows in zip(self._order.groups, epochs, self.rows_per_epoch)
        ]

    def trimmed(self) -> list[dict[str, Any]]:
        """Returns of how many pairs of each group inputs or targets are longer than a row."""
        return [
            {"group": group.name, "pairs": len(group.documents)}
            | count_trimmed(group, self._config)
            for group in self._order.groups
            if group.is_pairs
        ]

    def batch_at(self, step: int) -> Batch:
        """Returns this process's rows of batch `step` (0, 1, ...); changes no state."""
        check_int("step", step, minimum=0)
        rows = [self._read(row) for row in self._rows_at(step)]
        return self._features.batch(rows, self._local_size)

    def _rows_at(self, step: int) -> list[Row]:
        """This process's rows of a batch; which they are may depend on the labels of all."""
        first = step * self._batch_size
        mine = slice(self._first_row, self._first_row + self._local_size)
        if self._composition == "random":
            return [self._order.row(first + place) for place in range(mine.start, mine.stop)]
        rows = [self._order.row(first + place) for place in range(self._batch_size)]
        stores = [self._order.groups[row.group].store for row in rows]
        labels = [row_label(*pair, self._composition) for pair in zip(stores, rows)]
        assert self._units is not None
        return [rows[place] for place in compose_units(labels, self._units)[mine]]

    def _read(self, row: Row) -> tuple[TextRow | PairRow, int]:
        group, first = self._order.groups[row.group], row.pieces[0]
        if group.is_pairs:
            return read_pair_row(group.store, [piece.document for piece in row.pieces]), 0
        frame = self._features.plan.frame
        raw = read_text_row(group.store, row.pieces, self._segment_length, frame)
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
