"""Rows of Parquet files to documents; the line of a document is the number of its row, from 1."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from presence_t5x.data.documents import Document, LocatedDocument, Problem, Report
from presence_t5x.data.text_files.formats import FileRules
from presence_t5x.data.text_files.lines import ReadingStoppedError, unreadable
from presence_t5x.data.text_files.listing import open_bytes

_BATCH_BYTES = 16 << 20
_MOST_ROWS_PER_BATCH = 4096
_LABELS = ("id", "url", "language", "lang", "source")


class RowGroups(NamedTuple):
    """Consecutive row groups: [start, stop), the number of the first row, bytes on disk."""

    start: int
    stop: int
    first_row: int
    num_bytes: int


def cut_row_groups(path: str, slice_bytes: int) -> list[RowGroups]:
    """Returns the row groups of a file together up to `slice_bytes`, at least one each time.

    Raises:
      ReadingStoppedError: the file cannot be opened or is damaged.
    """
    try:
        with open_bytes(path) as file, pq.ParquetFile(file) as parquet:
            metadata = parquet.metadata
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            sizes = [
                sum(group.column(i).total_compressed_size for i in range(group.num_columns))
                for group in groups
            ]
            counts = [group.num_rows for group in groups]
    except Exception as error:  # also those of file systems behind URLs
        raise unreadable(error) from error
    slices: list[RowGroups] = []
    for i, num_bytes in enumerate(sizes):
        if slices and slices[-1].num_bytes + num_bytes <= slice_bytes:
            last = slices[-1]
            slices[-1] = last._replace(stop=i + 1, num_bytes=last.num_bytes + num_bytes)
        else:
            slices.append(RowGroups(i, i + 1, 1 + sum(counts[:i]), num_bytes))
    return slices


def read_rows(
    path: str, start: int, stop: int, first_row: int, rules: FileRules, report: Report
) -> Iterator[LocatedDocument]:
    """Yields the documents of the row groups [start, stop); stop=0 is all.

    Raises:
      ReadingStoppedError: the file is damaged or has no column that is text; with the row if some
        were read.
    """
    number = first_row
    try:
        for values in _rows(path, start, stop, rules):
            found = _document(values, number, rules)
            if isinstance(found, Problem):
                report(found)
            else:
                yield LocatedDocument(found, number)
            number += 1
    except ReadingStoppedError as error:
        line = number if number > first_row else 0
        raise ReadingStoppedError(error.kind, error.message, line) from error


def _document(values: dict[str, Any], row: int, rules: FileRules) -> Document | Problem:
    """The document of a row whose strings are still bytes."""
    text = values[rules.text_field]
    if isinstance(text, bytes) and len(text) > rules.max_document_bytes:
        return rules.too_long(row, len(text))
    record: dict[str, Any] = {}
    for name, value in values.items():
        try:
            record[name] = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError as error:
            return rules.not_utf8(row, error)
    found = rules.document(record, row)
    return rules.with_good_characters(found, row) if isinstance(found, Document) else found


def _rows(path: str, start: int, stop: int, rules: FileRules) -> Iterator[dict[str, Any]]:
    """Yields the fields of interest, strings as bytes; errors of pyarrow stop the reading."""
    try:
        file = open_bytes(path)
    except Exception as error:
        raise unreadable(error) from error
    with file:
        batches = _batches(file, start, stop, rules)
        while True:
            try:
                batch = next(batches, None)
                columns = [] if batch is None else [_values(column) for column in batch.columns]
            except ReadingStoppedError:
                raise
            except Exception as error:
                raise unreadable(error) from error
            if batch is None:
                return
            for row in zip(*columns):
                yield dict(zip(batch.schema.names, row))


def _batches(file: Any, start: int, stop: int, rules: FileRules) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as parquet:
        _check_text_column(parquet.schema_arrow, rules)
        wanted = (rules.text_field, *_LABELS)
        groups = range(start, stop or parquet.metadata.num_row_groups)
        columns = [name for name in parquet.schema_arrow.names if name in wanted]
        for i in groups:  # one by one, so that damage spoils nothing before its own group
            metadata = parquet.metadata.row_group(i)
            bytes_per_row = metadata.total_byte_size // max(1, metadata.num_rows)
            batch_size = min(_MOST_ROWS_PER_BATCH, max(1, _BATCH_BYTES // max(1, bytes_per_row)))
            yield from parquet.iter_batches(batch_size, row_groups=[i], columns=columns)


def _check_text_column(schema: pa.Schema, rules: FileRules) -> None:
    """Refuses a file as a whole, rather than each of its rows."""
    if rules.text_field not in schema.names:
        record = {
            field.name: dict.fromkeys(
                inner.name for inner in (field.type if pa.types.is_struct(field.type) else ())
            )
            for field in schema
        }
        problem = rules.no_text(0, record)
        raise ReadingStoppedError(problem.kind, problem.message)
    kind = schema.field(rules.text_field).type
    if not _is_string(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise ReadingStoppedError(
            "empty_text",
            f"column {rules.text_field!r} is of type {kind}, not string; convert it or name "
            "another text_field",
        )


_STRING_TESTS = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")


def _is_string(kind: pa.DataType) -> bool:
    return any(getattr(pa.types, f"is_{name}")(kind) for name in _STRING_TESTS)


def _values(column: pa.Array) -> list[Any]:
    """Python values, strings as bytes: they may be no UTF-8."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return (column.cast(pa.large_binary()) if _is_string(column.type) else column).to_pylist()
