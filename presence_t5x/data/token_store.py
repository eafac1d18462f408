"""Prepared data: documents tokenised once, readable by index.

A store is a directory of ArrayRecord parts (one record a document), small index arrays (token
counts, label codes and, where there are pairs, how many of the tokens are inputs, so that rows can
be located without reading; memory-mapped, because mC4 has 6.6 billion documents), `problems.jsonl`
(what of the input was left out, by file and line), the vocabulary's model file and `manifest.json`.
It appears by one rename: a directory with this name is complete. Nothing in it but the manifest's
`command` depends on time, machine or number of processes: the same documents, vocabulary,
parameters and versions give the same bytes. No pickle anywhere.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Int

from presence_t5x.data.manifests import check_index_array, check_manifest
from presence_t5x.data.token_records import TokenizedDocument, decode_record
from presence_t5x.files import DamagedFileError
from presence_t5x.json_files import read_json_object

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
PROBLEMS_NAME = "problems.jsonl"
VOCABULARY_NAME = "vocabulary.model"
TOKEN_COUNTS, INPUT_COUNTS = "token_counts", "input_counts"
LABEL_NAMES = ("split", "language", "source", "noise")


class TaskRange(NamedTuple):
    """The documents of one task: a contiguous range, and its rate in a mixture."""

    name: str
    rate: float
    first_document: int
    num_documents: int


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """An open store; `store[i]` reads document i from disk.

    Attributes:
      directory: where it lives.
      manifest: the contents of manifest.json.
      token_counts: tokens of each document, without EOS; of a pair those of inputs and targets.
      input_counts: how many of them are inputs, 0 for text; None if no document is a pair.
      codes: for each of `LABEL_NAMES` the index into `labels(name)` of each document.
    """

    directory: Path
    manifest: Mapping[str, Any]
    token_counts: Int[np.ndarray, " documents"]
    input_counts: Int[np.ndarray, " documents"] | None
    codes: Mapping[str, Int[np.ndarray, " documents"]]
    _records: ArrayRecordDataSource

    def __len__(self) -> int:
        return int(self.manifest["num_documents"])

    def __getitem__(self, index: int) -> TokenizedDocument:
        """Reads one document.

        Raises:
          DamagedFileError: its record is damaged; names the part.
        """
        try:
            document = decode_record(self._records[index])
            if document.tokens.size != self.token_counts[index]:
                raise ValueError(
                    f"it has {document.tokens.size} tokens, the index says "
                    f"{self.token_counts[index]}"
                )
        except (RuntimeError, ValueError) as error:
            raise DamagedFileError(
                f"{self.directory / self._part_of(index)}: record of document {index} is damaged "
                f"({error}); delete the store directory to write it again"
            ) from error
        if self.input_counts is None:
            return document
        return document._replace(num_inputs=int(self.input_counts[index]))

    @property
    def num_tokens(self) -> int:
        """All tokens, without any EOS."""
        return int(self.manifest["num_tokens"])

    @property
    def num_pairs(self) -> int:
        """How many documents are pairs of inputs and targets; the others are text."""
        return num_pairs(self.manifest)

    @property
    def tasks(self) -> list[TaskRange]:
        """The tasks in order; their ranges follow one another."""
        names = TaskRange._fields
        return [TaskRange(*(task[name] for name in names)) for task in self.manifest["tasks"]]

    def labels(self, name: str) -> list[str]:
        """Returns the values of one of `LABEL_NAMES` that documents have, in order of code."""
        return list(self.manifest["labels"][name])

    def label_of(self, document: int, name: str) -> str:
        """Returns one of `LABEL_NAMES` of a document, which is not read."""
        return self.manifest["labels"][name][int(self.codes[name][document])]

    def documents_with(self, **labels: str | None) -> Int[np.ndarray, " selected"]:
        """Returns the indices of the documents with these labels (None is any).

        Args:
          **labels: values by `LABEL_NAMES`, e.g. split="train", language="sw".
        """
        keep = np.ones(len(self), bool)
        for name, value in labels.items():
            if value is not None:
                values = self.labels(name)
                keep &= self.codes[name] == values.index(value) if value in values else False
        return np.flatnonzero(keep)

    def documents_of(self, split: str, within: range) -> range | Int[np.ndarray, " selected"]:
        """Returns those of a range of documents that are in a split, as a range where possible."""
        values = self.labels("split")
        if split not in values:
            return range(0)
        chosen = np.flatnonzero(
            self.codes["split"][within.start : within.stop] == values.index(split)
        )
        if chosen.size and chosen[-1] - chosen[0] + 1 == chosen.size:
            return range(within.start + int(chosen[0]), within.start + int(chosen[-1]) + 1)
        return within.start + chosen

    def verify(self) -> None:
        """Reads every part and compares its SHA-256.

        Raises:
          ValueError: names the first part whose bytes have changed.
        """
        for part in self.manifest["parts"]:
            _check_sha256(self.directory / part["name"], part["sha256"])

    def _part_of(self, index: int) -> str:
        ends = np.cumsum([part["num_documents"] for part in self.manifest["parts"]])
        return self.manifest["parts"][int(np.searchsorted(ends, index, side="right"))]["name"]

    def __iter__(self) -> Iterator[TokenizedDocument]:
        return (self[index] for index in range(len(self)))


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sha256(path: Path, expected: str) -> None:
    if file_sha256(path) != expected:
        raise ValueError(
            f"{path}: SHA-256 differs from {MANIFEST_NAME}; the file is damaged, delete the store "
            "directory to write it again"
        )


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise ValueError(
            f"{path}: missing although {MANIFEST_NAME} lists it; delete the store directory to "
            "write it again"
        )
    size = os.path.getsize(path)
    if size != expected:
        raise ValueError(
            f"{path}: {size} bytes but {MANIFEST_NAME} says {expected}; the file is damaged, "
            "delete the store directory to write it again"
        )


def read_manifest(directory: str | os.PathLike) -> dict[str, Any]:
    """Returns the manifest of a store.

    Raises:
      ValueError: there is none, it is damaged, or another version wrote it.
    """
    path = Path(directory) / MANIFEST_NAME
    if not path.is_file():
        raise ValueError(f"{directory} is no token store: it has no {MANIFEST_NAME}")
    manifest = read_json_object(path, "delete the store directory to write it again")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version={version} but this version reads {FORMAT_VERSION}; delete the "
            "store directory to write it again"
        )
    check_manifest(manifest, path, LABEL_NAMES)
    return manifest


def num_pairs(manifest: Mapping[str, Any]) -> int:
    """Returns how many documents of a store are pairs of inputs and targets."""
    return int(manifest.get("num_pairs", 0))  # not in the manifests of earlier stores


def open_store(directory: str | os.PathLike) -> TokenStore:
    """Opens a store after checking its manifest, the size of its parts and its index arrays.

    `TokenStore.verify` also compares the parts' SHA-256, which reads all of them.

    Raises:
      ValueError: no store, or a missing or damaged file, which is named.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    for part in manifest["parts"]:
        _check_size(directory / part["name"], part["num_bytes"])
    arrays = {}
    for name, expected in manifest["index"].items():
        path = directory / f"{name}.npy"
        _check_size(path, expected["num_bytes"])
        _check_sha256(path, expected["sha256"])
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            check_index_array(name, arrays[name], manifest)
        except ValueError as error:
            raise ValueError(
                f"{path}: {error}; delete the store directory to write it again"
            ) from error
    records = ArrayRecordDataSource(
        [f"{directory / part['name']}[0:{part['num_documents']}]" for part in manifest["parts"]]
    )
    return TokenStore(
        directory=directory,
        manifest=manifest,
        token_counts=arrays.pop(TOKEN_COUNTS),
        input_counts=arrays.pop(INPUT_COUNTS, None),
        codes=arrays,
        _records=records,
    )
