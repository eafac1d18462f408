"""Reads what `python -m presence_t5x.score` wrote: columns, and the text of chosen documents."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from presence_t5x.data.documents import Problem
from presence_t5x.data.store_text import read_texts
from presence_t5x.data.token_store import MANIFEST_NAME, open_store
from presence_t5x.scoring.parts import manifest_path

SCORE = "score"
LABELS = ("language", "source")
_OPTIONAL_LABELS = ("noise", "split")
_NUMBERS = ("num_tokens", "loss", SCORE)


class Label(NamedTuple):
    """One label of every document: `values[codes[i]]`, values in ascending order."""

    values: list[str]
    codes: Int[np.ndarray, " documents"]


@dataclass(frozen=True, kw_only=True)
class ScoredDocuments:
    """The columns of a file of scores.

    Attributes:
      path: of the file.
      manifest: what was scored by what; empty where there is none.
      ids: of the documents.
      labels: language and source; noise and split where they differ between documents.
      numbers: num_tokens, loss, score, and all other scores; NaN is not known.
    """

    path: Path
    manifest: Mapping[str, Any]
    ids: pa.StringArray
    labels: Mapping[str, Label]
    numbers: Mapping[str, Float[np.ndarray, " documents"]]

    def __len__(self) -> int:
        return len(self.ids)


class Texts(NamedTuple):
    """Texts of some documents by number; why there are none, where there are none."""

    by_document: Mapping[int, str]
    problem: str = ""


def read_scores(path: Path) -> ScoredDocuments:
    """Returns the columns of a file of scores.

    Raises:
      ValueError: no such file, no parquet, no document, or without a column that is needed.
    """
    if not path.is_file():
        raise ValueError(f"--scores={path} is no file; write one with python -m presence_t5x.score")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"--scores={path} is no parquet file ({error})") from error
    needed = ("example_id", *LABELS, *_NUMBERS)
    if lacking := [name for name in needed if name not in table.column_names]:
        raise ValueError(
            f"--scores={path} lacks the columns {lacking}; write it with python -m "
            "presence_t5x.score"
        )
    if not table.num_rows:
        raise ValueError(f"--scores={path} has no document")
    others = [n for n in table.column_names if n.startswith("score_")]
    labels = {n: _label(table[n]) for n in (*LABELS, *_OPTIONAL_LABELS) if n in table.column_names}
    return ScoredDocuments(
        path=path,
        manifest=_read_manifest(manifest_path(path)),
        ids=table["example_id"].cast(pa.string()).combine_chunks(),
        labels={n: found for n, found in labels.items() if n in LABELS or len(found.values) > 1},
        numbers={n: _floats(table[n]) for n in (*_NUMBERS, *others)},
    )


def read_document_texts(scores: ScoredDocuments, documents: Iterable[int]) -> Texts:
    """Returns the texts of documents: of the store that was scored, else of its input.

    A report without texts is worth having, so that what is missing is told, not raised.
    """
    wanted = {int(document): scores.ids[int(document)].as_py() for document in documents}
    if not scores.manifest:
        return Texts({}, f"{manifest_path(scores.path).name} is missing beside the scores")
    reasons = []
    for read in (_from_store, _from_input):
        try:
            return Texts(read(scores.manifest, wanted))
        except (ValueError, KeyError, OSError) as error:
            reasons.append(" ".join(str(error).split()))
    return Texts({}, "; ".join(reasons))


def _from_store(manifest: Mapping[str, Any], wanted: Mapping[int, str]) -> dict[int, str]:
    """Texts by number; scores have the order of the store.

    Raises:
      ValueError: no such store, or one of other documents.
    """
    directory = Path(manifest["store"])
    if not (directory / MANIFEST_NAME).is_file():
        raise ValueError(f"the token store {directory} is not there any more")
    store = open_store(directory)
    if store.manifest["content_sha256"] != manifest["content_sha256"]:
        raise ValueError(f"the token store {directory} now holds other documents")
    texts = {}
    for (number, name), (found, text) in zip(wanted.items(), read_texts(store, wanted)):
        if found != name:
            raise ValueError(f"document {number} of {directory} is {found!r}, not {name!r}")
        texts[number] = text
    return texts


def _from_input(manifest: Mapping[str, Any], wanted: Mapping[int, str]) -> dict[int, str]:
    """Texts by number, found by id in what was scored.

    Raises:
      ValueError: the input is not there, or does not have all documents.
    """
    from presence_t5x.data.inputs import find_source  # it imports TensorFlow

    numbers = {name: number for number, name in wanted.items()}
    texts: dict[int, str] = {}
    source = find_source(manifest["input"], splits=["train"])
    for part in source.parts():
        for located in source.read(part, _leave_out):
            document = located.document
            if document.id in numbers:
                pair = f"{document.inputs}\n→ " if document.inputs else ""
                texts[numbers[document.id]] = pair + document.text
        if len(texts) == len(numbers):
            return texts
    raise ValueError(f"the input {manifest['input']} does not have all of the documents")


def _leave_out(problem: Problem) -> None:
    """Counted when the documents were scored."""


def _read_manifest(path: Path) -> dict[str, Any]:
    """What scores depend on.

    Raises:
      ValueError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _label(column: pa.ChunkedArray) -> Label:
    """A column of text as numbers of its values."""
    encoded = column.cast(pa.string()).fill_null("").dictionary_encode().combine_chunks()
    values = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    return Label([values[i] for i in order], place[encoded.indices.to_numpy()])


def _floats(column: pa.ChunkedArray) -> Float[np.ndarray, " documents"]:
    return column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
