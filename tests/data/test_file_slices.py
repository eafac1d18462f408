"""Slices of files together are the whole file; published shards are known by their names."""

import gzip
import itertools
import json
import pickle
import random

import hypothesis
import pytest
from hypothesis import strategies as st

from presence_t5x.data.documents import Document
from presence_t5x.data.text_files import FilesSource
from presence_t5x.data.text_files.lines import OverlongLine, numbered_lines

LONG = b"long " * 12
BLANK = [b"", b"", b" ", b"\t ", "\u3000".encode(), b"\r", b" " * 30]
WORDS = [b"a", b"b c", b" d", b"\xe9", b"\0", LONG, b"\xa0"]
RECORDS = [b'{"text": "a"}', b'{"text": "b", "id": 7}', b'{"text": ""}', b"{"]
LINES = st.sampled_from([*BLANK, *WORDS, *RECORDS])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n"])
CONTENT = st.builds(
    lambda mark, lines, last: mark + b"".join(line + end for line, end in lines) + last,
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
    st.lists(st.tuples(LINES, ENDS), max_size=25),
    LINES,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("slices")


def read_source(source):
    """Documents and problems in order; that a file is empty is only known of whole files."""
    problems = []
    located = [found for part in source.parts() for found in source.read(part, problems.append)]
    return located, [problem for problem in problems if problem.kind != "empty_file"]


@hypothesis.given(
    content=CONTENT,
    ending=st.sampled_from(["txt", "jsonl"]),
    slice_bytes=st.integers(1, 70),
    max_document_bytes=st.sampled_from([2, 13, 40, 1000]),
)
@hypothesis.settings(max_examples=400, deadline=None)
def test_slices_read_as_the_whole(folder, content, ending, slice_bytes, max_document_bytes):
    path = folder / f"a.{ending}"
    path.write_bytes(content)
    limits = {"max_document_bytes": max_document_bytes}
    sliced = FilesSource(str(path), slice_bytes=slice_bytes, **limits)
    assert read_source(sliced) == read_source(FilesSource(str(path), **limits))
    parts = sliced.parts()
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == sum(part.num_bytes for part in parts) == len(content)
    assert len({part.name for part in parts}) == len(parts)
    assert [part.first_line for part in parts] == [
        1 + content[: part.start].count(b"\n") for part in parts
    ]
    assert all(part.num_bytes >= slice_bytes for part in parts[:-1])


@hypothesis.given(
    lines=st.lists(st.sampled_from(["", " ", "\u3000", "a", "b c", " d"]), max_size=25),
    end=st.sampled_from(["\n", "\r\n"]),
)
@hypothesis.settings(deadline=None)
def test_paragraphs_are_those_of_str(folder, lines, end):
    """Against the definition in words: runs of lines that are more than white space."""
    path = folder / "b.txt"
    path.write_bytes(end.join(lines).encode())
    runs, run = [], []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            run.append((number, line))
        elif run:
            runs.append(("\n".join(line for _, line in run), run[0][0]))
            run = []
    located, problems = read_source(FilesSource(str(path), slice_bytes=3))
    assert not problems
    assert [(found.document.text, found.line) for found in located] == runs


@hypothesis.given(content=st.text("ab\n", max_size=40), cuts=st.lists(st.integers(0, 40)))
def test_lines_do_not_depend_on_blocks(content, cuts):
    data = content.encode()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    blocks = [data[start:stop] for start, stop in itertools.pairwise(bounds)]
    expected = [line if len(line) <= 3 else OverlongLine(len(line)) for line in data.split(b"\n")]
    if not expected[-1]:
        expected.pop()
    assert list(numbered_lines(blocks, 5, 3)) == list(enumerate(expected, 5))


def test_one_line_longer_than_the_slice(tmp_path):
    content = b'{"text": "' + b"x" * 100 + b'"}\n{"text": "b"}\n{"text": "c"}'
    (tmp_path / "a.jsonl").write_bytes(content)
    parts = FilesSource(str(tmp_path), slice_bytes=20).parts()
    assert [(part.start, part.stop, part.first_line) for part in parts] == [
        (0, 113, 1),
        (113, 140, 2),
    ]


def test_cuts_are_as_early_as_they_can_be(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"a"}\n' * 6)
    (tmp_path / "b.txt").write_bytes(b"a\n\n" * 6)
    json_parts = FilesSource(f"{tmp_path}/a.jsonl", slice_bytes=26).parts()
    assert [part.start for part in json_parts] == [0, 26, 52]
    text_parts = FilesSource(f"{tmp_path}/b.txt", slice_bytes=7).parts()
    assert [part.start for part in text_parts] == [0, 9]


def test_compressed_files_are_one_slice(tmp_path):
    packed = gzip.compress(random.Random(0).randbytes(9999))
    assert packed.count(b"\n") > 9
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    (part,) = FilesSource(str(tmp_path), slice_bytes=1).parts()
    assert part.is_whole_file and part.num_bytes == part.stop > 0


MC4 = [
    ("c4-sw.tfrecord-00000-of-00064.json.gz", "mc4.sw", "train", "sw"),
    ("c4-sw-validation.tfrecord-00000-of-00001.json.gz", "mc4.sw", "validation", "sw"),
    ("c4-zh-Latn.tfrecord-00001-of-00002.json.gz", "mc4.zh_Latn", "train", "zh-Latn"),
    (
        "c4-zh-Latn-validation.tfrecord-00000-of-00001.json.gz",
        "mc4.zh_Latn",
        "validation",
        "zh-Latn",
    ),
    ("c4-zh.tfrecord-00000-of-01024.json.gz", "mc4.zh", "train", "zh"),
    ("en/c4-train.00000-of-01024.json.gz", "c4", "train", "en"),
    ("realnewslike/c4-validation.00000-of-00001.json.gz", "c4", "validation", "en"),
    ("de/c4-train.00000-of-00008.json.gz", "c4", "train", "de"),
    ("c4-sw-mine.json.gz", "local_text", None, ""),
    ("x/last.jsonl.gz", "local_text", None, ""),
]


def test_published_shards_are_known_by_name(tmp_path):
    record = {"text": "page", "timestamp": "2020", "url": "http://x/"}
    for name, *_ in MC4:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(json.dumps(record).encode()))
    source = FilesSource(str(tmp_path))
    parts = source.parts()
    assert {(part.name, part.task, part.split) for part in parts} == {row[:3] for row in MC4}
    tasks = [part.task for part in parts]
    assert tasks == sorted(tasks, key=tasks.index), "the parts of a task follow one another"
    names = {task: [part.name for part in parts if part.task == task] for task in tasks}
    assert all(files == sorted(files) for files in names.values())
    for part in parts:
        (found,) = source.read(part, print)
        language = next(row[3] for row in MC4 if row[0] == part.name)
        is_published = part.task != "local_text"
        assert found.document.language == language
        assert found.document.id == ("http://x/" if is_published else f"{part.name}:1")
        assert found.document.source == (part.task.split(".")[0] if is_published else part.name)
        assert pickle.loads(pickle.dumps(part)) == part
    rates = source.task_rates()
    assert list(rates) == list(dict.fromkeys(tasks))
    # Pages of mC4 3.0.1 in the TFDS catalog.
    assert rates["mc4.sw"] / rates["mc4.zh"] == pytest.approx((985_654 / 54_542_308) ** 0.3)


def test_records_of_shards_may_name_themselves(tmp_path):
    record = {"text": "page", "url": "u", "id": 3, "language": "ro", "source": "s"}
    path = tmp_path / MC4[0][0]
    path.write_bytes(gzip.compress(json.dumps(record).encode()))
    source = FilesSource(str(path))
    (found,) = source.read(source.parts()[0], print)
    assert found.document == Document("page", "3", "ro", "s")


def test_languages_without_a_rate_are_named(tmp_path):
    for language in ("xx", "qq-Latn"):
        (tmp_path / f"c4-{language}.tfrecord-00000-of-00001.json.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"languages \['qq-Latn', 'xx'\], which have no number"):
        FilesSource(str(tmp_path)).task_rates()
