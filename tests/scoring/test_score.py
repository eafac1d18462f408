"""The command from a run to its scores: values, one row a document, stops, devices, refusals."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_model
from tiny_model import LENGTHS, SENTENCE

from presence_t5x import score
from presence_t5x.config_types import DataConfig, OptimizerConfig
from presence_t5x.data.documents import id_hash
from presence_t5x.data.row_features import RowFeatures, TextRow
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.evaluation import checkpoints
from presence_t5x.evaluation.trained_vocabulary import check_fits
from presence_t5x.optimizer import learning_rate_schedule
from presence_t5x.scoring import parts
from presence_t5x.scoring.scorer import DocumentScores
from presence_t5x.scoring.settings import Request, resolve

DOCUMENTS = {
    "one": SENTENCE,
    "many": SENTENCE * 3,
    "letter": "x",
    "pair": "ab",
    "swahili": "mto unapita katika mji wa kale hadi baharini",
    "again": SENTENCE,
    "arabic": "يجري النهر عبر المدينة القديمة",
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "docs.jsonl"
    rows = [
        {"id": name, "text": text, "lang": {"swahili": "sw", "arabic": "ar"}.get(name, "en")}
        for name, text in DOCUMENTS.items()
    ]
    rows.insert(3, {"id": "broken", "text": 7})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """A run of four steps with two checkpoints."""
    return tiny_model.train_run(tmp_path_factory.mktemp("run"))


def run(checkpoint, texts, output, *more):
    return score.main(
        [f"--checkpoint={checkpoint}", f"--input={texts}", f"--output={output}", *more]
    )


def read(path):
    return pq.read_table(path).to_pylist()


@pytest.fixture(scope="module")
def scores(model_dir, texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    assert run(model_dir, texts, path) == 0
    return path


def rows_of(name):
    """The segments of a document, as training cuts and masks them without packing."""
    data = DataConfig(
        mixture_or_task_name="local_text", local_text_files="x", task_feature_lengths=LENGTHS
    )
    vocabulary = load_vocabulary("bytes")
    features = RowFeatures(data, vocabulary)
    tokens = np.array(vocabulary.encode(DOCUMENTS[name]), np.int32)
    found = []
    for number, start in enumerate(range(0, len(tokens), features.raw_length)):
        segment = tokens[start : start + features.raw_length]
        if len(segment) >= 2:
            example_id = f"{name}#{number}" if number else name
            key = id_hash(f"score/0/{example_id}")
            batch = features.batch([(TextRow(segment, example_id, "", "", ""), key)], 1)
            found.append(batch.features)
    return found


def expected_scores(checkpoint, name):
    """Loss and scores of a document by plain gradients, segment by segment; NaN without any."""
    total, sums = 0.0, np.zeros(5)
    for row in rows_of(name):
        loss, gradient = tiny_model.loss_and_gradient(checkpoint)(row)
        norms = [
            sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient[stack]["layers_0"]))
            for stack in ("encoder", "decoder")
        ]
        num_tokens = float(row["decoder_loss_weights"].sum())
        per_token = sum(norms) * num_tokens
        sums += num_tokens * np.array([float(loss), sum(norms), *norms, per_token])
        total += num_tokens
    return sums / total if total else np.full(5, np.nan)


COLUMNS = ("loss", "score", "score_encoder", "score_decoder", "score_per_token")


def test_scores_are_those_of_plain_gradients(scores, model_dir):
    for row in read(scores):
        expected = expected_scores(model_dir, row["example_id"])
        found = [np.nan if row[name] is None else row[name] for name in COLUMNS]
        np.testing.assert_allclose(found, expected, rtol=1e-4, err_msg=row["example_id"])
    assert len(rows_of("many")) > 2


def test_every_document_has_one_row_in_order(scores):
    rows = read(scores)
    assert [row["example_id"] for row in rows] == list(DOCUMENTS)
    assert [row["num_tokens"] for row in rows] == [len(t.encode()) for t in DOCUMENTS.values()]
    assert [row["language"] for row in rows] == ["en"] * 4 + ["sw", "en", "ar"]
    assert [row["score"] is None for row in rows] == [name == "letter" for name in DOCUMENTS]
    same = {row["example_id"]: row["score"] for row in rows}
    assert same["one"] != same["again"]  # of one text, but masked by their ids
    manifest = json.loads(parts.manifest_path(scores).read_text())
    assert (manifest["num_documents"], manifest["num_unscored"]) == (7, 1)
    assert sum(manifest["problems"].values()) == 1
    assert not scores.with_name("scores.parquet.partial").exists()


def test_several_checkpoints_add_up_by_their_learning_rates(model_dir, texts, tmp_path):
    decaying = {"warmup_steps": 1}
    steps = [
        altered(model_dir / "checkpoints" / step, tmp_path / step, optimizer=decaying)
        for step in ("2", "4")
    ]
    single = []
    for step in steps:
        assert run(step, texts, tmp_path / f"{step.name}.parquet") == 0
        single.append(read(tmp_path / f"{step.name}.parquet"))
    assert run(",".join(map(str, steps)), texts, tmp_path / "both.parquet") == 0
    settings = json.loads((model_dir / "config.json").read_text())
    schedule = learning_rate_schedule(OptimizerConfig(**{**settings["optimizer"], **decaying}))
    # The updates that led to them are the second and the fourth, which start at steps 1 and 3.
    rates = [float(schedule(1)), float(schedule(3))]
    assert len({*rates, float(schedule(2)), float(schedule(4))}) == 4
    for one, two, both in zip(*single, read(tmp_path / "both.parquet"), strict=True):
        assert both["loss"] == two["loss"]
        for name in COLUMNS[1:]:
            if one[name] is not None:
                expected = rates[0] * one[name] + rates[1] * two[name]
                assert both[name] == pytest.approx(expected, rel=1e-6)
    own = tmp_path / "own.parquet"
    assert run(",".join(map(str, steps)), texts, own, "--learning_rates=1,0.5") == 0
    assert read(own)[0]["score"] == pytest.approx(
        single[0][0]["score"] + 0.5 * single[1][0]["score"], rel=1e-6
    )


def test_one_device_is_eight(scores, model_dir, texts, tmp_path, monkeypatch):
    assert jax.local_device_count() == 8
    device = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: device)
    assert run(model_dir, texts, tmp_path / "one.parquet") == 0
    for one, eight in zip(read(tmp_path / "one.parquet"), read(scores), strict=True):
        for name in COLUMNS:
            assert one[name] == (eight[name] and pytest.approx(eight[name], rel=1e-5))


def test_a_stopped_scoring_goes_on(model_dir, texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "DOCUMENTS_A_PART", 2)
    assert run(model_dir, texts, tmp_path / "whole.parquet") == 0
    written = []
    write = parts.PartFiles.write

    def counted(self, part, found):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part)
        write(self, part, found)

    path = tmp_path / "stopped.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(parts.PartFiles, "write", counted)
        assert run(model_dir, texts, path) == 130
    assert not path.exists()
    monkeypatch.setattr(
        parts.PartFiles,
        "write",
        lambda self, part, found: (written.append(part), write(self, part, found)),
    )
    assert run(model_dir, texts, path) == 0
    assert len(written) == 4 == len(set(written))
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    capsys.readouterr()
    assert run(model_dir, texts, path) == 0
    assert len(written) == 4 and "is there already" in capsys.readouterr().err


def test_shards_of_hosts_are_joined(model_dir, texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "DOCUMENTS_A_PART", 2)
    assert run(model_dir, texts, tmp_path / "whole.parquet") == 0
    path = tmp_path / "shared.parquet"
    for shard, num_open in (("1/2", 2), ("0/2", 0)):
        assert run(model_dir, texts, path, f"--shard={shard}") == 0
        assert f"{num_open} of 4 parts are not" in capsys.readouterr().err
        assert not path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(parts.PartFiles, "write", None)  # nothing is scored again
        assert run(model_dir, texts, path) == 0
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    for wrong in ("2/2", "1", "-1/2"):
        assert run(model_dir, texts, tmp_path / "no.parquet", f"--shard={wrong}") == 2
        assert "must be I/N, with I from 0 to N - 1" in capsys.readouterr().err


def test_a_result_without_its_manifest_is_joined_again(tmp_path):
    output, identity = tmp_path / "scores.parquet", {"seed": 0}
    files = parts.PartFiles(output, identity)
    output.write_bytes(b"joined")  # and stopped before the manifest
    assert not parts.check_same_result(output, identity)
    parts.PartFiles(output, identity)
    with pytest.raises(ValueError, match="seed=0 there, 1 here"):
        parts.PartFiles(output, {"seed": 1})
    parts.manifest_path(output).write_text(json.dumps(identity))  # and stopped behind it
    assert parts.check_same_result(output, identity)
    assert not files.directory.exists()
    parts.manifest_path(output).unlink()
    with pytest.raises(ValueError, match="exists, without scores"):
        parts.check_same_result(output, identity)


def test_parts_that_nothing_tells_of_are_not_adopted(tmp_path):
    """As a late shard would leave them behind a result that is finished."""
    output, found = tmp_path / "scores.parquet", DocumentScores(np.ones(1), {"score": np.ones(1)})
    part = parts.Part(0, range(1))
    late, other = parts.PartFiles(output, {"seed": 0}), parts.PartFiles(output, {"seed": 0})
    other.finish({"seed": 0})
    with pytest.raises(ValueError, match="is gone: another process has finished"):
        late.write(part, found)
    assert not late.directory.exists()
    parts.PartFiles(output, {"seed": 0}).write(part, found)
    (late.directory / "scoring.json").unlink()
    with pytest.raises(ValueError, match=r"holds parts without scoring\.json"):
        parts.PartFiles(output, {"seed": 1})


def test_columns_by_layer(model_dir, texts, tmp_path):
    path = tmp_path / "layers.parquet"
    layers = ("encoder/layers_0", "encoder/layers_1", "decoder/layers_1", "token_embedder")
    assert run(model_dir, texts, path, f"--layers={','.join(layers)}", "--by_layer") == 0
    for row in read(path):
        if row["score"] is not None:
            columns = [row[f"score/{name}"] for name in layers]
            assert all(column > 0 for column in columns)
            assert row["score"] == pytest.approx(sum(columns), rel=1e-6)
            assert row["score_encoder"] == pytest.approx(sum(columns[:2]), rel=1e-6)


def test_a_prepared_store_gives_the_same(scores, model_dir, tmp_path, capsys):
    store = scores.with_name("scores.parquet.tokens")
    assert run(model_dir, store, tmp_path / "store.parquet") == 0
    # Not all of a store's problems were left out: of equal ids both are kept.
    assert f"problems: empty_text 1; see {store}/problems.jsonl" in capsys.readouterr().err
    assert read(tmp_path / "store.parquet") == read(scores)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--layers=encoder/layers_7",), "near matches"),
        (("--learning_rates=1,2",), "2 learning rates for 1 checkpoints; give one for each"),
        (("--learning_rates=-1",), "must all be above 0"),
        (("--batch_size=0",), "--batch_size=0 must be >= 1"),
        (("--seed=1",), "seed=0 there, 1 here; choose another --output"),
    ],
)
def test_refusals_name_what_to_do(scores, model_dir, texts, capsys, more, message):
    before = scores.read_bytes()
    status = run(model_dir, texts, scores, *more)
    error = capsys.readouterr().err
    assert status == 2 and message in error, error
    assert scores.read_bytes() == before


@pytest.mark.parametrize("option", ["--vocabulary={}", "--gin.DataConfig.vocabulary_file='{}'"])
def test_another_vocabulary_is_refused(model_dir, texts, tmp_path, capsys, option):
    from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file

    option = option.format(vocabulary_file())
    assert run(model_dir, texts, tmp_path / "scores.parquet", option) == 2
    assert "has the vocabulary 'bytes', but the scoring has" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_that_the_table_does_not_hold_is_refused(model_dir):
    """Where nothing tells the model's own."""
    from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file

    vocabulary = load_vocabulary(str(vocabulary_file()))
    with pytest.raises(ValueError, match="vocab_size=384 of the model is smaller"):
        check_fits(vocabulary, None, checkpoints.find(str(model_dir)), "the scoring")


def altered(checkpoint, folder, **settings):
    """Returns a copy of a checkpoint whose run had other settings."""
    shutil.copytree(checkpoint, folder)
    path = folder / "position" / "metadata"
    content = json.loads(path.read_text())
    for part, changes in settings.items():
        content["settings"][part] |= changes
    path.write_text(json.dumps(content))
    return folder


def test_a_module_registers_the_task_that_a_run_was_trained_on(
    scores, model_dir, tmp_path, monkeypatch, capsys
):
    (tmp_path / "tasks_of_ones_own.py").write_text(
        "from presence_t5x.data.quiet_tensorflow import seqio\n"
        "from presence_t5x.data.vocabularies import load_vocabulary\n"
        "feature = seqio.Feature(load_vocabulary('bytes'))\n"
        "source = seqio.FunctionDataSource(lambda split, shuffle_files: None, ['train'])\n"
        "features = {'targets': feature}\n"
        "seqio.TaskRegistry.add('ones_own', source, preprocessors=[], output_features=features)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"mixture_or_task_name": "ones_own", "local_text_files": None, "vocabulary_file": None}
    checkpoint = altered(model_dir / "checkpoints" / "4", tmp_path / "4", data=own)
    store, path = scores.with_name("scores.parquet.tokens"), tmp_path / "scores.parquet"
    assert run(checkpoint, store, path, "--module_import=no_such") == 2
    assert "error: --module_import=no_such: No module named" in capsys.readouterr().err
    assert run(checkpoint, store, path, "--module_import=tasks_of_ones_own") == 0
    assert read(path) == read(scores)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": {"vocabulary_file": "{other}"}}, "has the vocabulary"),
        ({"data": {"label_names": ["yes", "no"]}}, "differ in data"),
        ({"optimizer": {"no_such": 1}}, "of another version of this package"),
    ],
)
def test_runs_that_are_not_alike_are_refused(model_dir, texts, tmp_path, capsys, settings, message):
    from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file

    changes = {
        part: {name: str(vocabulary_file()) if value == "{other}" else value}
        for part, changed in settings.items()
        for name, value in changed.items()
    }
    first = model_dir / "checkpoints" / "2"
    second = altered(model_dir / "checkpoints" / "4", tmp_path / "4", **changes)
    assert run(f"{first},{second}", texts, tmp_path / "scores.parquet") == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1, error


def test_a_vocabulary_of_another_name_is_the_same(model_dir, texts, tmp_path):
    """Runs on stores of their own name their vocabularies otherwise, or not at all."""
    from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file

    paths = []
    for name in ("one", "two"):
        shutil.copy(vocabulary_file(), tmp_path / f"{name}.model")
        own = {"vocabulary_file": str(tmp_path / f"{name}.model")}
        model = {"vocab_size": 4096}
        step = model_dir / "checkpoints" / "4"
        paths.append(altered(step, tmp_path / name, data=own, model=model))
    found = resolve(Request(checkpoints=[str(path) for path in paths]), (), ())
    assert found.vocabulary.vocab_size == 4096 and found.notes == ()


def test_no_checkpoint(texts, tmp_path, capsys):
    assert run(tmp_path / "nothing", texts, tmp_path / "x.parquet") == 2
    assert "nothing" in capsys.readouterr().err
    assert list(Path(tmp_path).iterdir()) == []
