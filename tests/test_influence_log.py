"""Which rows form a unit, told from outside the step; and what a run writes of its units."""

import json
import shutil
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_model

from presence_t5x import train
from presence_t5x.accumulation import rows_of_units
from presence_t5x.config import load_config
from presence_t5x.config_types import PresenceConfig
from presence_t5x.data.row_features import Batch
from presence_t5x.gradients import presence_gradients
from presence_t5x.influence_log import DIRECTORY, InfluenceLog
from presence_t5x.partitioning import data_mesh, num_unit_parts


@pytest.mark.parametrize("row_order", ["strided", "contiguous"])
@pytest.mark.parametrize("granularity", ["microbatch", "shard", "example"])
@pytest.mark.parametrize("num_devices", [1, 4])
def test_rows_of_units_are_those_that_are_scored(row_order, granularity, num_devices):
    """A unit's score is the mean of its rows' values, which tell the rows apart."""
    values = np.random.default_rng(0).permutation(2.0 ** np.arange(16))
    params = {"encoder": {"w": jnp.ones(())}}

    def loss_fun(params, batch, rng):
        return params["encoder"]["w"] * batch["value"], jnp.ones_like(batch["value"])

    config = PresenceConfig(
        num_microbatches=2,
        layers=("encoder",),
        granularity=granularity,
        row_order=row_order,
        score="loss",
        normalizer="none",
        accumulator="streaming",
    )
    mesh = None if num_devices == 1 else data_mesh(jax.devices()[:num_devices])
    parts = 1 if mesh is None else num_unit_parts(mesh)
    batch = {"value": jnp.asarray(values, jnp.float32)}
    step = jax.jit(
        lambda p, b: presence_gradients(
            loss_fun, p, b, None, temperature=0.0, config=config, mesh=mesh
        )
    )
    rows = rows_of_units(16, config, parts)
    assert sorted(rows.reshape(-1)) == list(range(16))
    np.testing.assert_allclose(step(params, batch)[1].scores, values[rows].mean(axis=1), rtol=1e-6)


def test_tokens_are_counted_on_the_host(tmp_path):
    """A device would count them behind the step that has just begun, and the run would wait."""
    settings = {
        "MODEL_DIR": str(tmp_path),
        "LOCAL_TEXT_FILES": "unread",
        "VOCABULARY_FILE": "bytes",
        "BATCH_SIZE": 2,
        "NUM_MICROBATCHES": 1,
        "INFLUENCE_LOG": True,
    }
    config = load_config([tiny_model.LOCAL], [f"{n}={value!r}" for n, value in settings.items()])
    features = {
        "decoder_target_tokens": np.ones((2, 3), np.int32),
        "decoder_loss_weights": np.asarray([[1, 1, 0], [1, 0, 0]], np.float32),
    }
    batch = Batch(features, ["a", "b"], ["en", "sw"], ["", ""], ["", ""])
    unit = {name: jnp.ones(1) for name in ("scores", "weights", "live")}
    log = InfluenceLog(config, None, resume_step=0)
    with jax.transfer_guard("disallow_explicit"):
        log.add(1, batch, {"units": unit, "presence/temperature": 1.0})
    log.write()
    (row,) = pq.read_table(tmp_path / DIRECTORY).to_pylist()
    assert row["num_tokens"] == 3 and row["languages"] == [("en", 1), ("sw", 1)]


STEPS = 4


def run(folder, prepared, **changes):
    texts = prepared / "texts"
    if not texts.exists():
        texts.mkdir()
        for language in ("en", "sw"):
            rows = [
                {"text": f"word {i} and another word {i} of text. ", "lang": language}
                for i in range(60)
            ]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (texts / f"{language}.jsonl").write_text(lines)
    settings = {
        "MODEL_DIR": str(folder),
        "LOCAL_TEXT_FILES": str(texts / "*.jsonl"),
        "VOCABULARY_FILE": "bytes",
        "PREPARED_DIR": str(prepared),
        "TASK_FEATURE_LENGTHS": {"inputs": 32, "targets": 8},
        "TRAIN_STEPS": STEPS,
        "BATCH_SIZE": 16,
        "NUM_MICROBATCHES": 2,
        "GRANULARITY": "example",
        "SWITCH_STEP": 2,
        "CHECKPOINT_PERIOD": 2,
        "EVAL_PERIOD": 100,
        "EVAL_ROWS": 8,
        "LOG_PERIOD": 1,
        "INFLUENCE_LOG": True,
        **tiny_model.SETTINGS,
        **changes,
    }
    bindings = [f"{name}={value!r}" for name, value in settings.items()]
    train.train(train.prepare(load_config(["configs/runs/pretrain_local.gin"], bindings)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder, prepared)
    return folder


def test_a_row_for_every_unit_of_every_step(whole):
    rows = pq.read_table(whole / DIRECTORY).to_pylist()
    assert [(row["step"], row["unit"]) for row in rows] == [
        (step, unit) for step in range(1, STEPS + 1) for unit in range(16)
    ]
    metrics = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    for step in metrics:
        units = [row for row in rows if row["step"] == step["step"]]
        assert [row["score"] for row in units] == pytest.approx(step["presence/scores"], rel=1e-6)
        assert [row["weight"] for row in units] == pytest.approx(step["presence/weights"], rel=1e-6)
        assert {row["temperature"] for row in units} == {step["presence/temperature"]}
        assert sum(row["num_tokens"] for row in units) == step["train/num_tokens"]
    assert {row["temperature"] for row in rows} == {1.0, -1.0}
    for row in rows:
        ((language, number),) = row["languages"]
        (example_id,) = row["example_ids"]
        assert number == 1 and language in example_id and row["live"]


def test_resumed_is_uninterrupted(whole, prepared, tmp_path):
    """Stopped while it saved step 4: what follows step 2 is written, but not the checkpoint."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / str(STEPS))
    written = {path.name: path.stat().st_mtime_ns for path in (folder / DIRECTORY).iterdir()}
    run(folder, prepared)
    again = {path.name: path.stat().st_mtime_ns for path in (folder / DIRECTORY).iterdir()}
    changed = [name for name in again if again[name] != written.get(name)]
    assert len(written) == len(again) == 2 and len(changed) == 1
    assert pq.read_table(folder / DIRECTORY).equals(pq.read_table(whole / DIRECTORY))


def test_microbatches_count_their_languages(prepared, tmp_path):
    run(tmp_path, prepared, GRANULARITY="microbatch", TRAIN_STEPS=2)
    rows = pq.read_table(tmp_path / DIRECTORY).to_pylist()
    assert len(rows) == 2 * 2
    for row in rows:
        assert len(row["example_ids"]) == 8 == sum(number for _, number in row["languages"])
        named = [name.split(".")[0] for name in row["example_ids"]]
        assert dict(row["languages"]) == {name: named.count(name) for name in set(named)}


def test_microbatches_of_one_language_resume_to_the_same_bits(prepared, tmp_path):
    settings = {"GRANULARITY": "microbatch", "MICROBATCH_COMPOSITION": "language"}
    whole, again = tmp_path / "whole", tmp_path / "again"
    run(whole, prepared, **settings)
    rows = pq.read_table(whole / DIRECTORY).to_pylist()
    for step in range(1, STEPS + 1):
        units = [dict(row["languages"]) for row in rows if row["step"] == step]
        totals = Counter(units[0]) + Counter(units[1])
        assert sum(len(unit) == 1 for unit in units) >= sum(n // 8 for n in totals.values())
    shutil.copytree(whole, again)
    shutil.rmtree(again / "checkpoints" / str(STEPS))
    run(again, prepared, **settings)
    assert pq.read_table(again / DIRECTORY).equals(pq.read_table(whole / DIRECTORY))
    assert (again / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_an_unweighted_step_is_that_of_any_composition(prepared, tmp_path):
    losses = []
    for name in ("random", "language"):
        changes = {"TEMPERATURE_SCHEDULE": "unweighted", "INFLUENCE_LOG": False}
        changes |= {"GRANULARITY": "microbatch", "MICROBATCH_COMPOSITION": name, "TRAIN_STEPS": 2}
        run(tmp_path / name, prepared, **changes)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train/loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # sums in another order


def test_single_rows_are_not_composed(prepared, tmp_path):
    with pytest.raises(ValueError, match="MICROBATCH_COMPOSITION='random'"):
        run(tmp_path, prepared, MICROBATCH_COMPOSITION="language")


def test_an_unweighted_run_has_no_scores(prepared, tmp_path):
    with pytest.raises(ValueError, match="INFLUENCE_LOG=False"):
        run(tmp_path, prepared, TEMPERATURE_SCHEDULE="unweighted")
