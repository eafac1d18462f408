"""Hostile inputs: each ends in one line that says what, where and what to do; nothing is left."""

import html
import html.parser as html_parser
import itertools
import json
import subprocess
import sys

import pytest
from hostile import (
    checkpoint_inputs,
    data_inputs,
    gin_inputs,
    harness,
    plan_inputs,
    store_inputs,
    vocabulary_inputs,
)
from hostile.harness import Place, check_ending, check_nothing_left, check_refused
from hostile.valid import Valid

CORPORA = (
    gin_inputs,
    data_inputs,
    checkpoint_inputs,
    vocabulary_inputs,
    store_inputs,
    plan_inputs,
)
CASES = list(itertools.chain.from_iterable(corpus.CASES for corpus in CORPORA))

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries, about what they are given


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return Valid(tmp_path_factory.mktemp("valid"))


@pytest.fixture
def place(tmp_path, valid):
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return Place(tmp_path / "input", tmp_path / "output", valid)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused(case, place, capfd):
    check_refused(case, place, capfd)


def test_there_are_enough_of_every_kind():
    assert len(CASES) >= 60 and len({case.name for case in CASES}) == len(CASES)
    assert all(len(corpus.CASES) >= 10 for corpus in CORPORA)
    assert all(case.says for case in CASES)


GOOD = b'{"text": "a good line"}\n'
# Rows that are left out, counted and named by file and line, while the others are kept.
ROWS = {
    "encoding": b"\xff\xfe\n",
    "json": b"{\n",
    "deep": b"[" * 100_000 + b"\n",
    "digits": b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n",
    "no_text": b"[1]\n",
    "empty_text": b'{"text": " "}\n',
    "label": b'{"text": "a", "lang": ["en"]}\n',
    "long_label": b'{"text": "a", "id": "' + b"i" * 70_000 + b'"}\n',
    "surrogate": rb'{"text": "\ud800"}' + b"\n",
    "nul": rb'{"text": "\u0000"}' + b"\n",
}
KINDS = {"deep": "json", "digits": "json", "long_label": "label", "surrogate": "encoding"}
KINDS |= {"nul": "encoding"}


def test_broken_rows_are_counted_and_the_rest_is_kept(place, capfd):
    (place.folder / "a.jsonl").write_bytes(b"".join(GOOD + row for row in ROWS.values()) + GOOD)
    assert harness.run("prepare", data_inputs.preparing(place, place.folder)) == 0
    assert "problems:" in capfd.readouterr().err
    store = place.output / "store"
    manifest = json.loads((store / "manifest.json").read_text())
    kinds = [KINDS.get(name, name) for name in ROWS]
    assert manifest["problems"] == {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert manifest["num_documents"] == len(ROWS) + 1
    problems = [json.loads(line) for line in (store / "problems.jsonl").read_text().splitlines()]
    lines = range(2, 2 * len(ROWS) + 1, 2)
    assert [(one["file"], one["line"]) for one in problems] == [("a.jsonl", n) for n in lines]


def test_ids_that_are_there_twice_are_counted(place, capfd):
    row = b'{"text": "a", "id": "same"}\n'
    (place.folder / "a.jsonl").write_bytes(row * 3)
    assert harness.run("prepare", data_inputs.preparing(place, place.folder)) == 0
    assert "duplicate_id 2" in capfd.readouterr().err


SCRIPT = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"


def test_hostile_text_is_text_on_the_page(place, capfd):
    """In names of languages and noise, in settings and in the run's own folder."""
    runs = place.valid.copy("runs", place.folder)
    for run in runs.iterdir():
        for name in ("evaluation.jsonl", "probe.jsonl", "probe_scores.jsonl"):
            file = run / name
            text = file.read_text().replace('"sw"', json.dumps(SCRIPT))
            file.write_text(text.replace('"permuted_words"', json.dumps(f"noise {SCRIPT}")))
        config = json.loads((run / "config.json").read_text())
        config["data"][SCRIPT] = {"nested": SCRIPT}
        config["model_dir"] = SCRIPT
        (run / "config.json").write_text(json.dumps(config))
    hostile = runs / "pres<b onmouseover=alert(2)>"
    (runs / "presence").rename(hostile)
    output = place.output / "report"
    arguments = [f"--baseline={runs / 'baseline'}", f"--presence={hostile}", f"--output={output}"]
    assert harness.run("report", arguments) == 0
    page = (output / "report" / "index.html").read_text()
    assert "alert" in page and html.escape(SCRIPT, quote=True) in page
    tags = Tags()
    tags.feed(page)
    assert not {"script", "img", "b"} & tags.names, tags.names
    assert not any(name.startswith("on") for name in tags.attributes)


class Tags(html_parser.HTMLParser):
    """The names of all elements and attributes of a page, as a browser sees them."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)


# In processes of their own: what Python, and not the harness, makes of the end of a command.
PROCESSES = ("prepare-binary_lines", "convert-pickle_named_safetensors", "filter-scores_cut_in_two")


@pytest.mark.parametrize("name", PROCESSES)
def test_as_a_command(name, place):
    case = next(case for case in CASES if case.name == name)
    command = [sys.executable, "-m", f"presence_t5x.{case.command}", *case.make(place)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    check_ending(result.returncode, result.stderr, case.says)
    check_nothing_left(place.output)


@pytest.mark.parametrize(
    ("status", "messages"),
    [
        (0, "error: a.txt is broken\n"),
        (None, "error: a.txt is broken\n"),
        (2, "no error at all\n"),
        (2, "error: a.txt is broken\nand goes on\n"),
        (2, "error: one a.txt\nerror: two a.txt\n"),
        (2, "Traceback (most recent call last):\nerror: a.txt\n"),
        (2, "error: a.txt \x1b[31m is broken\n"),
        (2, "error: something is broken\n"),
        (2, f"error: a.txt {'x' * 2000}\n"),
    ],
)
def test_the_check_of_endings_can_fail(status, messages):
    with pytest.raises(AssertionError):
        check_ending(status, messages, ("a.txt",))
    check_ending(2, "note\nerror: a.txt is broken\n", ("a.txt", "broken"))


def test_the_check_of_the_output_can_fail(tmp_path):
    (tmp_path / ".store.lock").write_text("")
    check_nothing_left(tmp_path)
    (tmp_path / "store" / "half").mkdir(parents=True)
    check_nothing_left(tmp_path)
    (tmp_path / "store" / "half" / "part").write_text("")
    with pytest.raises(AssertionError):
        check_nothing_left(tmp_path)
