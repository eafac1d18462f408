r"""Local text files as documents.

- `.txt`: a document is a block of lines between blank lines.
- `.jsonl`: one JSON object a line with `text` and, if wanted, `language` (or `lang`), `source`,
`id`.

Either may be gzipped (`.gz`). An id that is not given is `file:line` (the line where the document
starts), a source that is not given is the file; file names are relative to the fixed part of the
pattern, so that ids do not depend on the machine. Files are read in sorted order.
"""

import glob as glob_module
import gzip
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from presence_t5x._validate import check_text
from presence_t5x.data.documents import Document

_SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")


class TextFile(NamedTuple):
    """A file to read and the name that ids use."""

    path: str
    name: str


def find_text_files(pattern: str) -> list[TextFile]:
    """Returns the files of a glob (`**` crosses directories) or under a directory, sorted.

    Raises:
      ValueError: nothing matches, or a matching file has another ending than .txt or .jsonl (.gz).
    """
    check_text("local_text_files", pattern)
    is_directory = os.path.isdir(pattern)
    expanded = os.path.join(glob_module.escape(pattern), "**") if is_directory else pattern
    paths = sorted(filter(os.path.isfile, glob_module.glob(expanded, recursive=True)))
    if is_directory:
        paths = [path for path in paths if path.endswith(_SUFFIXES)]
    if not paths:
        raise ValueError(
            f"local_text_files={pattern!r} matches no file; give a glob or a directory of "
            f"{', '.join(_SUFFIXES)} files (quote the glob in a shell)"
        )
    for path in paths:
        if not path.endswith(_SUFFIXES):
            raise ValueError(
                f"{path}: unknown kind of file; rename it to one of {', '.join(_SUFFIXES)} or "
                f"narrow local_text_files={pattern!r}"
            )
    root = pattern if is_directory else _fixed_directory(pattern)
    return [TextFile(path, os.path.relpath(path, root or ".")) for path in paths]


def _fixed_directory(pattern: str) -> str:
    """The directory part before the first wildcard."""
    parts = pattern.split("/")[:-1]
    wild = next((i for i, part in enumerate(parts) if glob_module.has_magic(part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else "")


def read_documents(pattern: str) -> Iterator[Document]:
    """Yields the documents of all files, in order.

    Raises:
      ValueError: an empty glob or file, bytes that are not UTF-8, broken JSON, a missing, empty or
        non-string `text`; always with file, line and what to do.
    """
    for file in find_text_files(pattern):
        num_documents = 0
        is_json = file.name.endswith((".jsonl", ".jsonl.gz"))
        for document in _read_json_lines(file) if is_json else _read_paragraphs(file):
            num_documents += 1
            yield document
        if not num_documents:
            raise ValueError(f"{file.path}: no document in this file; remove it or add text")


def check_text_files(pattern: str, visit: Callable[[Document], Any] = lambda document: None) -> int:
    """Reads everything once, so that the errors of `read_documents` come before any work.

    Args:
      pattern: as in `find_text_files`.
      visit: called with every document.

    Returns:
      the number of documents.
    """
    num_documents = 0
    for document in read_documents(pattern):
        visit(document)
        num_documents += 1
    return num_documents


def _read_lines(file: TextFile) -> Iterator[tuple[int, str]]:
    """Numbered decoded lines without their ends."""
    number = 0
    try:
        with (gzip.open if file.path.endswith(".gz") else open)(file.path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file.path}:{number}: not UTF-8 ({error.reason} at byte {error.start} of the line); "
            "convert the file, e.g. with iconv -t UTF-8"
        ) from error
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise ValueError(
            f"{file.path}:{number + 1}: cannot be read ({error}); check the file or copy it again"
        ) from error


def _read_paragraphs(file: TextFile) -> Iterator[Document]:
    block: list[str] = []
    first_line = 0
    for number, line in _read_lines(file):
        if line.strip():
            first_line = first_line if block else number
            block.append(line)
        elif block:
            yield Document("\n".join(block), f"{file.name}:{first_line}", source=file.name)
            block = []
    if block:
        yield Document("\n".join(block), f"{file.name}:{first_line}", source=file.name)


def _read_json_lines(file: TextFile) -> Iterator[Document]:
    for number, line in _read_lines(file):
        if line.strip():
            yield _parse_json_line(file, number, line)


def _parse_json_line(file: TextFile, number: int, line: str) -> Document:
    where = f"{file.path}:{number}"
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: broken JSON ({error.msg} at column {error.colno}); write one object a line"
        ) from error
    if not isinstance(record, dict) or "text" not in record:
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{where}: no field 'text' (found {found}); add it or rename the field")
    text = record["text"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f"{where}: text={text!r} must be a non-empty string; repair or remove the line"
        )
    return Document(
        text,
        str(record.get("id", f"{file.name}:{number}")),
        language=str(record.get("language", record.get("lang")) or ""),
        source=str(record.get("source") or file.name),
    )
