"""Documents of a token store as rows of a model: every document's segments, in order.

A document of text is cut into segments as training cuts it without packing, and each is corrupted
by a key that depends on its id (and the seed) alone: neither on its neighbours nor on where it
stands. A pair is one row.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int

from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import id_hash
from presence_t5x.data.layouts import cut_document
from presence_t5x.data.raw_rows import PairRow, TextRow, read_pair_row, text_row
from presence_t5x.data.row_features import Batch, RowFeatures
from presence_t5x.data.store_writer import ReportTotal
from presence_t5x.data.token_store import MANIFEST_NAME, TokenStore, open_store

if TYPE_CHECKING:  # it imports TensorFlow
    import seqio


class DocumentBatch(NamedTuple):
    """A batch, and of each row which document it is of; -1 is padding."""

    batch: Batch
    documents: Int[np.ndarray, " rows"]


class Corpus:
    """A store's documents, as rows."""

    def __init__(
        self, store: TokenStore, data: DataConfig, vocabulary: "seqio.Vocabulary", seed: int
    ):
        """Reads nothing yet.

        Args:
          store: the documents.
          data: lengths and noise of the rows.
          vocabulary: of the store.
          seed: of the masks.

        Raises:
          ValueError: lengths that do not fit the noise, or too few sentinels.
        """
        self.store = store
        self._features = RowFeatures(
            data,
            vocabulary,
            has_text=store.num_pairs < len(store),
            has_pairs=store.num_pairs > 0,
        )
        self._seed = seed

    def batches(self, documents: range, batch_size: int) -> Iterator[DocumentBatch]:
        """Yields all rows of some documents in order; the last batch is padded."""
        waiting: list[tuple[int, TextRow | PairRow]] = []
        for document in documents:
            for row in self._rows(document):
                waiting.append((document, row))
                if len(waiting) == batch_size:
                    yield self._batch(waiting, batch_size)
                    waiting = []
        if waiting:
            yield self._batch(waiting, batch_size)

    def _rows(self, document: int) -> Iterator[TextRow | PairRow]:
        """The rows of a document, which is read once; none if it is too short to be corrupted."""
        counts = self.store.input_counts
        if counts is not None and counts[document]:
            yield read_pair_row(self.store, [document])
            return
        length, frame = self._features.plan
        size = int(self.store.token_counts[document]) + frame.size
        if pieces := cut_document(size, length):
            read = self.store[document]
            for start, stop in pieces:
                yield text_row([(read, start, stop)], length, frame)

    def _batch(self, rows: list[tuple[int, TextRow | PairRow]], batch_size: int) -> DocumentBatch:
        seeded = [(row, id_hash(f"score/{self._seed}/{row.example_id}")) for _, row in rows]
        documents = [document for document, _ in rows] + [-1] * (batch_size - len(rows))
        return DocumentBatch(self._features.batch(seeded, batch_size), np.array(documents))


def open_input(
    name: str,
    vocabulary: "seqio.Vocabulary",
    directory: Path,
    *,
    progress: ReportTotal = lambda progress: None,
    **settings: Any,
) -> TokenStore:
    """Opens the store that is named, or writes that of a task or of files.

    Args:
      name: a store's directory, or what `find_source` takes.
      vocabulary: of the model.
      directory: of a store that is written; one that is there is opened.
      progress: called with the totals while it is written.
      **settings: of `find_source`.

    Raises:
      ValueError: no such input, no document, or a store of another vocabulary.
    """
    # They import TensorFlow, which takes seconds.
    from presence_t5x.data.inputs import find_source
    from presence_t5x.data.prepared import describe_vocabulary, write_store

    if (Path(name) / MANIFEST_NAME).is_file():
        store = open_store(name)
    else:
        source = find_source(name, **settings)
        store = write_store(source, directory, vocabulary, progress=progress)
    found, wanted = store.manifest["vocabulary"], describe_vocabulary(vocabulary)
    if found["sha256"] != wanted["sha256"]:
        raise ValueError(
            f"{store.directory} has another vocabulary ({found.get('num_ids')} ids) than the model "
            f"({wanted['num_ids']} ids): its token ids would mean other pieces; prepare it again "
            "with the model's"
        )
    return store
