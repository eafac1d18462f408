"""Some documents of a store as a store of their own, token for token."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from presence_t5x.data.documents import Part
from presence_t5x.data.part_writer import Progress, write_documents
from presence_t5x.data.store_writer import ReportTotal, assemble_store
from presence_t5x.data.token_store import VOCABULARY_NAME, TokenStore

_DOCUMENTS_A_PART = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubsetPart(Part):
    """Consecutive kept documents of one task and split, by their numbers in the whole store."""

    documents: Sequence[int]


def write_subset(
    store: TokenStore,
    kept: Bool[np.ndarray, " documents"],
    directory: str | os.PathLike,
    *,
    parameters: Mapping[str, Any],
    progress: ReportTotal = lambda progress: None,
    command: Sequence[str] = (),
) -> TokenStore:
    """Writes a store of some documents and opens it, as `prepare_store` does; labels stay.

    Documents keep their order within a task and split.

    Args:
      store: the whole.
      kept: which documents.
      directory: of the new store.
      parameters: how they were chosen, for the manifest.
      progress: called with the totals so far.
      command: for the manifest.

    Raises:
      ValueError: a task keeps no document, or `directory` was made of other things.
    """
    subset = _Subset(store, kept, parameters)
    model = store.directory / VOCABULARY_NAME

    def write(work: Path, missing: Sequence[tuple[int, Part]]) -> None:
        total = Progress(0, 0, 0)
        for number, part in missing:
            assert isinstance(part, SubsetPart)
            documents = ((store[document], document) for document in part.documents)
            write_documents(work, number, part, documents)
            num_tokens = int(store.token_counts[list(part.documents)].sum())
            total = Progress(
                total.num_documents + len(part.documents), total.num_tokens + num_tokens, 0
            )
            progress(total)

    return assemble_store(
        subset,
        directory,
        write,
        vocabulary=store.manifest["vocabulary"],
        vocabulary_model=model.read_bytes() if model.is_file() else None,
        command=command,
    )


class _Subset:
    """A `Listing` of parts that are tokens already."""

    def __init__(self, store: TokenStore, kept: np.ndarray, parameters: Mapping[str, Any]):
        self._store, self._kept, self._parameters = store, kept, parameters

    def parts(self) -> list[SubsetPart]:
        return [
            SubsetPart(
                name=f"{task.name} {split} {start}",
                file=str(self._store.directory),
                task=task.name,
                split=split,
                documents=chosen[start : start + _DOCUMENTS_A_PART],
            )
            for task in self._store.tasks
            for split in self._store.labels("split")
            for chosen in [self._chosen(task.first_document, task.num_documents, split)]
            for start in range(0, len(chosen), _DOCUMENTS_A_PART)
        ]

    def _chosen(self, first: int, number: int, split: str) -> list[int]:
        within = np.asarray(self._store.documents_of(split, range(first, first + number)))
        return within[self._kept[within]].tolist() if within.size else []

    def task_rates(self) -> dict[str, float]:
        return {task.name: task.rate for task in self._store.tasks}

    def parameters(self) -> dict[str, Any]:
        return {
            "subset_of": self._store.manifest["content_sha256"],
            "documents_sha256": hashlib.sha256(np.packbits(self._kept).tobytes()).hexdigest(),
            **self._parameters,
        }
