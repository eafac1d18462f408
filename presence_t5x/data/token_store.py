"""Prepared data: documents tokenised once, readable by index.

A store is a directory of ArrayRecord shards (one record a document), three small index arrays
(token counts and label codes, so that rows can be located without reading) and `manifest.json`. It
appears by one rename: a directory with this name is complete, and what a killed writer left behind
is removed by the next one. Nothing in it depends on time or machine: the same documents, vocabulary
and parameters give the same bytes. No pickle anywhere.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Int

from presence_t5x.data.token_records import TokenizedDocument, decode_record

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
INDEX_NAMES = ("token_counts", "language_codes", "noise_codes")


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
      token_counts: tokens of each document.
      language_codes: index into manifest["languages"] of each document.
      noise_codes: index into manifest["noises"] of each document.
    """

    directory: Path
    manifest: Mapping[str, Any]
    token_counts: Int[np.ndarray, " documents"]
    language_codes: Int[np.ndarray, " documents"]
    noise_codes: Int[np.ndarray, " documents"]
    _records: ArrayRecordDataSource

    def __len__(self) -> int:
        return int(self.manifest["num_documents"])

    def __getitem__(self, index: int) -> TokenizedDocument:
        """Reads one document.

        Raises:
          ValueError: its record is damaged; names the shard.
        """
        try:
            return decode_record(self._records[index])
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self.directory / self._shard_of(index)}: record of document {index} is damaged "
                f"({error}); delete the store directory to write it again"
            ) from error

    @property
    def num_tokens(self) -> int:
        """All tokens, without any EOS."""
        return int(self.manifest["num_tokens"])

    @property
    def tasks(self) -> list[TaskRange]:
        """The tasks in order; their ranges follow one another."""
        return [TaskRange(**task) for task in self.manifest["tasks"]]

    def documents_with(
        self, language: str | None = None, noise: str | None = None
    ) -> Int[np.ndarray, " selected"]:
        """Returns the indices of the documents with these labels (None is any)."""
        keep = np.ones(len(self), bool)
        for label, names, codes in (
            (language, self.manifest["languages"], self.language_codes),
            (noise, self.manifest["noises"], self.noise_codes),
        ):
            if label is not None:
                keep &= codes == names.index(label) if label in names else False
        return np.flatnonzero(keep)

    def verify(self) -> None:
        """Reads every shard and compares its SHA-256.

        Raises:
          ValueError: names the first shard whose bytes have changed.
        """
        for shard in self.manifest["shards"]:
            _check_sha256(self.directory / shard["name"], shard["sha256"])

    def _shard_of(self, index: int) -> str:
        ends = np.cumsum([shard["num_documents"] for shard in self.manifest["shards"]])
        return self.manifest["shards"][int(np.searchsorted(ends, index, side="right"))]["name"]

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
    try:
        manifest = json.loads(path.read_text("utf-8"))
        version = manifest["format_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: damaged ({type(error).__name__}: {error}); delete the store directory to "
            "write it again"
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version={version} but this version reads {FORMAT_VERSION}; delete the "
            "store directory to write it again"
        )
    return manifest


def open_store(directory: str | os.PathLike) -> TokenStore:
    """Opens a store after checking its manifest, the size of its shards and its index arrays.

    `TokenStore.verify` also compares the shards' SHA-256, which reads all of them.

    Raises:
      ValueError: no store, or a missing or damaged file, which is named.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    for shard in manifest["shards"]:
        _check_size(directory / shard["name"], shard["num_bytes"])
    arrays = {}
    for name in INDEX_NAMES:
        path = directory / f"{name}.npy"
        _check_size(path, manifest["index"][name]["num_bytes"])
        _check_sha256(path, manifest["index"][name]["sha256"])
        arrays[name] = np.load(path, allow_pickle=False)
    records = ArrayRecordDataSource(
        [f"{directory / s['name']}[0:{s['num_documents']}]" for s in manifest["shards"]]
    )
    return TokenStore(directory=directory, manifest=manifest, _records=records, **arrays)
