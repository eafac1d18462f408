"""Finding local files and their strict use; `test_text_problems` has what can be wrong in them."""

import gzip
import hashlib
import json
import os
import pickle
import re

import fsspec
import pytest
import zstandard

from presence_t5x.data.documents import Document, raise_problem
from presence_t5x.data.text_files import (
    FilesSource,
    check_text_files,
    find_text_files,
    read_documents,
)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def read_all(source):
    """The located documents and the problems of all parts."""
    problems = []
    located = [found for part in source.parts() for found in source.read(part, problems.append)]
    return located, problems


def test_paragraphs_of_text_files(tmp_path):
    content = "\ufefffirst line\nsecond line\r\n\n  \nthird\n\n\nfourth"
    for name in ("a.txt", "sub/b.txt.gz"):
        write(tmp_path / name, content)
    documents = list(read_documents(str(tmp_path)))
    assert [(d.text, d.id, d.source, d.language) for d in documents[:3]] == [
        ("first line\nsecond line", "a.txt:1", "a.txt", ""),
        ("third", "a.txt:5", "a.txt", ""),
        ("fourth", "a.txt:8", "a.txt", ""),
    ]
    assert [d.id for d in documents[3:]] == ["sub/b.txt.gz:1", "sub/b.txt.gz:5", "sub/b.txt.gz:8"]


def test_json_lines(tmp_path):
    lines = [
        {"text": "one", "lang": "sw", "source": "s", "id": 7},
        {"text": "two", "language": "ro"},
    ]
    content = "\n\n".join(map(json.dumps, lines))
    pattern = write(tmp_path / "a.jsonl.gz", content)
    first, second = read_documents(pattern)
    assert first == Document("one", "7", "sw", "s")
    assert second == Document("two", "a.jsonl.gz:3", "ro", "a.jsonl.gz")


def test_globs_are_sorted_and_ids_do_not_depend_on_the_place(tmp_path):
    for root in ("x", "y"):
        for name in ("b/2.txt", "a/1.txt"):
            write(tmp_path / root / name, "text")
    ids = [[d.id for d in read_documents(f"{tmp_path}/{root}/*/*.txt")] for root in ("x", "y")]
    assert ids[0] == ids[1] == ["a/1.txt:1", "b/2.txt:1"]
    assert len(find_text_files(f"{tmp_path}/**/*.txt")) == 4


BROKEN = {
    "no_match": (None, None, "matches no file; give a glob or a directory"),
    "kind": ("a.csv", "x", "a.csv: unknown kind of file; rename it"),
    "empty": ("a.txt", "", "a.txt: no document in this file; remove it or add text"),
    "blank": ("a.jsonl", "\n\n", "a.jsonl: no document in this file"),
    "latin1": ("a.txt", b"good\nbad \xe9\n", "a.txt:2: not UTF-8 .* at byte 4 of the line"),
    "json": ("a.jsonl", '{"text": "a"}\n{"text": ', "a.jsonl:2: broken JSON .* one object a line"),
    "list": ("a.jsonl", "[1]", r"a.jsonl:1: no field 'text' \(found list\)"),
    "missing": (
        "a.jsonl",
        '{"txt": "a"}',
        r"a.jsonl:1: no field 'text' \(found \['txt'\]\); add it",
    ),
    "number": ("a.jsonl", '{"text": 5}', "a.jsonl:1: text=5 must be a non-empty string; repair"),
    "hollow": ("a.jsonl", '{"text": " "}', "a.jsonl:1: text=' ' must be a non-empty string"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_name_file_line_and_remedy(tmp_path, case):
    name, content, message = BROKEN[case]
    pattern = f"{tmp_path}/none*.txt" if name is None else write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        check_text_files(pattern)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"text\n" * 5000)[:40])
    with pytest.raises(ValueError, match=re.escape(f"{path}:") + r"\d+: cannot be read"):
        check_text_files(str(path))


def test_checking_counts_and_visits(tmp_path):
    pattern = write(tmp_path / "a.txt", "a\n\nb")
    seen = []
    assert check_text_files(pattern, seen.append) == 2
    assert [document.text for document in seen] == ["a", "b"]


def test_members_of_compressed_files_are_joined(tmp_path):
    """Also a Zstandard frame that is to be skipped, as pzstd writes, and zeros after gzip."""
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    (tmp_path / "a.txt.gz").write_bytes(
        gzip.compress(b"on") + gzip.compress(b"e\n\ntwo") + b"\0" * 600
    )
    (tmp_path / "b.txt.zst").write_bytes(
        zstandard.compress(b"on") + skippable + zstandard.compress(b"e\n\ntwo")
    )
    assert [(d.text, d.id) for d in read_documents(str(tmp_path))] == [
        ("one", "a.txt.gz:1"),
        ("two", "a.txt.gz:3"),
        ("one", "b.txt.zst:1"),
        ("two", "b.txt.zst:3"),
    ]


def test_json_ending_upper_case_and_names_with_wildcards(tmp_path):
    write(tmp_path / "a.json", '{"text": "one", "id": null}')
    write(tmp_path / "B[1].TXT", "two")
    assert [d.id for d in read_documents(str(tmp_path))] == ["B[1].TXT:1", "a.json:1"]
    assert [d.id for d in read_documents(f"{tmp_path}/B[1].TXT")] == ["B[1].TXT:1"]
    assert [d.id for d in read_documents(f"file://{tmp_path}/*.json")] == ["a.json:1"]
    ((name, _, digest),) = FilesSource(f"file://{tmp_path}/*.json").parameters()["files"]
    expected = hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()
    assert (name, digest) == ("a.json", expected)


def test_other_files_are_reported_one_by_one(tmp_path):
    for name in ("a.txt", "b.txt", "c.csv", "sub/d.pdf", ".hidden.txt"):
        write(tmp_path / name, "text")
    located, problems = read_all(FilesSource(str(tmp_path)))
    assert [found.document.id for found in located] == ["a.txt:1", "b.txt:1"]
    assert [problem[:3] for problem in problems] == [
        ("c.csv", 0, "unknown_kind"),
        ("sub/d.pdf", 0, "unknown_kind"),
    ]
    assert read_all(FilesSource(f"{tmp_path}/*.*"))[1] == problems[:1]
    assert check_text_files(str(tmp_path)) == 2
    for strict in (find_text_files, check_text_files):
        with pytest.raises(ValueError, match=r"c.csv: unknown kind of file"):
            strict(f"{tmp_path}/*.*")


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "other" / "a.csv", "x")
    for pattern in ("empty", "other/*.txt", "no"):
        with pytest.raises(ValueError, match=r"matches no file; give a glob or a directory of"):
            FilesSource(f"{tmp_path}/{pattern}").parts()
    with pytest.raises(ValueError, match=r"a.csv: unknown kind .* 1 files and none is of these"):
        FilesSource(f"{tmp_path}/other").parts()


def test_a_link_to_its_own_directory_is_not_followed(tmp_path):
    write(tmp_path / "a" / "b.txt", "text")
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    os.symlink(tmp_path / "a", tmp_path / "other")
    assert [d.id for d in read_documents(str(tmp_path))] == ["a/b.txt:1", "other/b.txt:1"]


def test_names_that_are_not_utf8_make_ids_that_are(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xe9.txt"
    with open(path, "wb") as file:
        file.write(b"text")
    assert [d.id for d in read_documents(str(tmp_path))] == [r"\udce9.txt:1"]


def test_urls_through_fsspec(tmp_path):
    memory = fsspec.filesystem("memory")
    try:
        for name, text in (("a/1.txt", "one\n\ntwo"), ("b/2.jsonl", '{"text": "three"}')):
            memory.pipe(f"/corpus/{name}", text.encode())
        memory.pipe("/corpus/b/readme.md", b"x")
        expected = [("one", "a/1.txt:1"), ("two", "a/1.txt:3"), ("three", "b/2.jsonl:1")]
        for pattern in ("", "/*/*", "/**"):
            source = FilesSource(f"memory://corpus{pattern}", slice_bytes=4)
            located, problems = read_all(source)
            assert [(f.document.text, f.document.id) for f in located] == expected
            assert [problem.file for problem in problems] == ["b/readme.md"]
            assert [file[:2] for file in source.parameters()["files"]] == [
                ["a/1.txt", 8],
                ["b/2.jsonl", 17],
            ]
        before = FilesSource("memory://corpus/a").parameters()
        memory.pipe("/corpus/a/1.txt", b"one\n\nTWO")
        assert FilesSource("memory://corpus/a").parameters() != before
    finally:
        memory.rm("/corpus", recursive=True)
    with pytest.raises(ValueError, match=r"memory://corpus' matches no file"):
        FilesSource("memory://corpus").parts()
    with pytest.raises(ValueError, match=r"Protocol not known: foo; give a path"):
        FilesSource("foo://corpus").parts()


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_missing_packages_of_urls_are_named(monkeypatch, protocol, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ValueError, match=f"pip install {package} to read {protocol}://"):
        FilesSource(f"{protocol}://bucket/*.txt").parts()


def test_parameters_change_with_content_and_settings(tmp_path):
    write(tmp_path / "a.txt", "text")
    source = FilesSource(str(tmp_path))
    before = source.parameters()
    name, num_bytes, digest = before["files"][0]
    assert (name, num_bytes, len(digest)) == ("a.txt", 4, 64)
    write(tmp_path / "a.txt", "TEXT")
    assert source.parameters() == before, "files are hashed once"
    restored = pickle.loads(pickle.dumps(source))
    assert restored == source and restored.parameters() != before
    for change in ({"text_field": "t"}, {"max_document_bytes": 5}, {"language": "sw"}):
        changed = FilesSource(str(tmp_path), **change)
        assert changed.parameters() != restored.parameters()
    assert source.task_rates() == {"local_text": 1.0}
    assert FilesSource(str(tmp_path), slice_bytes=9).parameters() != restored.parameters()
    assert FilesSource(str(tmp_path), task="t").parts()[0].task == "t"


@pytest.mark.parametrize("setting", ["max_document_bytes", "slice_bytes"])
def test_settings_are_checked(setting):
    with pytest.raises(ValueError, match=rf"{setting}=0 must be >= 1"):
        FilesSource("a.txt", **{setting: 0})


def test_reading_is_lazy_and_can_stop(tmp_path):
    source = FilesSource(write(tmp_path / "a.jsonl", '{"text": "a"}\n{'))
    reading = source.read(source.parts()[0], raise_problem)
    assert next(reading).document.text == "a"
    with pytest.raises(ValueError, match=r"a.jsonl:2: broken JSON"):
        next(reading)
