"""What is wrong in files is reported by file and line, and all the rest is read."""

import gzip
import json
import tracemalloc

import numpy as np
import pytest
import zstandard

from presence_t5x.data.text_files import FilesSource, listing, parquet_rows, slices

GOOD = b'{"text": "good"}'
DEEP = b'{"text": ' + b"[" * 100_000
# name, content, (line, kind, part of the message) of every problem, lines of the documents
CASES = {
    "latin1_json": ("a.jsonl", GOOD + b"\n\xe9\n" + GOOD, [(2, "encoding", "byte 0")], [1, 3]),
    "latin1_text": (
        "a.txt",
        b"one\n\ntwo\nbad \xe9\nthree\n\nfour",
        [(4, "encoding", "byte 4 of the line); convert the file, e.g. with iconv")],
        [1, 7],
    ),
    "two_bad_lines": ("a.txt", b"\xe9\nx\n\xe9\n\nend", [(1, "encoding", "not UTF-8")], [5]),
    "utf16": (
        "a.txt",
        "one\n\ntwo".encode("utf-16"),
        [(0, "encoding", "UTF-16 (by its first two bytes); convert")],
        [],
    ),
    "utf16_big_endian": (
        "a.jsonl",
        b"\xfe\xff" + GOOD.decode().encode("utf-16-be"),
        [(0, "encoding", "iconv -f UTF-16")],
        [],
    ),
    "nul_text": ("a.txt", b"one\nt\0o\n\nend", [(2, "encoding", "NUL at byte 1")], [4]),
    "nul_json": ("a.jsonl", b"\0\0\0\n" + GOOD, [(1, "encoding", "NUL at byte 0")], [2]),
    "nul_escaped": (
        "a.jsonl",
        rb'{"text": "a\u0000"}' + b"\n" + GOOD,
        [(1, "encoding", "NUL at character 1 of 'text'")],
        [2],
    ),
    "surrogate": (
        "a.jsonl",
        rb'{"text": "\ud800"}' + b"\n" + rb'{"text": "\ud83d\ude00"}',
        [(1, "encoding", "'text' has half a surrogate pair")],
        [2],
    ),
    "surrogate_id": (
        "a.jsonl",
        rb'{"text": "a", "id": "\udfff"}' + b"\n" + GOOD,
        [(1, "encoding", "'id' has half a surrogate pair")],
        [2],
    ),
    "raw_surrogate": ("a.jsonl", b'{"text": "\xed\xa0\x80"}\n' + GOOD, [(1, "encoding", "")], [2]),
    "long_json": (
        "a.jsonl",
        GOOD + b"\n" + b"x" * 101 + b"\n" + GOOD,
        [(2, "too_long", "101 bytes; raise max_document_bytes=100")],
        [1, 3],
    ),
    "long_enough": ("a.txt", b"x" * 100 + b"\n\n" + b"x\n" * 50, [], [1, 3]),
    "long_line": ("a.txt", b"a\n" + b"x" * 200, [(1, "too_long", "202 bytes")], []),
    "long_paragraph": (
        "a.txt",
        b"one\n\n" + b"x\n" * 51 + b"\nend",
        [(3, "too_long", "101 bytes")],
        [1, 55],
    ),
    "json": ("a.jsonl", b"{\n" + GOOD, [(1, "json", "write one object a line")], [2]),
    "deep": ("a.jsonl", b"[" * 99 + b"\n" + GOOD, [(1, "json", "broken JSON")], [2]),
    "digits": ("a.jsonl", b'{"text": 1e\n' + GOOD, [(1, "json", "at column")], [2]),
    "array": ("a.json", b'[{"text": "a"}]\n', [(1, "no_text", "found list); write one")], []),
    "no_text": ("a.jsonl", b'{"txt": 1, "b": 2}\n', [(1, "no_text", "found ['b', 'txt']")], []),
    "nested": (
        "a.jsonl",
        b'{"doc": {"text": "a"}}\n' + GOOD,
        [(1, "no_text", "it is nested under 'doc'")],
        [2],
    ),
    "number": ("a.jsonl", b'{"text": 5}\n' + GOOD, [(1, "empty_text", "text=5 must be")], [2]),
    "null": ("a.jsonl", b'{"text": null}\n' + GOOD, [(1, "empty_text", "text=None")], [2]),
    "spaces": ("a.jsonl", b'{"text": " \\n"}\n' + GOOD, [(1, "empty_text", "non-empty")], [2]),
    "empty": ("a.txt", b"", [(0, "empty_file", "no document in this file; remove it")], []),
    "blank": ("a.jsonl", b"\n \r\n\n", [(0, "empty_file", "no document")], []),
    "empty_gzip": ("a.txt.gz", b"", [(0, "empty_file", "no document")], []),
    "header": ("a.txt.gz", b"plain text", [(0, "unreadable", "this is no .gz data")], []),
    "zst_header": (
        "a.jsonl.zst",
        b"plain text",
        [(0, "unreadable", "rename or copy it again")],
        [],
    ),
    "parquet": ("a.parquet", b"PAR1 not at all", [(0, "unreadable", "cannot be read")], []),
    "empty_parquet": ("a.parquet", b"", [(0, "unreadable", "cannot be read")], []),
}


def read_source(source):
    problems = []
    located = [found for part in source.parts() for found in source.read(part, problems.append)]
    return located, problems


@pytest.mark.parametrize("case", CASES)
def test_problems_are_located_and_the_rest_is_read(tmp_path, case):
    name, content, expected, lines = CASES[case]
    (tmp_path / "z.txt").write_text("another file")
    (tmp_path / name).write_bytes(content)
    located, problems = read_source(FilesSource(str(tmp_path), max_document_bytes=100))
    assert [found.line for found in located] == [*lines, 1]
    assert [(p.file, p.line, p.kind) for p in problems] == [(name, *e[:2]) for e in expected]
    for problem, (_, _, text) in zip(problems, expected):
        assert text in problem.message


@pytest.mark.parametrize("content", [DEEP, b'{"text": ' + b"9" * 5000 + b"}"])
def test_json_that_python_refuses(tmp_path, content):
    (tmp_path / "a.jsonl").write_bytes(content + b"\n" + GOOD)
    located, problems = read_source(FilesSource(str(tmp_path)))
    assert [found.line for found in located] == [2]
    assert [problem[:3] for problem in problems] == [("a.jsonl", 1, "json")]


def random_lines(ending, num_lines=20_000):
    """Lines that do not compress well, so that half of the bytes is about half of the lines."""
    rng = np.random.default_rng(0)
    texts = [rng.bytes(20).hex() for _ in range(num_lines)]
    if ending == ".txt":
        return "\n\n".join(texts).encode()
    return "\n".join(json.dumps({"text": text}) for text in texts).encode()


@pytest.mark.parametrize("ending", [".txt", ".jsonl"])
@pytest.mark.parametrize("compression", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "changed", "rubbish"])
def test_what_comes_before_damage_is_kept(tmp_path, ending, compression, damage):
    content = random_lines(ending)
    checked = zstandard.ZstdCompressor(write_checksum=True)  # as the command zstd does
    packed = (gzip if compression == ".gz" else checked).compress(content)
    half = len(packed) // 2
    damaged = {
        "cut": packed[:half],
        "changed": packed[:half] + b"\x55" * 99 + packed[half + 99 :],
        "rubbish": packed + b"rubbish, not another member",
    }[damage]
    path = tmp_path / f"a{ending}{compression}"
    path.write_bytes(damaged)
    located, problems = read_source(FilesSource(str(path)))
    assert problems[-1].kind == "truncated" and "cannot be read to its end" in problems[-1].message
    whole, _ = read_source(FilesSource(write_plain(tmp_path / f"b{ending}", content)))
    texts, expected = ([found.document.text for found in run] for run in (located, whole))
    if damage == "changed":  # found by the checksum at the end, after the rest was read as rubbish
        sure = len(expected) // 3
        assert texts[:sure] == expected[:sure] and "garbled" in problems[-1].message
        return
    assert texts == expected[: len(texts)] and len(problems) == 1
    # Zstandard keeps blocks of 128 KiB whole or not at all, here a tenth of the file.
    share = len(texts) / len(expected)
    assert share < 1 and (share > 0.9999 if damage == "rubbish" else 0.35 < share < 0.55)
    assert problems[0].line == located[-1].line + (2 if ending == ".txt" else 1)


def write_plain(path, content):
    path.write_bytes(content)
    return str(path)


def test_files_that_cannot_be_opened_or_vanish(tmp_path, monkeypatch):
    """The tests run as root, whom no permission stops: so the opener refuses."""
    for name in "abcd":
        write_plain(tmp_path / f"{name}.txt", b"text\n\n" * 9)
    (tmp_path / "e.txt").symlink_to(tmp_path / "nowhere")
    opened = listing.open_bytes

    def refuse(path):
        if path.endswith("b.txt"):
            raise PermissionError(13, "Permission denied")
        return opened(path)

    monkeypatch.setattr(listing, "open_bytes", refuse)
    source = FilesSource(str(tmp_path))
    assert source.parameters()["files"][1] == ["b.txt", 54, ""]
    assert source.parameters()["files"][4] == ["e.txt", 0, ""]
    source.parts()
    (tmp_path / "c.txt").unlink()
    (tmp_path / "d.txt").write_bytes(b"text\n\ncut")
    located, problems = read_source(source)
    assert [found.document.id for found in located[-10:]] == [
        *(f"a.txt:{line}" for line in range(1, 19, 2)),
        "d.txt:1",
    ]
    assert [problem[:3] for problem in problems] == [
        ("b.txt", 0, "unreadable"),
        ("c.txt", 0, "unreadable"),
        ("d.txt", 3, "truncated"),
        ("e.txt", 0, "unreadable"),
    ]
    assert "Permission denied" in problems[0].message


@pytest.mark.parametrize("name", ["a.txt", "a.parquet"])
def test_files_that_cannot_be_cut_are_one_problem(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"text\n\n" * 9)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    for module in (listing, slices, parquet_rows):
        monkeypatch.setattr(module, "open_bytes", refuse)
    located, (problem,) = read_source(FilesSource(str(tmp_path), slice_bytes=1))
    assert not located and problem[:3] == (name, 0, "unreadable")


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_huge_line_is_never_in_memory(tmp_path, name):
    content = b"x" * 50_000_000 + b"\n" + (b"end" if ".txt" in name else GOOD)
    compress = {".gz": gzip.compress, "zst": zstandard.compress}.get(name[-3:], bytes)
    source = FilesSource(write_plain(tmp_path / name, compress(content)), max_document_bytes=10**6)
    del content
    tracemalloc.start()
    located, (problem,) = read_source(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000
    assert problem[1:3] == (1, "too_long")
    assert problem.message.startswith("a document of 5000000")
    assert [found.line for found in located] == ([] if ".txt" in name else [2])
