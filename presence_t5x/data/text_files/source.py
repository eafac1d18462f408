"""Files as a source of documents, and their strict use.

- `.txt`: a document is a block of lines between blank lines.
- `.jsonl`, `.json`: one JSON object a line with `text` and, if wanted, `id`, `language` (or
`lang`), `source`.
- `.parquet`: the same fields as columns.

All but Parquet may be compressed (`.gz`, `.zst`). An id that is not given is `file:line` (the line
where the document starts, or the row), a source that is not given is the file. The published shards
of C4 and mC4 are known by their names (`c4_names`). Which files a pattern means is in
`listing`; nothing of them is left out without a problem being reported.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from presence_t5x._validate import LARGEST_INT64, check_int, check_text
from presence_t5x.data.documents import (
    UNKNOWN_KIND,
    Document,
    LocatedDocument,
    Part,
    Problem,
    Report,
    raise_problem,
)
from presence_t5x.data.text_files import formats, listing, parquet_rows
from presence_t5x.data.text_files.c4_names import published_shard, rates_of_tasks
from presence_t5x.data.text_files.formats import FileRules
from presence_t5x.data.text_files.lines import (
    Line,
    ReadingStoppedError,
    decompress_blocks,
    drop_byte_order_mark,
    numbered_lines,
    read_blocks,
    unreadable,
)
from presence_t5x.data.text_files.listing import find_text_files, list_files, split_suffix
from presence_t5x.data.text_files.slices import FileSlice, cut_file

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class FilesSource:
    """The documents of all files of a pattern (`presence_t5x.data.documents.Source`).

    Attributes:
      pattern: a file, a directory, a glob, or an fsspec URL of these.
      text_field: of JSON objects and Parquet rows.
      max_document_bytes: a longer line of JSON, paragraph or text is a problem.
      slice_bytes: longer files are cut, if they can be.
      language: of documents that do not tell.
      task: of all files but the published shards of C4 and mC4.
    """

    pattern: str
    text_field: str = "text"
    max_document_bytes: int = 10_000_000
    slice_bytes: int = 64 << 20
    language: str = ""
    task: str = "local_text"

    def __post_init__(self):
        """Checks the settings; files are looked at later."""
        check_text("pattern", self.pattern)
        check_text("text_field", self.text_field)
        check_text("task", self.task)
        check_int("max_document_bytes", self.max_document_bytes, minimum=1, maximum=LARGEST_INT64)
        check_int("slice_bytes", self.slice_bytes, minimum=1, maximum=LARGEST_INT64)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves what was found out about the files behind."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def _listing(self) -> listing.Listing:
        return list_files(self.pattern)

    @functools.cached_property
    def _slices(self) -> list[FileSlice]:
        by_task: dict[str, list[FileSlice]] = {}
        for file in self._listing.files:
            for piece in cut_file(file, self.slice_bytes, self.max_document_bytes, self.task):
                by_task.setdefault(piece.task, []).append(piece)
        first, *others = [piece for pieces in by_task.values() for piece in pieces]
        return [dataclasses.replace(first, skipped=self._listing.skipped), *others]

    @functools.cached_property
    def _checksums(self) -> list[list[Any]]:
        return [
            [file.name, file.num_bytes, listing.content_checksum(file.path)]
            for file in self._listing.files
        ]

    def parts(self) -> list[FileSlice]:
        """Returns the slices of all files, sorted by file within each task.

        Raises:
          ValueError: there is nothing to read (see `listing.list_files`).
        """
        return list(self._slices)

    def read(self, part: Part, report: Report) -> Iterator[LocatedDocument]:
        """Yields the documents of a slice; what is left out is reported, and reading goes on."""
        return read_reporting(part, report, self._read_slice)

    def _read_slice(self, part: FileSlice, report: Report) -> Iterator[LocatedDocument]:
        rules = self._rules(part)
        ending, compression = split_suffix(part.path)
        if ending == ".parquet":
            return parquet_rows.read_rows(
                part.path, part.start, part.stop, part.first_line, rules, report
            )
        lines = read_lines(part, compression, self.max_document_bytes)
        is_text = ending == ".txt"
        read = formats.read_paragraphs if is_text else formats.read_json_lines
        return read(lines, rules, report)

    def _rules(self, part: FileSlice) -> FileRules:
        shard = published_shard(part.path)
        return FileRules(
            file=part.file,
            text_field=self.text_field,
            max_document_bytes=self.max_document_bytes,
            language=shard.language if shard else self.language,
            source=shard.source if shard else part.file,
            url_is_id=shard is not None,
        )

    def task_rates(self) -> dict[str, float]:
        """Returns pages ** 0.3 for the tasks of mC4 languages, 1.0 for others.

        Raises:
          ValueError: as `parts`, or mC4 files are of a language without a page count.
        """
        return rates_of_tasks(dict.fromkeys(part.task for part in self._slices))

    def parameters(self) -> dict[str, Any]:
        """Returns name, size and checksum of every file, and the settings that matter."""
        return {
            "files": [list(entry) for entry in self._checksums],
            "text_field": self.text_field,
            "max_document_bytes": self.max_document_bytes,
            "slice_bytes": self.slice_bytes,
            "language": self.language,
        }


def read_reporting(
    part: Part, report: Report, read: Callable[[FileSlice, Report], Iterator[Item]]
) -> Iterator[Item]:
    """Yields what `read` gives of a slice of a file, and reports why nothing (more) comes.

    Args:
      part: a slice.
      report: told of files of unknown kinds, of what stopped the reading, and of a file without
        anything; besides what `read` reports.
      read: of documents or examples.
    """
    assert isinstance(part, FileSlice)
    for name in part.skipped:
        message = f"unknown kind of file; rename it to one of {listing.KNOWN_KINDS}"
        report(Problem(name, 0, UNKNOWN_KIND, message))
    num_found = 0

    def count_and_report(problem: Problem) -> None:
        nonlocal num_found
        num_found += 1
        report(problem)

    try:
        for item in read(part, count_and_report):
            num_found += 1
            yield item
    except ReadingStoppedError as stop:
        # What is wrong with a file as a whole is said once.
        if stop.kind in ("unreadable", "truncated") or not part.start:
            count_and_report(Problem(part.file, stop.line, stop.kind, stop.message))
    if not num_found and part.is_whole_file:
        message = "no document in this file; remove it or add text"
        report(Problem(part.file, 0, "empty_file", message))


def read_lines(part: FileSlice, compression: str, max_bytes: int) -> Iterator[tuple[int, Line]]:
    """Yields the numbered lines of a slice.

    Raises:
      ReadingStoppedError: the file cannot be opened or read to its end.
    """
    try:
        stream = listing.open_bytes(part.path)
    except Exception as error:  # file systems behind URLs raise classes of their own
        raise unreadable(error) from error
    with stream:
        if part.start:
            stream.seek(part.start)
        blocks = read_blocks(stream, max(part.stop - part.start, 0))
        blocks = decompress_blocks(blocks, compression)
        if not part.start:
            blocks = drop_byte_order_mark(blocks)
        yield from numbered_lines(blocks, part.first_line, max_bytes)


def read_documents(pattern: str) -> Iterator[Document]:
    """Yields the documents of all files, in order; other files in a directory are passed over.

    Raises:
      ValueError: the first problem of any kind, with file, line and what to do.
    """
    find_text_files(pattern)
    source = FilesSource(pattern)
    for part in source.parts():

        def report(problem: Problem, path: str = part.path) -> None:
            raise_problem(problem._replace(file=path))

        for located in source.read(part, report):
            yield located.document


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
