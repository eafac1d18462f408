"""Records and lines to documents: paragraphs and JSON lines (`parquet_rows` has the rows).

Each reader yields documents with the line (or row) where they start and reports what it leaves
out; a bad line never ends the reading.
"""

import dataclasses
import json
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from presence_t5x.data.documents import Document, LocatedDocument, Problem, Report
from presence_t5x.data.text_files.lines import (
    Line,
    OverlongLine,
    is_blank,
    line_bytes,
)

_FIELDS_SHOWN = 20
_LABELS = ("id", "url", "language", "lang", "source")
_MOST_LABEL_CHARACTERS = 16_000  # of at most four bytes, and a store keeps 65,535
_CONVERT = "convert the file, e.g. with iconv -t UTF-8"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileRules:
    """How the records of one file become documents.

    Attributes:
      file: its name in ids and problems.
      text_field: where the text is.
      max_document_bytes: more is a problem; of a line of JSON as it stands.
      language: where a record gives none.
      source: where a record gives none.
      url_is_id: the `url` of a record without `id` is its id; otherwise that is `file:line`.
    """

    file: str
    text_field: str = "text"
    max_document_bytes: int = 10_000_000
    language: str = ""
    source: str = ""
    url_is_id: bool = False

    def problem(self, line: int, kind: str, message: str) -> Problem:
        """Returns a problem of this file."""
        return Problem(self.file, line, kind, message)

    def too_long(self, line: int, num_bytes: int) -> Problem:
        """Returns the problem of a document that is not kept."""
        return self.problem(
            line,
            "too_long",
            f"a document of {num_bytes} bytes; raise max_document_bytes={self.max_document_bytes} "
            "or cut it up (in .txt files blank lines separate documents)",
        )

    def not_utf8(self, line: int, error: UnicodeDecodeError) -> Problem:
        """Returns the problem of bytes that are no UTF-8."""
        place = f"{error.reason} at byte {error.start} of the line"
        return self.problem(line, "encoding", f"not UTF-8 ({place}); {_CONVERT}")

    def no_text(self, line: int, record: Any) -> Problem:
        """Returns the problem of a record without the text field."""
        if not isinstance(record, dict):
            remedy = "write one JSON object a line, e.g. with jq -c '.[]'"
            found = type(record).__name__
        else:
            remedy = "add it or rename the field"
            found = str([str(name)[:80] for name in sorted(record)[:_FIELDS_SHOWN]])
            for name, value in record.items():
                if isinstance(value, dict) and self.text_field in value:
                    remedy = f"it is nested under {name!r}, move it to the top; {remedy}"
        return self.problem(
            line, "no_text", f"no field {self.text_field!r} (found {found}); {remedy}"
        )

    def document(self, record: Any, line: int) -> Document | Problem:
        """Returns the document of a JSON object or a row; characters are not checked."""
        if not isinstance(record, dict) or self.text_field not in record:
            return self.no_text(line, record)
        text = record[self.text_field]
        if not isinstance(text, str) or not text or text.isspace():
            return self.problem(
                line,
                "empty_text",
                f"{self.text_field}={reprlib.repr(text)} must be a non-empty string; repair or "
                "remove the line",
            )
        for name in _LABELS:
            if isinstance(record.get(name), (dict, list)):
                return self.problem(
                    line,
                    "label",
                    f"{name}={reprlib.repr(record[name])} must be a string; repair or remove the "
                    "line",
                )
            if isinstance(record.get(name), str) and len(record[name]) > _MOST_LABEL_CHARACTERS:
                return self.problem(
                    line,
                    "label",
                    f"{name} has {len(record[name])} characters, at most {_MOST_LABEL_CHARACTERS} "
                    "fit a store (65535 bytes); shorten it",
                )
        identity = record.get("id")
        if identity is None and self.url_is_id:
            identity = record.get("url")
        return Document(
            text,
            f"{self.file}:{line}" if identity is None else str(identity),
            str(record.get("language") or record.get("lang") or self.language),
            str(record.get("source") or self.source),
        )

    def with_good_characters(self, document: Document, line: int) -> Document | Problem:
        """Returns the document, or the problem of a character that cannot be stored."""
        if is_good("".join(document)):
            return document
        values = zip((self.text_field, *Document._fields[1:]), document)
        return self.bad_character(line, *next(pair for pair in values if not is_good(pair[1])))

    def bad_character(self, line: int, name: str, value: str) -> Problem:
        """Returns the problem of a value that is not good (see `is_good`)."""
        if "\0" in value:
            return self._nul(line, f"character {value.index(chr(0))} of {name!r}")
        return self.problem(
            line,
            "encoding",
            f"{name!r} has half a surrogate pair, which is no Unicode text; repair or remove the "
            "line",
        )

    def _nul(self, line: int, place: str) -> Problem:
        return self.problem(
            line, "encoding", f"NUL at {place}; the file is no text or damaged: {_CONVERT}"
        )

    def decode(self, content: bytes, line: int) -> str | Problem:
        """Returns the text of one line, or what is wrong with its bytes."""
        where = content.find(b"\0")
        if where >= 0:
            return self._nul(line, f"byte {where} of the line")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            return self.not_utf8(line, error)


def is_good(text: str) -> bool:
    """Returns whether a text has neither NUL nor half a surrogate pair."""
    if "\0" in text:
        return False
    try:
        # UTF-16 has the same limits as UTF-8 and is twice as fast to make.
        return text.isascii() or bool(text.encode("utf-16-le"))
    except UnicodeEncodeError:
        return False


class Record(NamedTuple):
    """The JSON value of a line.

    Attributes:
      line: its number.
      value: what it stands for.
      has_escapes: only out of an escape can come what decoding has not refused (see `is_good`).
    """

    line: int
    value: Any
    has_escapes: bool


def read_json_lines(
    lines: Iterable[tuple[int, Line]], rules: FileRules, report: Report
) -> Iterator[LocatedDocument]:
    """Yields the documents of JSON objects, one a line; blank lines are passed over."""
    for number, value, has_escapes in read_records(lines, rules, report):
        found = rules.document(value, number)
        if has_escapes and isinstance(found, Document):
            found = rules.with_good_characters(found, number)
        if isinstance(found, Problem):
            report(found)
        else:
            yield LocatedDocument(found, number)


def read_records(
    lines: Iterable[tuple[int, Line]], rules: FileRules, report: Report
) -> Iterator[Record]:
    """Yields the JSON values of lines that are not blank; what is none is reported."""
    for number, line in lines:
        if isinstance(line, OverlongLine):
            report(rules.too_long(number, line.num_bytes))
            continue
        if line[:1] != b"{" and is_blank(line):
            continue
        found = _parse_json_line(line, number, rules)
        if isinstance(found, Problem):
            report(found)
        else:
            yield found


def _parse_json_line(line: bytes, number: int, rules: FileRules) -> Record | Problem:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 4301 digits
        content = rules.decode(line, number)  # NUL, too, is never JSON
        if isinstance(content, Problem):
            return content
        reason = str(error)
        if isinstance(error, json.JSONDecodeError):
            reason = f"{error.msg} at column {error.colno}"
        return rules.problem(
            number, "json", f"broken JSON ({reason}); write one object a line, e.g. with jq -c"
        )
    return Record(number, value, b"\\" in line)


class _Paragraph(NamedTuple):
    """Lines between blank lines; None instead of lines that are too long together."""

    first_line: int
    lines: list[bytes] | None
    num_bytes: int


def read_paragraphs(
    lines: Iterable[tuple[int, Line]], rules: FileRules, report: Report
) -> Iterator[LocatedDocument]:
    """Yields the blocks of lines between blank lines; line ends become a newline."""
    for paragraph in _cut_paragraphs(lines, rules.max_document_bytes):
        number = paragraph.first_line
        if paragraph.lines is None:
            report(rules.too_long(number, paragraph.num_bytes))
            continue
        text = _decode_paragraph(paragraph.lines, number, rules)
        if isinstance(text, Problem):
            report(text)
        else:
            document = Document(text, f"{rules.file}:{number}", rules.language, rules.source)
            yield LocatedDocument(document, number)


def _cut_paragraphs(lines: Iterable[tuple[int, Line]], max_bytes: int) -> Iterator[_Paragraph]:
    first_line, num_bytes = 0, -1
    block: list[bytes] = []
    for number, line in lines:
        if is_blank(line):
            if first_line:
                yield _Paragraph(first_line, block if num_bytes <= max_bytes else None, num_bytes)
            first_line, num_bytes, block = 0, -1, []
            continue
        first_line = first_line or number
        num_bytes += line_bytes(line) + 1
        if num_bytes <= max_bytes and isinstance(line, bytes):
            block.append(line.rstrip(b"\r"))
        else:
            block = []
    if first_line:
        yield _Paragraph(first_line, block if num_bytes <= max_bytes else None, num_bytes)


def _decode_paragraph(lines: list[bytes], first_line: int, rules: FileRules) -> str | Problem:
    """The text of a paragraph, or the problem of its first bad line."""
    text = rules.decode(b"\n".join(lines), first_line)
    if isinstance(text, str):
        return text
    checked = (rules.decode(line, number) for number, line in enumerate(lines, first_line))
    return next(problem for problem in checked if isinstance(problem, Problem))
