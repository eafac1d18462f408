"""The prepare command from its command line: files, tasks, problems, previews, restarts."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import zstandard
from data.tfds_files import write_mc4
from memory_source import contents

from presence_t5x.config_types import DataConfig
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.sources import open_batches
from presence_t5x.data.token_store import open_store
from presence_t5x.prepare import main


def write_corpus(folder, num_documents=300):
    """Documents of three languages in three kinds of file."""
    folder.mkdir()
    for number, language in enumerate(("en", "sw", "zh")):
        lines = [
            json.dumps(
                {"text": f"{language} text {i} " * 9, "lang": language, "id": f"{language}{i}"}
            )
            for i in range(number, num_documents, 3)
        ]
        content = "\n".join(lines).encode()
        if language == "en":
            (folder / "en.jsonl").write_bytes(content)
        elif language == "sw":
            (folder / "sw.jsonl.gz").write_bytes(gzip.compress(content))
        else:
            (folder / "zh.jsonl.zst").write_bytes(zstandard.compress(content))
    return str(folder)


def run(*arguments, status=0):
    assert main([*map(str, arguments)]) == status


def test_files_to_a_store_that_trains(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "corpus")
    arguments = (f"--input={corpus}", "--vocabulary=bytes", "--num_processes=1")
    run(*arguments, f"--output={tmp_path / 's'}", "--dry_run")
    preview = capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    assert "documents  300 (300 sampled)" in preview and "core hours" in preview
    run(*arguments, f"--output={tmp_path / 's'}")
    assert "wrote 300 documents" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["num_documents"] == 300 and manifest["problems"] == {}
    assert {name: n["num_documents"] for name, n in manifest["languages"].items()} == {
        "en": 100,
        "sw": 100,
        "zh": 100,
    }
    assert manifest["num_tokens"] == sum(n["num_tokens"] for n in manifest["sources"].values())
    assert manifest["command"][0] == "presence_t5x.prepare" and len(manifest["command"]) == 5
    config = DataConfig(
        mixture_or_task_name="prepared",
        prepared_stores=str(tmp_path / "s"),
        task_feature_lengths={"inputs": 32, "targets": 8},
        batch_size=8,
        mix_by="language",
        mixing_rates={"en": 1, "sw": 3, "zh": 0},
    )
    batches = open_batches(config, prepared_root="")
    languages = [name for step in range(128) for name in batches.batch_at(step).languages]
    assert languages.count("sw") == 768 and languages.count("en") == 256


def test_two_processes_and_beam_write_the_same_store(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    for name, extra in {
        "1": ["--num_processes=1"],
        "2": ["--num_processes=2"],
        "b": ["--beam"],
    }.items():
        run(f"--input={corpus}", "--vocabulary=bytes", f"--output={tmp_path / name}", *extra)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "b")


def test_problems_are_said_counted_and_listed(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    write_corpus(corpus)
    (corpus / "bad.jsonl").write_bytes(b'{"text": "fine"}\n{"txt": 1}\n\xff\xfe\xff\n{"text": \n')
    (corpus / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a b c"}\n' * 9999)[:90])
    arguments = [f"--input={corpus}", "--vocabulary=bytes", f"--output={tmp_path / 's'}"]
    run(f"--input={corpus}/bad.jsonl", *arguments[1:], "--strict", status=2)
    assert "bad.jsonl:2: no field 'text'" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    run(*arguments)
    said = capsys.readouterr().err
    assert "problems:" in said and "problems.jsonl" in said
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["problems"] == {"encoding": 1, "json": 1, "no_text": 1, "truncated": 1}
    lines = (tmp_path / "s" / "problems.jsonl").read_text().splitlines()
    places = {(p["file"], p["line"], p["kind"]) for p in map(json.loads, lines)}
    assert {
        ("bad.jsonl", 2, "no_text"),
        ("bad.jsonl", 3, "encoding"),
        ("bad.jsonl", 4, "json"),
    } < places


def test_a_task_brings_its_splits_and_vocabulary(tmp_path, monkeypatch):
    module = tmp_path / "my_tasks.py"
    module.write_text(
        "from presence_t5x.tasks.encyclopedia import register_encyclopedia_task\n"
        "from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig\n"
        "small = EncyclopediaConfig(num_train_documents=80, num_validation_documents=40)\n"
        "register_encyclopedia_task('my_small', small)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run("--input=my_small", "--module_import=my_tasks", f"--output={tmp_path / 's'}")
    store = open_store(tmp_path / "s")
    assert store.manifest["vocabulary"]["num_ids"] == 4096
    counts = {name: n["num_documents"] for name, n in store.manifest["splits"].items()}
    assert counts == {"train": 80, "validation": 40, "noisy_validation": 40}


def test_a_vocabulary_is_trained_once(tmp_path, capsys):
    corpus = write_corpus(tmp_path / "corpus")
    model = tmp_path / "own.model"
    arguments = [f"--input={corpus}", f"--vocabulary={model}", "--train_vocabulary=420"]
    run(*arguments)
    before = model.read_bytes()
    run(*arguments, f"--output={tmp_path / 's'}", "--num_processes=1")
    assert "exists: not trained again" in capsys.readouterr().err and model.read_bytes() == before
    assert (tmp_path / "s" / "vocabulary.model").read_bytes() == before
    assert open_store(tmp_path / "s").manifest["vocabulary"]["num_ids"] == 420


ERRORS = [
    ((), "required: --input; --help"),
    (("--input=x.txt", "--output=o"), "--vocabulary=FILE is needed"),
    (("--input=/no/*.txt", "--output=o", "--vocabulary=bytes"), "matches no file"),
    (("--input=/no/*.txt", "--outptu=o"), "unrecognized arguments: --outptu=o"),
    (("--input=tfds:no_such_set", "--output=o", "--vocabulary=bytes"), "cannot find it"),
    (("--input=x", "--module_import=no_such"), "--module_import=no_such: No module named"),
    (("--input=x", "--train_vocabulary=500"), "needs --vocabulary=FILE"),
    (("--input=x", "--num_processes=0"), "num_processes=0 must be >= 1"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (tmp_path / "x.txt").write_text("text")
    run(*arguments, status=2)
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and message in said[-1]
    assert sum(line.startswith("error") for line in said) == 1


@pytest.mark.slow
def test_killed_and_run_again_is_the_same_store(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(12):
        lines = (json.dumps({"text": f"words and {i} more " * 20}) for i in range(4000))
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "presence_t5x.prepare", f"--input={folder}"]
    command += ["--vocabulary=bytes", "--num_processes=2"]
    process = subprocess.Popen([*command, f"--output={tmp_path / 's'}"])
    deadline = time.monotonic() + 300
    while len([*tmp_path.glob(".s.partial/*.json")]) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "s").exists()
    subprocess.run([*command, f"--output={tmp_path / 's'}"], check=True)
    run(*command[3:5], "--num_processes=1", f"--output={tmp_path / 'whole'}")
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


# TFDS reads its own metadata with a function that protobuf has deprecated.
@pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")
def test_tasks_over_tfds_files_are_prepared_shard_by_shard(tmp_path):
    """A little mC4 in TFDS's format, with 3 shards of each split, as a task and as a data set."""
    pages = {
        "sw": [(f"https://sw/{i}", f"maandishi ya ukurasa {i} " * 9) for i in range(60)],
        "sw-validation": [(f"https://v/{i}", f"ukurasa mwingine {i} " * 9) for i in range(7)],
    }
    write_mc4(tmp_path / "tfds", "3.1.0", pages, num_shards=3)
    command = [sys.executable, "-m", "presence_t5x.prepare", f"--vocabulary={vocabulary_file()}"]
    environment = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "tfds")}
    for arguments in (
        ["--input=mc4.sw", f"--output={tmp_path / 's'}", "--num_processes=2"],
        ["--input=tfds:c4/multilingual:3.1.0", "--splits=sw", f"--output={tmp_path / 't'}"],
    ):
        subprocess.run([*command, *arguments], check=True, env=environment)
    store = open_store(tmp_path / "s")
    assert len(store.manifest["parts"]) == 6
    urls = {url for found in pages.values() for url, _ in found}
    assert {document.id for document in store} == urls
    counts = {name: n["num_documents"] for name, n in store.manifest["splits"].items()}
    assert counts == {"train": 60, "validation": 7}
    assert store.labels("language") == ["sw"] and store.labels("source") == ["mc4"]
    store = open_store(tmp_path / "t")
    counts = {name: n["num_documents"] for name, n in store.manifest["splits"].items()}
    assert sum(counts.values()) == 60 and 0 < counts["validation"] < 15
    assert len({document.id for document in store}) == 60
