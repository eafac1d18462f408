"""Writes one part of a store: read, tokenise, encode, count, hash.

A part is three files in the work directory of its store: the records, an archive of index arrays
and, written last, a summary. A part that has its summary is finished, and any process (of a pool,
of a Beam worker, of a run started again) that is asked for it writes the same bytes.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Int

from presence_t5x.data.documents import (
    Document,
    LocatedDocument,
    Part,
    Problem,
    Source,
    id_hash,
    raise_problem,
    split_of,
)
from presence_t5x.data.token_records import TokenizedDocument, encode_record
from presence_t5x.data.token_store import INPUT_COUNTS, LABEL_NAMES, TOKEN_COUNTS, file_sha256
from presence_t5x.files import replacing, write_text_atomically

ID_HASHES, LINES = "id_hashes", "lines"
# Problems of one kind that a part lists; the rest are counted only.
LISTED_PROBLEMS = 1000
_DOCUMENTS_PER_BLOCK = 256
_CHARACTERS_PER_BLOCK = 1 << 20


class Tokenizer(Protocol):
    """What turns texts into ids without EOS."""

    def encode_batch(self, texts: list[str], /) -> list[Int[np.ndarray, " tokens"]]: ...


class Progress(NamedTuple):
    """What was done since the last report."""

    num_documents: int
    num_tokens: int
    num_text_bytes: int


ReportProgress = Callable[[Progress], None]


def part_file(directory: Path, number: int, ending: str) -> Path:
    """Returns the path of one of a part's files: "array_record", "npz" or "json"."""
    return directory / f"tokens-{number:05d}.{ending}"


def is_written(directory: Path, number: int) -> bool:
    """Returns whether a part is finished."""
    return part_file(directory, number, "json").is_file()


@dataclasses.dataclass(frozen=True)
class PartJob:
    """What every process that writes parts of a store must know; picklable.

    Attributes:
      source: reads the documents.
      directory: work directory of the store.
      tokenizer: of the store.
      strict: the first problem is a ValueError; otherwise problems are counted and listed.
    """

    source: Source
    directory: Path
    tokenizer: Tokenizer
    strict: bool


def write_part(job: PartJob, number: int, part: Part, progress: ReportProgress) -> None:
    """Writes part `number` of a store; it is there whole or not at all.

    Args:
      job: of the store.
      number: of the part in the list of the source's parts.
      part: that part.
      progress: called after every block of documents.
    """
    problems = _Problems(job.strict)

    def tokenized() -> Iterator[tuple[TokenizedDocument, int]]:
        for block in _blocks(job.source.read(part, problems)):
            texts = [located.document for located in block]
            num_tokens = 0
            for located, document in zip(block, tokenize_documents(texts, job.tokenizer)):
                if missing := _missing_tokens(located.document, document):
                    place = part.file or part.name
                    message = f"{missing} has no token"
                    problems(Problem(place, located.line, "no_token", message))
                    continue
                num_tokens += document.tokens.size
                yield document, located.line
            progress(Progress(len(block), num_tokens, sum(map(num_text_bytes, texts))))

    write_documents(job.directory, number, part, tokenized(), problems)


def write_documents(
    directory: Path,
    number: int,
    part: Part,
    documents: Iterable[tuple[TokenizedDocument, int]],
    problems: "_Problems | None" = None,
) -> None:
    """Writes part `number` of a store from documents that are tokens already, and their lines.

    Args:
      directory: work directory of the store.
      number: of the part in the list of the source's parts.
      part: that part.
      documents: in order.
      problems: of its source, complete when the last document was taken.
    """
    index = _Index(part)
    content = hashlib.sha256()
    records = part_file(directory, number, "array_record")
    with _record_writer(records) as write:
        for document, line in documents:
            record = encode_record(document)
            write(record)
            content.update(len(record).to_bytes(8, "little") + record)
            index.add(document, line)
    if not index.num_documents:
        records.unlink()
    problems = problems or _Problems(strict=True)
    summary = {
        "part": part.name,
        "file": part.file or part.name,
        "task": part.task,
        "split": part.split,
        "content_sha256": content.hexdigest(),
        "sha256": file_sha256(records) if index.num_documents else None,
        "num_bytes": records.stat().st_size if index.num_documents else 0,
        "num_documents": index.num_documents,
        "num_pairs": index.num_pairs,
        "labels": index.labels,
        "problem_counts": problems.counts,
        "problems": problems.listed,
    }
    arrays = index.arrays()
    with replacing(part_file(directory, number, "npz")) as path, open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    write_text_atomically(
        json.dumps(summary, ensure_ascii=False), part_file(directory, number, "json")
    )


def tokenize_documents(
    documents: Sequence[Document], tokenizer: Tokenizer
) -> Iterator[TokenizedDocument]:
    """Yields the documents as tokens; those of a pair are its inputs', then its targets'."""
    pairs = [document.inputs for document in documents if document.inputs]
    inputs = iter(tokenizer.encode_batch(pairs) if pairs else ())
    texts = [document.text for document in documents]
    for document, tokens in zip(documents, tokenizer.encode_batch(texts)):
        labels = document.id, document.language, document.source, document.noise
        if document.inputs:
            first = next(inputs)
            yield TokenizedDocument(np.concatenate([first, tokens]), *labels, first.size)
        else:
            yield TokenizedDocument(tokens, *labels)


def num_text_bytes(document: Document) -> int:
    """Returns the bytes of a document's text, and of its inputs, in UTF-8."""
    return len(document.text.encode()) + len(document.inputs.encode())


def _missing_tokens(document: Document, tokenized: TokenizedDocument) -> str:
    """What of a document has no token; empty where all has some."""
    inputs, targets = tokenized.pair
    if document.inputs and not inputs.size:
        return "the inputs' text"
    return "" if targets.size else "the text"


@contextlib.contextmanager
def _record_writer(path: Path) -> Iterator[Callable[[bytes], Any]]:
    with replacing(path) as partial:
        writer = ArrayRecordWriter(str(partial), "group_size:1")
        try:
            yield writer.write
        finally:
            writer.close()


def _blocks(documents: Iterable[LocatedDocument]) -> Iterator[list[LocatedDocument]]:
    """Blocks of documents that are tokenised together, bounded in number and in text."""
    block: list[LocatedDocument] = []
    num_characters = 0
    for located in documents:
        block.append(located)
        num_characters += len(located.document.text) + len(located.document.inputs)
        if len(block) == _DOCUMENTS_PER_BLOCK or num_characters >= _CHARACTERS_PER_BLOCK:
            yield block
            block, num_characters = [], 0
    if block:
        yield block


class _Problems:
    """Counts problems by kind and lists the first of each."""

    def __init__(self, strict: bool):
        self._strict = strict
        self.counts = collections.Counter()
        self.listed: list[dict[str, Any]] = []

    def __call__(self, problem: Problem) -> None:
        if self._strict:
            raise_problem(problem)
        self.counts[problem.kind] += 1
        if self.counts[problem.kind] <= LISTED_PROBLEMS:
            self.listed.append(problem._asdict())


class _Index:
    """The index arrays of a part; label codes are its own, in order of appearance."""

    def __init__(self, part: Part):
        self._split = part.split
        self.labels = {name: {} for name in LABEL_NAMES}
        names = (TOKEN_COUNTS, INPUT_COUNTS, ID_HASHES, LINES, *LABEL_NAMES)
        self._columns = {name: [] for name in names}

    @property
    def num_documents(self) -> int:
        return len(self._columns[LINES])

    @property
    def num_pairs(self) -> int:
        return int(np.count_nonzero(self._columns[INPUT_COUNTS]))

    def add(self, document: TokenizedDocument, line: int) -> None:
        hashed = id_hash(document.id)
        self._columns[TOKEN_COUNTS].append(document.tokens.size)
        self._columns[INPUT_COUNTS].append(document.num_inputs)
        self._columns[ID_HASHES].append(hashed)
        self._columns[LINES].append(line)
        for name in LABEL_NAMES:
            value = (
                (self._split or split_of(hashed)) if name == "split" else getattr(document, name)
            )
            codes = self.labels[name]
            self._columns[name].append(codes.setdefault(value, len(codes)))

    def arrays(self) -> dict[str, np.ndarray]:
        types = {ID_HASHES: np.uint64, LINES: np.int64}
        return {
            name: np.asarray(column, types.get(name, np.int32))
            for name, column in self._columns.items()
        }
