"""Writing and opening token stores; nothing half-written or damaged is ever read."""

import hashlib
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from presence_t5x.data.documents import Document, DocumentGroup
from presence_t5x.data.store_writer import write_store
from presence_t5x.data.token_records import TokenizedDocument, decode_record, encode_record
from presence_t5x.data.token_store import open_store


class Letters:
    """One id a character."""

    vocab_size = 400

    def encode(self, text):
        return [3 + ord(character) % 256 for character in text]


DOCUMENTS = [
    Document("ab" * (1 + i % 7), f"d{i}", "sw" if i % 3 else "ro", "web", "clean" if i % 2 else "")
    for i in range(40)
]


def write(directory, documents=DOCUMENTS, **settings):
    settings = {"vocabulary_sha256": "v", "parameters": {"split": "train"}} | settings
    groups = [DocumentGroup("one", 1.0, documents[:30]), DocumentGroup("two", 2.5, documents[30:])]
    return write_store(groups, directory, Letters(), **settings)


def test_everything_written_is_read_back(tmp_path):
    store = write(tmp_path / "s", tokens_per_shard=100)
    assert len(store) == 40 and len(store.manifest["shards"]) == 3
    for document, found in zip(DOCUMENTS, store):
        assert found.tokens.tolist() == Letters().encode(document.text)
        assert found.tokens.dtype == np.int32 and found[1:] == document[1:]
    assert store.token_counts.tolist() == [len(d.text) for d in DOCUMENTS]
    assert store.num_tokens == sum(len(d.text) for d in DOCUMENTS)
    assert [tuple(task) for task in store.tasks] == [("one", 1.0, 0, 30), ("two", 2.5, 30, 10)]
    store.verify()


def test_manifest_counts_and_selection(tmp_path):
    store = write(tmp_path / "s")
    labels = store.manifest["documents_per_label"]
    assert labels == {
        "language": {"ro": 14, "sw": 26},
        "source": {"web": 40},
        "noise": {"": 20, "clean": 20},
    }
    assert store.manifest["vocabulary_sha256"] == "v"
    assert store.manifest["parameters"] == {"split": "train"}
    expected = [i for i, d in enumerate(DOCUMENTS) if (d.language, d.noise) == ("ro", "clean")]
    assert store.documents_with("ro", "clean").tolist() == expected
    assert store.documents_with().size == 40 and store.documents_with("xx").size == 0


def test_bytes_are_reproducible(tmp_path):
    digests = []
    for name in ("a", "b"):
        write(tmp_path / name, tokens_per_shard=100)
        files = sorted((tmp_path / name).iterdir())
        digests.append([(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files])
    assert digests[0] == digests[1]
    changed = write(tmp_path / "c", [DOCUMENTS[0]._replace(text="x"), *DOCUMENTS[1:]])
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert changed.manifest["content_sha256"] != manifest["content_sha256"]


def test_existing_store_is_opened_not_written_again(tmp_path):
    write(tmp_path / "s")
    assert (
        len(write_store([], tmp_path / "s", Letters(), vocabulary_sha256="", parameters={})) == 40
    )


def test_empty_documents_are_dropped_and_counted(tmp_path):
    store = write(tmp_path / "s", [*DOCUMENTS, Document("", "empty")])
    assert len(store) == 40 and store.manifest["num_empty_documents_dropped"] == 1
    with pytest.raises(ValueError, match="task 'two' has no document with a token"):
        write(tmp_path / "t", DOCUMENTS[:30])
    assert not (tmp_path / "t").exists()


def test_progress_ends_with_the_total(tmp_path):
    calls = []
    store = write(tmp_path / "s", progress=lambda *counts: calls.append(counts))
    assert calls[-1] == (40, store.num_tokens)


def test_failure_leaves_nothing(tmp_path):
    def fail():
        yield from DOCUMENTS[:5]
        raise ValueError("broken source")

    with pytest.raises(ValueError, match="broken source"):
        group = DocumentGroup("t", 1.0, fail())
        write_store([group], tmp_path / "s", Letters(), vocabulary_sha256="", parameters={})
    assert [path.name for path in tmp_path.iterdir()] == [".s.lock"]


def _write_slowly(directory):
    def endless():
        while True:
            yield DOCUMENTS[0]
            time.sleep(0.001)

    group = DocumentGroup("t", 1.0, endless())
    write_store([group], directory, Letters(), vocabulary_sha256="", parameters={})


def test_killed_writer_is_cleaned_up(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=_write_slowly, args=(tmp_path / "s",)
    )
    process.start()
    partial = tmp_path / ".s.partial"
    deadline = time.monotonic() + 60
    while not (partial.exists() and any(partial.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert partial.exists() and not (tmp_path / "s").exists()
    with pytest.raises(ValueError, match="is no token store"):
        open_store(tmp_path / "s")
    assert len(write(tmp_path / "s")) == 40
    assert not partial.exists()


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


SHARD, INDEX = "tokens-00000.array_record", "token_counts.npy"
DAMAGE = [
    (SHARD, "remove", f"{SHARD}: missing although manifest.json lists it"),
    (SHARD, "truncate", rf"{SHARD}: \d+ bytes but manifest.json says \d+"),
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
    damage(store.directory / SHARD, "flip")
    store = open_store(tmp_path / "s")
    with pytest.raises(ValueError, match=f"{SHARD}: SHA-256 differs"):
        store.verify()
    with pytest.raises(ValueError, match=rf"{SHARD}: record of document \d+ is damaged"):
        list(store)


def test_other_versions_and_foreign_directories(tmp_path):
    write(tmp_path / "s")
    path = tmp_path / "s" / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="format_version=2 but this version reads 1"):
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
