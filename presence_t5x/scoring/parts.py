"""What is scored so far: a file for some documents and a checkpoint, whole or not at all.

They lie beside the result in `FILE.partial` until all are there; then they are joined, one
row a document, and `FILE.manifest.json` is written. A result without it is joined again while the
parts are there.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from presence_t5x.data.token_store import LABEL_NAMES, TokenStore
from presence_t5x.files import (
    check_same,
    replacing,
    write_bytes_atomically,
    write_text_atomically,
)
from presence_t5x.json_files import read_json_object
from presence_t5x.scoring.scorer import DocumentScores, tracin

MANIFEST_ENDING, PARTIAL_ENDING = ".manifest.json", ".partial"
DOCUMENTS_A_PART = 1024
FORMAT_VERSION = 1
_IDENTITY = "scoring.json"
_REMOVE = "choose another --output, or remove it"
_FREE = ("commit",)  # of the manifest: may differ when a scoring is continued


class Part(NamedTuple):
    """Documents that are scored under one checkpoint, by its number."""

    checkpoint: int
    documents: range


def parts_of(num_documents: int, num_checkpoints: int) -> list[Part]:
    """Returns all parts, checkpoint by checkpoint.

    >>> [len(part.documents) for part in parts_of(1030, 2)]
    [1024, 6, 1024, 6]
    """
    starts = range(0, num_documents, DOCUMENTS_A_PART)
    return [
        Part(checkpoint, range(start, min(start + DOCUMENTS_A_PART, num_documents)))
        for checkpoint in range(num_checkpoints)
        for start in starts
    ]


class PartFiles:
    """The directory of parts of one result."""

    def __init__(self, output: Path, identity: Mapping[str, Any]):
        """Opens a directory, creating it.

        Args:
          output: the result.
          identity: everything that scores depend on, for JSON.

        Raises:
          ValueError: it holds parts of other scores, or of scores that nothing tells.
        """
        self.output = output
        self.directory = partial_path(output)
        identity = json.loads(json.dumps(identity))  # as it will be read
        path = self.directory / _IDENTITY
        if path.is_file():
            _check_same(read_json_object(path, _REMOVE), identity, self.directory)
        elif any(self.directory.glob("*.parquet")):
            raise ValueError(
                f"{self.directory} holds parts without {_IDENTITY}, which tells of what scores "
                f"they are; {_REMOVE}"
            )
        else:
            write_text_atomically(json.dumps(identity, indent=2) + "\n", path)

    def is_done(self, part: Part) -> bool:
        """Returns whether a part is there."""
        return self._path(part).is_file()

    def write(self, part: Part, scores: DocumentScores) -> None:
        """Writes a part.

        Raises:
          ValueError: the directory is gone, and with it what the parts are of.
        """
        if not (self.directory / _IDENTITY).is_file():
            raise ValueError(
                f"{self.directory} is gone: another process has finished {self.output}, or it was "
                "removed; run the same command again"
            )
        table = pa.table({"loss": scores.loss, **scores.scores})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_bytes_atomically(sink.getvalue().to_pybytes(), self._path(part))

    def join(
        self, store: TokenStore, learning_rates: Sequence[float], columns: Sequence[str]
    ) -> int:
        """Writes the result from all parts; returns how many documents have no score.

        Args:
          store: the documents.
          learning_rates: of the checkpoints.
          columns: names of the scores.
        """
        names = ("example_id", "language", "source", "noise", "split")
        fields = [(name, pa.string()) for name in names] + [("num_tokens", pa.int64())]
        fields += [(name, pa.float64()) for name in ("loss", *columns)]
        num_unscored = 0
        with replacing(self.output) as path, pq.ParquetWriter(path, pa.schema(fields)) as writer:
            for part in parts_of(len(store), 1):
                table = self._joined(store, part.documents, learning_rates, columns)
                num_unscored += table["score"].null_count
                writer.write_table(table.cast(pa.schema(fields)))
        return num_unscored

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest beside the result, and removes the parts."""
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        write_text_atomically(text, manifest_path(self.output))
        shutil.rmtree(self.directory)

    def _joined(
        self,
        store: TokenStore,
        documents: range,
        learning_rates: Sequence[float],
        columns: Sequence[str],
    ) -> pa.Table:
        """The result's rows of some documents."""
        found = [
            pq.read_table(self._path(Part(number, documents)))
            for number in range(len(learning_rates))
        ]
        values = {"loss": found[-1]["loss"].to_numpy()}
        for name in columns:
            values[name] = tracin([table[name].to_numpy() for table in found], learning_rates)
        records = [store[document] for document in documents]
        labels = store.labels("split")
        splits = store.codes["split"][documents.start : documents.stop]
        described = {
            "example_id": [record.id for record in records],
            **{name: [getattr(record, name) for record in records] for name in LABEL_NAMES[1:]},
            "split": [labels[code] for code in splits],
            "num_tokens": store.token_counts[documents.start : documents.stop].astype(np.int64),
        }
        numbers = {name: pa.array(value, from_pandas=True) for name, value in values.items()}
        return pa.table({**described, **numbers})

    def _path(self, part: Part) -> Path:
        return self.directory / f"{part.checkpoint:03d}-{part.documents.start:012d}.parquet"


def manifest_path(output: Path) -> Path:
    """Returns where the manifest of a result is."""
    return output.with_name(f"{output.name}{MANIFEST_ENDING}")


def partial_path(output: Path) -> Path:
    """Returns the directory of the parts of a result."""
    return output.with_name(f"{output.name}{PARTIAL_ENDING}")


def check_same_result(output: Path, identity: Mapping[str, Any]) -> bool:
    """Returns whether a result is there already; what is left of its parts is then removed.

    Raises:
      ValueError: it is of other scores, or has neither a manifest nor parts.
    """
    if not output.exists():
        return False
    path, partial = manifest_path(output), partial_path(output)
    if not path.is_file():
        if (partial / _IDENTITY).is_file():
            return False  # stopped after the parts were joined
        raise ValueError(f"{output} exists, without {path.name}; choose another --output")
    found = read_json_object(path, _REMOVE)
    identity = json.loads(json.dumps(identity))
    _check_same({name: found.get(name) for name in identity}, identity, output)
    if partial.is_dir():
        shutil.rmtree(partial)
    return True


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Raises ValueError if two scorings differ in more than the commit; names the differences."""
    one, other = (
        {name: value for name, value in settings.items() if name not in _FREE}
        for settings in (found, wanted)
    )
    check_same(one, other, where, "scores")
