"""Each study from a tiny model's run to its page, against numbers computed here from its files."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_model
from families import CONFIGS, LENGTH
from scipy.stats import spearmanr

from presence_t5x import study
from presence_t5x.config import load_config
from presence_t5x.config_types import DataConfig, PartitioningConfig, PresenceConfig, T5Config
from presence_t5x.data.documents import id_hash
from presence_t5x.data.row_features import RowFeatures, TextRow
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.evaluation import checkpoints
from presence_t5x.scoring import settings as scoring_settings
from presence_t5x.studies import unit_scoring
from presence_t5x.studies.cost import scoring_flops
from presence_t5x.studies.layers import parts_of_model, sets_of_parts
from presence_t5x.studies.results import read_study

DOCUMENTS = 8
STACKS = ("encoder", "decoder")
LAYERS = (
    "--kinds=permuted_words,character_noise:0.5",
    "--leave_out=encoder/relpos_bias,decoder/relpos_bias,encoder/encoder_norm,decoder/decoder_norm",
)


def run(name, checkpoint, corpus, output, *more):
    return study.main(
        [
            name, f"--checkpoint={checkpoint}", f"--input={corpus}", f"--output={output}",
            f"--documents={DOCUMENTS}", "--batch_size=16", *more,
        ]
    )  # fmt: skip


def rows_by(found, *names):
    return {tuple(row[name] for name in names): row for row in found["rows"]}


@pytest.fixture(scope="module")
def layers(model_dir, corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("layers")
    assert run("layers", model_dir, corpus, output, *LAYERS) == 0
    return output


def test_layers_agree_as_their_scores_do(layers):
    found = read_study(layers)
    table = pq.read_table(layers / "scores-0.parquet").to_pylist()
    clean = [row for row in table if row["example_id"].startswith("clean|")]
    parts = [name for name in table[0] if name.startswith("score/")]
    rows = rows_by(found, "language", "layers")
    everything = np.array([row["score"] for row in clean])
    for name in ("encoder/layers_0", "token_embedder", "decoder/logits_dense"):
        values = np.array([row[f"score/{name}"] for row in clean])
        row = rows["all", name]
        assert row["spearman"] == pytest.approx(spearmanr(values, everything).statistic)
        rest = sum(np.array([row[part] for row in clean]) for part in parts if part[6:] != name)
        assert row["spearman_rest"] == pytest.approx(spearmanr(values, rest).statistic, abs=1e-6)
        assert row["share"] == pytest.approx(np.mean(values / everything))
    blocks = [np.array([row[f"score/{stack}/layers_0"] for row in clean]) for stack in STACKS]
    row = rows["all", "first blocks (default)"]
    assert row["spearman"] == pytest.approx(spearmanr(sum(blocks), everything).statistic)
    assert rows["all", "all"]["spearman"] == 1.0
    noisy = [row for row in table if row["example_id"].startswith("character_noise:0.5|de-")]
    wins = [
        (a["score"] > b["score"]) + 0.5 * (a["score"] == b["score"])
        for a in noisy
        for b in clean
        if b["language"] == "de"
    ]
    assert rows["de", "all"]["auroc_character_noise:0.5"] == pytest.approx(np.mean(wins))


def test_layers_cost_what_they_need_of_a_backward_pass(layers):
    rows = rows_by(read_study(layers), "language", "layers")
    flops = {name: row["flops"] for (language, name), row in rows.items() if language == "all"}
    assert flops["loss"] == 1.0 < flops["decoder/layers_1"] < flops["decoder/layers_0"]
    assert flops["decoder/layers_0"] < flops["encoder/layers_0"] <= flops["first blocks (default)"]
    assert max(flops.values()) == flops["all"]


def test_layers_again_and_a_directory_of_another_study(layers, model_dir, corpus, capsys):
    before = (layers / "study.json").read_bytes()
    assert run("layers", model_dir, corpus, layers, *LAYERS, "--no_cost") == 0
    assert "is there already" in capsys.readouterr().err
    assert json.loads(before)["rows"][0]["flops"] is not None
    assert run("checkpoints", f"{model_dir}/checkpoints/*", corpus, layers) == 2
    assert "study='layers' there, 'checkpoints' here" in capsys.readouterr().err
    wrong = (LAYERS[0], "--leave_out=encoder/layer_0")
    assert run("layers", model_dir, corpus, layers, *wrong) == 2
    assert "did you mean 'encoder/layers_0'" in capsys.readouterr().err


def test_the_parts_of_a_model_are_all_of_it():
    sizes = {**tiny_model.SIZES, "vocab_size": 32, "num_encoder_layers": 11}
    parts = parts_of_model(T5Config(**sizes))
    assert parts == parts_of_model(T5Config(**sizes, scan_layers=True))
    assert parts == [
        "token_embedder",
        *(f"encoder/layers_{i}" for i in range(11)),
        "encoder/encoder_norm",
        "encoder/relpos_bias",
        "decoder/layers_0",
        "decoder/decoder_norm",
        "decoder/logits_dense",
        "decoder/relpos_bias",
    ]


def test_checkpoints_agree_as_their_scores_do(model_dir, corpus, tmp_path, capsys):
    assert run("checkpoints", model_dir, corpus, tmp_path / "one") == 2
    assert "is one checkpoint; name several" in capsys.readouterr().err
    more = ("--learning_rates=0.5,0.25",)
    output = tmp_path / "out"
    assert run("checkpoints", f"{model_dir}/checkpoints/*", corpus, output, *more) == 0
    found = read_study(output)
    paths = [output / f"scores-{i}.parquet" for i in (0, 1)]
    paths.append(output / "other_masks/scores-0.parquet")
    first, last, masked = (pq.read_table(path).to_pylist() for path in paths)
    assert [row["example_id"] for row in first] == [row["example_id"] for row in last]
    rows = rows_by(found, "step", "language", "ranking")
    for language in ("de", "all"):
        scores = [
            np.array([row["score"] for row in table if language in (row["language"], "all")])
            for table in (first, last, masked)
        ]
        expected = spearmanr(scores[0], scores[1]).statistic
        assert rows[2, language, "score"]["spearman"] == pytest.approx(expected)
        assert rows[4, language, "score"]["spearman"] == pytest.approx(1.0)
        summed = 0.5 * scores[0] + 0.25 * scores[1]
        row = rows[4, language, "sum of scores so far (TracInCP)"]
        assert row["spearman"] == pytest.approx(spearmanr(summed, scores[1]).statistic)
        row = rows[4, language, "score, other masks"]
        assert row["spearman"] == pytest.approx(spearmanr(scores[2], scores[1]).statistic)
        assert row["spearman"] < 1.0
        losses = [
            [row["loss"] for row in table if language in (row["language"], "all")]
            for table in (last, masked)
        ]
        row = rows[4, language, "loss, other masks"]
        assert row["spearman"] == pytest.approx(spearmanr(*losses).statistic)
    assert rows[2, "all", "score"]["fraction"] == 0.5
    assert rows[2, "all", "score"]["num_documents"] == 2 * DOCUMENTS


@pytest.fixture(scope="module")
def granularity(model_dir, corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("granularity")
    more = ("--sizes=1,2,4", "--rates=0.5", "--repeats=1", "--units_per_step=2")
    assert run("granularity", model_dir, corpus, output, *more) == 0
    return output


def test_units_of_models_that_read_other_rows_are_refused(
    model_dir, corpus, tmp_path, capsys, monkeypatch
):
    def find(path, *select):
        found = checkpoints.find(path, *select)
        if found.step == 2:
            return found
        data = {**found.settings["data"], "noise_density": 0.3}
        return found._replace(settings={**found.settings, "data": data})

    monkeypatch.setattr(scoring_settings, "checkpoints", SimpleNamespace(**vars(checkpoints)))
    monkeypatch.setattr(scoring_settings.checkpoints, "find", find)
    assert run("granularity", f"{model_dir}/checkpoints/*", corpus, tmp_path / "out") == 2
    assert "differ in data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", ["decoder_only", "encoder_only"])
def test_one_stack_costs_what_it_needs_of_a_backward_pass(family):
    model = CONFIGS[family]
    names = {"decoder_only": ["targets"], "encoder_only": ["inputs", "targets"]}[family]
    data = DataConfig(
        mixture_or_task_name="local_text",
        local_text_files="x",
        objective=model.objectives[0],
        task_feature_lengths=dict.fromkeys(names, LENGTH),
    )
    settings = scoring_settings.Settings(
        (), (), model, PresenceConfig(), 0.0, data, None, PartitioningConfig()
    )
    sets = sets_of_parts(parts_of_model(model))
    assert sets["first blocks (default)"] == model.first_blocks
    loss = scoring_flops(settings, None, 4)
    assert loss < scoring_flops(settings, model.first_blocks, 4)


def unit_score(model_dir, output, ids):
    """The squared norm of the first blocks' gradient of some documents' mean token loss."""
    data = load_config([str(model_dir / "config.gin")], []).data
    vocabulary = load_vocabulary("bytes")
    features = RowFeatures(data, vocabulary)
    lines = (output / "texts.jsonl").read_text().splitlines()
    texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    rows = []
    for one in ids:
        tokens = np.array(vocabulary.encode(texts[one]), np.int32)[: features.raw_length]
        rows.append((TextRow(tokens, one, "", "", ""), id_hash(f"score/0/{one}")))
    loss, gradient = tiny_model.loss_and_gradient(model_dir)(
        features.batch(rows, len(rows)).features
    )
    scored = [gradient[stack]["layers_0"] for stack in STACKS]
    return sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(scored)), float(loss)


def test_units_are_scored_by_the_gradient_of_all_their_tokens(granularity, model_dir):
    members = json.loads((granularity / "members.json").read_text())
    for grouping, size in (("random", 4), ("language", 2)):
        units = members["0.5"][grouping][str(size)]
        table = pq.read_table(granularity / f"units-0/rate0.5-{grouping}-{size}.parquet")
        assert len(units) == table.num_rows
        for place in (0, len(units) - 1):
            row = table.slice(place, 1).to_pylist()[0]
            score, loss = unit_score(model_dir, granularity, units[place])
            assert row["score"] == pytest.approx(score, rel=1e-4)
            assert row["loss"] == pytest.approx(loss, rel=1e-4)


def test_units_hold_what_they_are_grouped_by(granularity):
    by_grouping = json.loads((granularity / "members.json").read_text())["0.5"]
    documents = by_grouping.pop("documents")
    assert sorted(documents) == sorted(unit[0] for unit in by_grouping["noise"]["1"])
    for grouping, sizes in by_grouping.items():
        for size, units in sizes.items():
            flat = [one for unit in units for one in unit]
            assert len(flat) == len(set(flat)) and {len(unit) for unit in units} == {int(size)}
            names = [one.split("|")[1] for one in flat]
            assert len(names) == len(set(names))  # clean or noisy, never both
            for unit in units:
                kinds = {one.split("|")[0] for one in unit}
                languages = {one.split("|")[1][:2] for one in unit}
                assert grouping != "noise" or len(kinds) == 1
                assert grouping != "language" or len(languages) == 1
    noisy = [one for unit in by_grouping["random"]["1"] for one in unit if "clean" not in one]
    assert len(noisy) == DOCUMENTS  # half of 2 x DOCUMENTS


def test_statistics_of_units(granularity):
    found = read_study(granularity)
    rows = rows_by(found, "grouping", "unit_size", "measure")
    single = rows["random", 1, "score"]
    assert single["spearman_members"] == pytest.approx(1.0)
    assert single["num_units"] == 2 * DOCUMENTS
    table = pq.read_table(granularity / "units-0/rate0.5-documents.parquet").to_pylist()
    members = json.loads((granularity / "members.json").read_text())["0.5"]
    of_document = dict(zip(members["documents"], (row["score"] for row in table), strict=True))
    ids = [unit[0] for unit in members["random"]["1"]]
    is_noise = np.array([one.split("|")[0] != "clean" for one in ids])
    scores = np.array([of_document[one] for one in ids])
    assert single["spread"] == pytest.approx(scores.std() / scores.mean())
    noisy, clean = scores[is_noise], scores[~is_noise]
    wins = np.mean([[(a > b) + 0.5 * (a == b) for b in clean] for a in noisy])
    assert single["auroc_any"] == single["auroc_above"] == pytest.approx(wins)
    # Two units a step have z = +-1 whatever their scores are: weights 0.881 and 0.119.
    high, low = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    assert single["ess_direct"] == pytest.approx(1 / (high**2 + low**2) / 2, rel=1e-4)
    pairs = list(zip(scores.reshape(-1, 2), is_noise.reshape(-1, 2)))
    weight = np.mean([high * noise[np.argmin(s)] + low * noise[np.argmax(s)] for s, noise in pairs])
    assert single["noise_weight"] == pytest.approx(weight / 0.5, rel=1e-4)


def test_units_that_are_scored_are_not_scored_again(granularity, model_dir, corpus, monkeypatch):
    before = read_study(granularity)
    monkeypatch.setattr(unit_scoring, "score_units", None)
    more = ("--sizes=1,2,4", "--rates=0.5", "--repeats=1", "--units_per_step=2")
    assert run("granularity", model_dir, corpus, granularity, *more) == 0
    assert read_study(granularity)["rows"] == before["rows"]


def test_noise_by_layer(model_dir, corpus, tmp_path):
    """The real scorer's columns reach the noise study."""
    more = ("--kinds=permuted_words", "--layers=encoder/layers_0,encoder/layers_1", "--by_layer")
    assert run("noise", model_dir, corpus, tmp_path / "out", *more) == 0
    measures = {row["measure"] for row in read_study(tmp_path / "out")["rows"]}
    assert {"score", "loss", "score_per_token", "score/encoder/layers_1", "random"} <= measures
