"""Reading local files, and every way they can be wrong."""

import gzip
import json
import re

import pytest

from presence_t5x.data.text_files import check_text_files, find_text_files, read_documents


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


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
    assert first == ("one", "7", "sw", "s", "")
    assert second == ("two", "a.jsonl.gz:3", "ro", "a.jsonl.gz", "")


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
