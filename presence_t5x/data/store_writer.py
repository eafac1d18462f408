"""Writes a token store: tokenise, shard, count, hash, and one rename at the end."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from presence_t5x.data.documents import DocumentGroup
from presence_t5x.data.token_records import TokenizedDocument, encode_record
from presence_t5x.data.token_store import (
    FORMAT_VERSION,
    INDEX_NAMES,
    MANIFEST_NAME,
    TokenStore,
    file_sha256,
    open_store,
)

_PROGRESS_PERIOD = 1000


class Tokenizer(Protocol):
    """What of a seqio vocabulary is needed here."""

    vocab_size: int

    def encode(self, s: str, /) -> Any: ...


def write_store(
    groups: Iterable[DocumentGroup],
    directory: str | os.PathLike,
    vocabulary: Tokenizer,
    *,
    vocabulary_sha256: str,
    parameters: Mapping[str, Any],
    tokens_per_shard: int = 64 * 1024 * 1024,
    progress: Callable[[int, int], None] | None = None,
) -> TokenStore:
    """Tokenises documents into a new store and opens it.

    Documents without a token are dropped and counted. Several processes may call this at once: one
    writes while the others wait, then open what it wrote. If anything fails nothing is left behind
    under `directory`.

    Args:
      groups: the documents, task by task.
      directory: of the store; if it already is one, it is opened and nothing is written.
      vocabulary: gives int ids without EOS.
      vocabulary_sha256: recorded in the manifest.
      parameters: recorded in the manifest (JSON): what else the content depends on.
      tokens_per_shard: a new shard begins after this many.
      progress: called with (documents, tokens) so far, every thousand documents and at the end.

    Raises:
      ValueError: a task has no document, or `directory` exists and is no store.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.partial")
    with _lock(directory.with_name(f".{directory.name}.lock")):
        if (directory / MANIFEST_NAME).is_file():
            return open_store(directory)
        if directory.exists():
            raise ValueError(
                f"{directory} exists but is no token store (no {MANIFEST_NAME}); remove it or "
                "choose another prepared_dir"
            )
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            writer = _StoreWriter(partial, vocabulary, tokens_per_shard, progress)
            manifest = writer.write(groups)
            manifest |= {"vocabulary_sha256": vocabulary_sha256, "parameters": dict(parameters)}
            _write_json(partial / MANIFEST_NAME, manifest)
            os.rename(partial, directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return open_store(directory)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the system releases it when the process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())


class _Codes(dict):
    """Numbers labels in order of appearance."""

    def __missing__(self, label):
        return self.setdefault(label, len(self))


class _StoreWriter:
    """The state of one store being written."""

    def __init__(self, directory, vocabulary, tokens_per_shard, progress):
        self._directory = directory
        self._vocabulary = vocabulary
        self._tokens_per_shard = tokens_per_shard
        self._progress = progress or (lambda num_documents, num_tokens: None)
        self._shards, self._tasks = [], []
        self._open_writer, self._open_tokens = None, 0
        self._index = {name: [] for name in INDEX_NAMES}
        self._languages, self._noises = _Codes(), _Codes()
        self._counts = {label: Counter() for label in ("language", "source", "noise")}
        self._content = hashlib.sha256()
        self._num_tokens = self._num_empty = 0

    def write(self, groups: Iterable[DocumentGroup]) -> dict[str, Any]:
        """Writes all documents; returns the manifest's content."""
        try:
            for group in groups:
                self._write_group(group)
        finally:
            self._close_shard()
        self._progress(len(self._index["token_counts"]), self._num_tokens)
        return self._manifest()

    def _write_group(self, group):
        first_document = len(self._index["token_counts"])
        for document in group.documents:
            tokens = np.asarray(self._vocabulary.encode(document.text), np.int32)
            if tokens.size:
                self._write_document(TokenizedDocument(tokens, *document[1:]))
            else:
                self._num_empty += 1
        num_documents = len(self._index["token_counts"]) - first_document
        if not num_documents:
            raise ValueError(f"task {group.name!r} has no document with a token; nothing to write")
        self._tasks.append(
            {
                "name": group.name,
                "rate": float(group.rate),
                "first_document": first_document,
                "num_documents": num_documents,
            }
        )

    def _write_document(self, document):
        record = encode_record(document)
        if self._open_writer is None:
            name = f"tokens-{len(self._shards):05d}.array_record"
            self._open_writer = ArrayRecordWriter(str(self._directory / name), "group_size:1")
            self._shards.append({"name": name, "num_documents": 0})
        self._open_writer.write(record)
        self._content.update(len(record).to_bytes(8, "little") + record)
        self._shards[-1]["num_documents"] += 1
        self._index["token_counts"].append(document.tokens.size)
        self._index["language_codes"].append(self._languages[document.language])
        self._index["noise_codes"].append(self._noises[document.noise])
        for label, counter in self._counts.items():
            counter[getattr(document, label)] += 1
        self._num_tokens += document.tokens.size
        self._open_tokens += document.tokens.size
        if self._open_tokens >= self._tokens_per_shard:
            self._close_shard()
        if len(self._index["token_counts"]) % _PROGRESS_PERIOD == 0:
            self._progress(len(self._index["token_counts"]), self._num_tokens)

    def _close_shard(self):
        if self._open_writer is None:
            return
        self._open_writer.close()
        path = self._directory / self._shards[-1]["name"]
        self._shards[-1] |= _size_and_sha256(path)
        self._open_writer, self._open_tokens = None, 0

    def _manifest(self):
        index = {}
        for name, values in self._index.items():
            path = self._directory / f"{name}.npy"
            np.save(path, np.asarray(values, np.int32), allow_pickle=False)
            index[name] = _size_and_sha256(path)
        return {
            "format_version": FORMAT_VERSION,
            "num_documents": len(self._index["token_counts"]),
            "num_empty_documents_dropped": self._num_empty,
            "num_tokens": self._num_tokens,
            "vocabulary_size": int(self._vocabulary.vocab_size),
            "languages": list(self._languages),
            "noises": list(self._noises),
            "documents_per_label": self._counts,
            "tasks": self._tasks,
            "shards": self._shards,
            "index": index,
            "content_sha256": self._content.hexdigest(),
        }


def _size_and_sha256(path: Path) -> dict[str, Any]:
    return {"num_bytes": path.stat().st_size, "sha256": file_sha256(path)}
