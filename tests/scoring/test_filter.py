"""The command: a store of the documents with the lowest scores, a report, and training on it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from presence_t5x import filter as filtering
from presence_t5x.config_types import DataConfig
from presence_t5x.data.prepared import write_store
from presence_t5x.data.sources import open_batches
from presence_t5x.data.text_files import FilesSource
from presence_t5x.data.token_store import TaskRange, TokenStore, open_store
from presence_t5x.data.vocabularies import load_vocabulary

NUM_DOCUMENTS = 60


def text(number):
    return f"document {number} " * (1 + number % 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    rows = [
        {"id": f"d{i}", "text": text(i), "lang": ("en", "sw")[i % 2]} for i in range(NUM_DOCUMENTS)
    ]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = FilesSource(str(folder / "texts.jsonl"))
    return write_store(source, folder / "all", load_vocabulary("bytes"))


@pytest.fixture
def scores(store, tmp_path):
    """Document i has score 60 - i, but for one that has none."""
    values = [None if i == 7 else float(NUM_DOCUMENTS - i) for i in range(NUM_DOCUMENTS)]
    documents = [store[i] for i in range(NUM_DOCUMENTS)]
    splits = [store.labels("split")[code] for code in store.codes["split"]]
    table = pa.table(
        {
            "example_id": [document.id for document in documents],
            "language": [document.language for document in documents],
            "source": [document.source for document in documents],
            "noise": [document.noise for document in documents],
            "split": splits,
            "num_tokens": np.asarray(store.token_counts, np.int64),
            "loss": [float(i) for i in range(NUM_DOCUMENTS)],
            "score": values,
        }
    )
    path = tmp_path / "scores.parquet"
    pq.write_table(table, path)
    manifest = {
        "content_sha256": store.manifest["content_sha256"],
        "store": str(store.directory),
    }
    (tmp_path / "scores.parquet.manifest.json").write_text(json.dumps(manifest))
    return path


def run(scores, output, *more):
    return filtering.main([f"--scores={scores}", f"--output={output}", *more])


def ids(store, split="train"):
    return [store[int(i)].id for i in store.documents_with(split=split)]


def training_ids(store):
    return {name: int(name[1:]) for name in ids(store)}


def kept_numbers(directory):
    return sorted(training_ids(open_store(directory)).values())


def test_the_lowest_are_kept_and_held_out_text_stays(store, scores, tmp_path, capsys):
    assert run(scores, tmp_path / "kept", "--keep=20") == 0
    kept = open_store(tmp_path / "kept")
    expected = sorted(training_ids(store).values(), reverse=True)[:20]
    assert sorted(training_ids(kept).values(), reverse=True) == expected
    assert ids(kept, "validation") == ids(store, "validation")
    for i in range(len(kept)):
        original = store[int(kept[i].id[1:])]
        assert kept[i].labels == original.labels
        np.testing.assert_array_equal(kept[i].tokens, original.tokens)
    lost = pq.read_table(tmp_path / "kept.dropped.parquet").to_pylist()
    assert {row["example_id"] for row in lost} == set(ids(store)) - set(ids(kept))
    report = json.loads((tmp_path / "kept.report.json").read_text())
    total = report["languages"][-1]
    assert (total["language"], total["documents_kept"]) == ("all", 20)
    assert total["documents_kept"] + total["documents_dropped"] == len(ids(store))
    values = [NUM_DOCUMENTS - i for i in expected]
    assert total["mean_score_kept"] == pytest.approx(np.mean(values))
    assert "documents kept" in capsys.readouterr().out


def test_scores_in_another_order_are_refused(store, scores, tmp_path, capsys):
    table = pq.read_table(scores)
    pq.write_table(table.sort_by("score"), scores)
    assert run(scores, tmp_path / "kept", "--keep=20") == 2
    assert f"row 0 is of document 'd{NUM_DOCUMENTS - 1}'" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


def test_controls_and_measures(store, scores, tmp_path):
    train = training_ids(store)
    scored = {name: i for name, i in train.items() if i != 7}
    assert run(scores, tmp_path / "high", "--keep=10", "--order=highest") == 0
    assert (
        sorted(training_ids(open_store(tmp_path / "high")).values()) == sorted(scored.values())[:10]
    )
    for seed in (1, 2):
        assert (
            run(scores, tmp_path / f"r{seed}", "--keep=10", "--order=random", f"--seed={seed}") == 0
        )
    one, two = (ids(open_store(tmp_path / f"r{seed}")) for seed in (1, 2))
    assert len(one) == len(two) == 10 and one != two
    assert run(scores, tmp_path / "loss", "--keep=10", "--column=loss") == 0
    assert (
        sorted(training_ids(open_store(tmp_path / "loss")).values()) == sorted(train.values())[:10]
    )
    assert run(scores, tmp_path / "share", "--keep_share=0.5", "--by=tokens", "--per_language") == 0
    kept = open_store(tmp_path / "share")
    sizes = {store[i].id: int(store.token_counts[i]) for i in range(len(store))}
    for parity in (0, 1):
        members = [name for name, i in scored.items() if i % 2 == parity]
        total = sum(sizes[name] for name in members)
        mine = sum(sizes[name] for name in ids(kept) if int(name[1:]) % 2 == parity)
        assert total / 2 - max(sizes.values()) < mine <= total / 2


def test_what_another_column_drops_keeps_its_score(store, scores, tmp_path, capsys):
    assert run(scores, tmp_path / "kept", "--keep=20", "--column=loss") == 0
    assert f"--gin.PREPARED_STORES='\"{tmp_path / 'kept'}\"'" in capsys.readouterr().out
    real = {row["example_id"]: row for row in pq.read_table(scores).to_pylist()}
    lost = pq.read_table(tmp_path / "kept.dropped.parquet").to_pylist()
    assert lost and all(row == real[row["example_id"]] for row in lost)
    total = json.loads((tmp_path / "kept.report.json").read_text())["languages"][-1]
    for name in ("loss", "score"):
        values = [real[example_id][name] for example_id in ids(open_store(tmp_path / "kept"))]
        known = [value for value in values if value is not None]
        assert total[f"mean_{name}_kept"] == pytest.approx(np.mean(known))


def test_a_task_that_keeps_nothing_is_told_before_anything_is_written(
    store, scores, tmp_path, capsys, monkeypatch
):
    halves = [TaskRange("first", 1.0, 0, 30), TaskRange("second", 1.0, 30, 30)]
    monkeypatch.setattr(TokenStore, "tasks", halves)
    options = ("--splits=train,validation", "--keep=5")
    assert run(scores, tmp_path / "kept", *options) == 2
    error = capsys.readouterr().err
    assert "keeps no document of the task 'first'; keep more" in error and "--per_language" in error
    assert {path.name for path in tmp_path.iterdir()} == {
        scores.name,
        f"{scores.name}.manifest.json",
    }


def test_training_reads_it(store, scores, tmp_path):
    assert run(scores, tmp_path / "kept", "--keep=20") == 0
    config = DataConfig(
        mixture_or_task_name="prepared",
        prepared_stores=str(tmp_path / "kept"),
        task_feature_lengths={"inputs": 32, "targets": 8},
        batch_size=4,
    )
    batch = next(iter(open_batches(config, prepared_root=tmp_path).iterate()))
    known = set(ids(open_store(tmp_path / "kept")))
    assert {name.split("#")[0] for name in batch.example_ids} <= known


def test_the_same_command_again_opens_what_is_there(scores, tmp_path):
    assert run(scores, tmp_path / "kept", "--keep=20") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert run(scores, tmp_path / "kept", "--keep=20") == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "one of the arguments --keep --keep_share is required"),
        (("--keep=5", "--keep_share=0.1"), "not allowed with"),
        (("--keep=0",), "keeps no document; keep more"),
        (("--keep_share=2",), "amount"),
        (("--keep=5", "--column=scor"), "it has ['loss', 'score']"),
        (("--keep=5", "--splits=tran"), "has no split 'tran'"),
        (("--keep=30",), "was prepared with other settings"),
    ],
)
def test_refusals(scores, tmp_path, capsys, more, message):
    assert run(scores, tmp_path / "kept", "--keep=20") == 0
    output = tmp_path / ("kept" if more == ("--keep=30",) else "new")
    capsys.readouterr()
    assert run(scores, output, *more) == 2
    assert message in capsys.readouterr().err


def test_scores_of_another_store(scores, tmp_path, capsys):
    path = scores.with_name("scores.parquet.manifest.json")
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "content_sha256": "0"}))
    assert run(scores, tmp_path / "kept", "--keep=20") == 2
    assert "holds other documents" in capsys.readouterr().err
