"""Parquet files: columns to documents, row groups to slices, and what is wrong by row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from presence_t5x.data.documents import Document
from presence_t5x.data.text_files import FilesSource


def read_source(source):
    problems = []
    located = [found for part in source.parts() for found in source.read(part, problems.append)]
    return located, problems


def test_language_text_field_and_parquet_labels(tmp_path):
    table = pa.table({"body": ["one", "two"], "id": [7, None], "lang": ["sw", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"body": "three", "language": null, "lang": "ro"}')
    (tmp_path / "c.txt").write_text("four")
    located, problems = read_source(FilesSource(str(tmp_path), text_field="body", language="ga"))
    assert not problems and [tuple(found) for found in located] == [
        (Document("one", "7", "sw", "a.parquet"), 1),
        (Document("two", "a.parquet:2", "ga", "a.parquet"), 2),
        (Document("three", "b.jsonl:1", "ro", "b.jsonl"), 1),
        (Document("four", "c.txt:1", "ga", "c.txt"), 1),
    ]


def test_slices_of_parquet_are_row_groups(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"text {i:02}" for i in range(50)]})
    # So that all row groups but the last have one size.
    plain = {"compression": "none", "use_dictionary": False}
    pq.write_table(table, path, row_group_size=8, **plain)
    whole = read_source(FilesSource(str(path)))
    size = pq.ParquetFile(path).metadata.row_group(0).column(0).total_compressed_size
    for slice_bytes, first_rows in ((1, [1, 9, 17, 25, 33, 41, 49]), (2 * size, [1, 17, 33, 49])):
        source = FilesSource(str(path), slice_bytes=slice_bytes)
        assert [part.first_line for part in source.parts()] == first_rows
        assert read_source(source) == whole
    assert [found.line for found in whole[0]] == list(range(1, 51))


def test_rows_of_parquet_that_are_no_documents(tmp_path):
    text = pa.array([b"one", None, b" ", b"\xff", b"\0", b"x" * 101, b"end"], pa.binary())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    located, problems = read_source(FilesSource(str(tmp_path), max_document_bytes=100))
    assert [found.document[:2] for found in located] == [
        ("one", "a.parquet:1"),
        ("end", "a.parquet:7"),
    ]
    assert [problem[1:3] for problem in problems] == [
        (2, "empty_text"),
        (3, "empty_text"),
        (4, "encoding"),
        (5, "encoding"),
        (6, "too_long"),
    ]


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"txt": ["a"] * 9}, "no_text", "no field 'text' (found ['txt']); add it"),
        ({"doc": [{"text": "a"}] * 9}, "no_text", "it is nested under 'doc'"),
        ({"text": [5] * 9}, "empty_text", "column 'text' is of type int64, not string"),
    ],
)
def test_parquet_without_text_is_one_problem(tmp_path, columns, kind, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=3)
    for slice_bytes in (1, 1 << 20):
        located, (problem,) = read_source(FilesSource(str(tmp_path), slice_bytes=slice_bytes))
        assert not located and problem[:3] == ("a.parquet", 0, kind)
        assert message in problem.message


def test_parquet_damaged_in_the_middle(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [np.random.default_rng(i).bytes(2000).hex() for i in range(40)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=10, use_dictionary=False)
    content = bytearray(path.read_bytes())
    middle = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(content)
    located, (problem,) = read_source(FilesSource(str(path)))
    assert [found.document.text for found in located] == texts[: len(located)]
    assert problem[:3] == ("a.parquet", len(located) + 1, "unreadable") and len(located) == 20
