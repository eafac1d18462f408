"""Writing and opening token stores; nothing half-written or damaged is ever read."""

import hashlib
import json
import multiprocessing
import os
import pathlib
import signal
import time

import memory_source
import numpy as np
import pytest

from presence_t5x.data.beam_writer import BeamWriter
from presence_t5x.data.documents import Document
from presence_t5x.data.store_writer import ProcessPool, prepare_store
from presence_t5x.data.token_records import TokenizedDocument, decode_record, encode_record
from presence_t5x.data.token_store import open_store


def encode(text):
    """One id a character."""
    return [3 + ord(character) % 256 for character in text]


DOCUMENTS = tuple(
    Document("ab" * (1 + i % 7), f"d{i}", "sw" if i % 3 else "ro", "web", "clean" if i % 2 else "")
    for i in range(40)
)


def make_source(documents=DOCUMENTS, part_size=8, split="train"):
    groups = (("one", 1.0, documents[:30]), ("two", 2.5, documents[30:]))
    return memory_source.MemorySource(groups, part_size, split)


def write(directory, documents=DOCUMENTS, *, part_size=8, split="train", **settings):
    return prepare_store(
        make_source(documents, part_size, split),
        directory,
        memory_source.BatchTokenizer(encode),
        **{"vocabulary": {"sha256": "v", "num_ids": 400}} | settings,
    )


def test_everything_written_is_read_back(tmp_path):
    store = write(tmp_path / "s")
    assert len(store) == 40 and len(store.manifest["parts"]) == 6
    for document, found in zip(DOCUMENTS, store):
        assert found.tokens.tolist() == encode(document.text)
        assert found.tokens.dtype == np.int32 and found.labels == document[1:5]
    assert store.token_counts.tolist() == [len(d.text) for d in DOCUMENTS]
    assert store.num_tokens == sum(len(d.text) for d in DOCUMENTS)
    assert [tuple(task) for task in store.tasks] == [("one", 1.0, 0, 30), ("two", 2.5, 30, 10)]
    store.verify()


def test_manifest_counts_and_selection(tmp_path):
    store = write(tmp_path / "s", command=("prepare", "--x"))
    manifest = store.manifest
    tokens = {
        code: sum(len(d.text) for d in DOCUMENTS if d.language == code) for code in ("ro", "sw")
    }
    assert manifest["languages"] == {
        "ro": {"num_documents": 14, "num_tokens": tokens["ro"]},
        "sw": {"num_documents": 26, "num_tokens": tokens["sw"]},
    }
    assert manifest["sources"]["web"]["num_documents"] == 40
    assert {name: n["num_documents"] for name, n in manifest["noises"].items()} == {
        "": 20,
        "clean": 20,
    }
    assert manifest["vocabulary"] == {"sha256": "v", "num_ids": 400}
    assert manifest["parameters"]["tasks"] == ["one", "two"]
    assert manifest["command"] == ["prepare", "--x"] and manifest["problems"] == {}
    expected = [i for i, d in enumerate(DOCUMENTS) if (d.language, d.noise) == ("ro", "clean")]
    assert store.documents_with(language="ro", noise="clean").tolist() == expected
    assert store.documents_with().size == 40 and store.documents_with(language="xx").size == 0
    assert store.documents_of("train", range(30, 40)) == range(30, 40)
    assert len(store.documents_of("validation", range(40))) == 0


def test_one_process_and_two_write_the_same_bytes(tmp_path):
    write(tmp_path / "a")
    for name, num_processes in (("b", 1), ("c", 2)):
        write(tmp_path / name, write_parts=ProcessPool(num_processes), command=[name])
        assert memory_source.contents(tmp_path / name) == memory_source.contents(tmp_path / "a")
    changed = write(tmp_path / "d", (DOCUMENTS[0]._replace(text="x"), *DOCUMENTS[1:]))
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert changed.manifest["content_sha256"] != manifest["content_sha256"]


def test_splits_are_by_id_and_there_is_always_a_held_out_document(tmp_path):
    store = write(tmp_path / "s", split=None)
    expected = [i for i, d in enumerate(DOCUMENTS) if _hash(d.id) % 20 == 0]
    assert store.documents_with(split="validation").tolist() == expected and expected
    rest = tuple(d for d in DOCUMENTS if _hash(d.id) % 20)
    store = write(tmp_path / "t", rest, split=None)
    smallest = min(range(len(rest)), key=lambda i: _hash(rest[i].id))
    assert store.documents_with(split="validation").tolist() == [smallest]
    assert store.manifest["splits"]["validation"]["num_documents"] == 1


def _hash(identity):
    digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def test_existing_store_is_opened_not_written_again(tmp_path):
    write(tmp_path / "s")

    def fail(*arguments):
        raise AssertionError("written again")

    assert len(write(tmp_path / "s", write_parts=fail)) == 40
    with pytest.raises(ValueError, match=r"other settings: part_size \(store 8, wanted 9\)"):
        write(tmp_path / "s", part_size=9)
    with pytest.raises(ValueError, match=r"other settings: sha256 \(store 'v', wanted 'w'\)"):
        write(tmp_path / "s", vocabulary={"sha256": "w", "num_ids": 400})


def test_problems_are_counted_and_listed_by_line(tmp_path):
    broken = Document(memory_source.BROKEN, "x")
    documents = (DOCUMENTS[0], broken, Document("", "empty"), *DOCUMENTS[:30])
    store = write(tmp_path / "s", documents)
    assert len(store) == 31
    assert store.manifest["problems"] == {"broken": 1, "duplicate_id": 1, "no_token": 1}
    lines = (tmp_path / "s" / "problems.jsonl").read_text().splitlines()
    found = [(p["file"], p["line"], p["kind"]) for p in map(json.loads, lines)]
    assert found == [
        ("one", 2, "broken"),
        ("one[0]", 3, "no_token"),
        ("one[0]", 4, "duplicate_id"),
    ]
    with pytest.raises(ValueError, match="one:2: is broken; repair it"):
        write(tmp_path / "t", documents, strict=True)
    with pytest.raises(ValueError, match="one:2: is broken; repair it"):
        write(tmp_path / "t", documents, strict=True, write_parts=ProcessPool(2))
    with pytest.raises(ValueError, match="task 'two' has no document with a token"):
        write(tmp_path / "t", DOCUMENTS[:30])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.lock", ".t.lock", "s"]


@pytest.mark.parametrize("write_parts", [None, ProcessPool(2)])
def test_progress_ends_with_the_total(tmp_path, write_parts):
    calls = []
    store = write(tmp_path / "s", progress=calls.append, write_parts=write_parts)
    num_bytes = sum(len(document.text.encode()) for document in DOCUMENTS)
    assert calls[-1] == (40, store.num_tokens, num_bytes)


class _Killed(BaseException):
    pass


def test_interrupted_writer_continues_with_the_finished_parts(tmp_path):
    seen = []

    def stop(progress):
        seen.append(progress.num_documents)
        if len(seen) == 4:
            raise _Killed

    with pytest.raises(_Killed):
        write(tmp_path / "s", progress=stop)
    work = tmp_path / ".s.partial"
    finished = {file.name: file.stat().st_mtime_ns for file in work.glob("*.array_record")}
    assert len(finished) == 3 and not (tmp_path / "s").exists()
    with pytest.raises(ValueError, match="is no token store"):
        open_store(tmp_path / "s")
    calls = []
    write(tmp_path / "s", progress=calls.append)
    assert calls[-1].num_documents == 40 - 24  # what was finished is not written again
    for name, time_ns in finished.items():
        assert (tmp_path / "s" / name).stat().st_mtime_ns == time_ns
    write(tmp_path / "whole")
    assert (
        memory_source.contents(tmp_path / "s") == memory_source.contents(tmp_path / "whole")
        and not work.exists()
    )


def test_a_changed_plan_starts_again(tmp_path):
    def stop(progress):
        if progress.num_documents > 16:
            raise _Killed

    with pytest.raises(_Killed):
        write(tmp_path / "s", progress=stop)
    assert any((tmp_path / ".s.partial").glob("*.json"))
    calls = []
    store = write(tmp_path / "s", part_size=10, progress=calls.append)
    assert calls[-1].num_documents == 40 and len(store.manifest["parts"]) == 4


def _write_slowly(directory):
    slow = DOCUMENTS[20]._replace(text=memory_source.SLOW)
    documents = (*DOCUMENTS[:20], slow, *DOCUMENTS[21:])
    write(directory, documents, write_parts=ProcessPool(2))


def test_killed_writer_leaves_no_process_and_continues(tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_slowly, args=(tmp_path / "s",))
    process.start()
    work = tmp_path / ".s.partial"
    deadline = time.monotonic() + 90
    # All parts but the slow one are finished before it is killed.
    while len([*work.glob("*.json")]) < 6 and time.monotonic() < deadline:  # the plan is one
        time.sleep(0.01)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(children) >= 2 and not (tmp_path / "s").exists()
    while any(pathlib.Path("/proc", child).exists() for child in children):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    finished = {file.name: file.stat().st_mtime_ns for file in work.glob("*.array_record")}
    assert len(finished) == 5
    slow = DOCUMENTS[20]._replace(text="quick")
    documents = (*DOCUMENTS[:20], slow, *DOCUMENTS[21:])
    write(tmp_path / "s", documents)
    write(tmp_path / "whole", documents)
    for name, time_ns in finished.items():
        assert (tmp_path / "s" / name).stat().st_mtime_ns == time_ns
    assert memory_source.contents(tmp_path / "s") == memory_source.contents(tmp_path / "whole")


def damage(path, action):
    content = bytearray(path.read_bytes())
    if action == "remove":
        path.unlink()
        return
    if action == "truncate":
        content = content[:-10]
    if action == "flip":
        content[len(content) // 2] ^= 255
    path.write_bytes(content)


PART, INDEX = "tokens-00000.array_record", "token_counts.npy"
DAMAGE = [
    (PART, "remove", f"{PART}: missing although manifest.json lists it"),
    (PART, "truncate", rf"{PART}: \d+ bytes but manifest.json says \d+"),
    (INDEX, "truncate", rf"{INDEX}: \d+ bytes but manifest.json says \d+"),
    (INDEX, "flip", f"{INDEX}: SHA-256 differs"),
    ("manifest.json", "truncate", "manifest.json: damaged .* delete the store directory"),
    ("manifest.json", "remove", "is no token store: it has no manifest.json"),
]


@pytest.mark.parametrize(("name", "action", "message"), DAMAGE)
def test_damaged_stores_are_not_opened(tmp_path, name, action, message):
    write(tmp_path / "s")
    damage(tmp_path / "s" / name, action)
    with pytest.raises(ValueError, match=message):
        open_store(tmp_path / "s")


def test_damaged_record_names_its_shard(tmp_path):
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(32, 126, 4000))) for _ in range(40)]
    store = write(tmp_path / "s", [d._replace(text=t) for d, t in zip(DOCUMENTS, texts)])
    damage(store.directory / PART, "flip")
    store = open_store(tmp_path / "s")
    with pytest.raises(ValueError, match=f"{PART}: SHA-256 differs"):
        store.verify()
    with pytest.raises(ValueError, match=rf"{PART}: record of document \d+ is damaged"):
        list(store)


def test_other_versions_and_foreign_directories(tmp_path):
    write(tmp_path / "s")
    path = tmp_path / "s" / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 9'))
    with pytest.raises(ValueError, match="format_version=9 but this version reads 2"):
        open_store(tmp_path / "s")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="mine exists but is no token store"):
        write(tmp_path / "mine")


def test_records():
    document = TokenizedDocument(np.array([1, 2**31 - 1]), "ид", "zh", "", "ß")
    found = decode_record(encode_record(document))
    assert found.tokens.tolist() == [1, 2**31 - 1] and found[1:] == document[1:]
    with pytest.raises(ValueError, match="its header says"):
        decode_record(encode_record(document)[:-1])
    with pytest.raises(ValueError, match="shorter than its header"):
        decode_record(b"123")
    with pytest.raises(ValueError, match=r"id of document .* has 70000 bytes, at most 65535"):
        encode_record(document._replace(id="x" * 70000))


def test_beam_writes_the_same_bytes_and_continues(tmp_path):
    write(tmp_path / "a")
    calls = []
    write(tmp_path / "b", write_parts=BeamWriter(), progress=calls.append)
    assert memory_source.contents(tmp_path / "a") == memory_source.contents(tmp_path / "b")
    assert calls[-1].num_documents == 40

    def stop(progress):
        raise _Killed

    with pytest.raises(_Killed):
        write(tmp_path / "c", progress=stop, part_size=2)
    with pytest.raises(_Killed):  # the first part is finished now
        write(
            tmp_path / "c", progress=lambda p: stop(p) if p.num_documents > 2 else None, part_size=2
        )
    write(tmp_path / "c", write_parts=BeamWriter(), progress=calls.append, part_size=2)
    assert calls[-1].num_documents == 38
    write(tmp_path / "d", part_size=2)
    assert memory_source.contents(tmp_path / "c") == memory_source.contents(tmp_path / "d")


def test_a_failed_beam_pipeline_is_one_line(tmp_path):
    documents = (*DOCUMENTS, Document(memory_source.BROKEN, "x"))
    with pytest.raises(RuntimeError, match=r"pipeline failed: .*two:11: is broken; repair it"):
        write(tmp_path / "s", documents, strict=True, write_parts=BeamWriter())
