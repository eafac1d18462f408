"""A run starts from any checkpoint as T5X fine-tunes, and continues in a converted one."""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import SIZES

from presence_t5x import train
from presence_t5x.config import load_config
from presence_t5x.config_types import T5Config
from presence_t5x.convert import tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.conversion import Conversion, convert
from presence_t5x.convert.writers import write_checkpoint
from presence_t5x.models.families import init_params
from presence_t5x.weighting import init_presence_state

# An odd number of rows: the run takes it from the checkpoint.
MODEL = T5Config(vocab_size=391, dtype="float32", **SIZES)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": f"sentence {i} of many. " * 3, "lang": "en", "id": str(i)} for i in range(80)]
    (folder / "en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "LOCAL_TEXT_FILES": str(folder / "*.jsonl"),
        "VOCABULARY_FILE": "bytes",
        "PREPARED_DIR": str(folder / "prepared"),
        "TASK_FEATURE_LENGTHS": {"inputs": 32, "targets": 8},
        "TRAIN_STEPS": 3,
        "BATCH_SIZE": 16,
        "NUM_MICROBATCHES": 2,
        "TEMPERATURE_SCHEDULE": "constant",
        "LEARNING_RATE_FACTORS": "constant",
        "BASE_LEARNING_RATE": 0.01,
        "CHECKPOINT_PERIOD": 1,
        "EVAL_PERIOD": 100,
        "EVAL_ROWS": 8,
        "LOG_PERIOD": 1,
        **{f"T5Config.{name}": value for name, value in SIZES.items()},
    }


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    """The same parameters as a MODEL_DIR at step 0, and at step 5 in every format."""
    folder = tmp_path_factory.mktemp("initial")
    params = init_params(MODEL, jax.random.key(3))
    for step in (0, 5):
        found = Content(MODEL, tensors.of_tree(params, "random"), None, step)
        write_checkpoint(folder / f"presence_{step}", found, "presence")
    for name in ("t5x", "hf"):
        convert(
            Conversion(
                source=folder / "presence_5",
                target=folder / name,
                source_format="presence",
                target_format=name,
                check=False,
            )
        )
    return folder


def prepare(model_dir, settings, **changes):
    values = {"MODEL_DIR": str(model_dir), **settings, **changes}
    bindings = [f"{name}={value!r}" for name, value in values.items()]
    return train.prepare(load_config(["configs/runs/pretrain_local.gin"], bindings))


def assert_identical(left, right):
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), left, right
    )


@pytest.fixture(scope="module")
def from_zero(initial, settings, tmp_path_factory):
    """Where a run from step 0 left its results, and its state after three updates."""
    model_dir = tmp_path_factory.mktemp("zero") / "run"
    source = str(initial / "presence_0")
    return model_dir, train.train(prepare(model_dir, settings, INITIAL_CHECKPOINT=source))


def test_steps_count_on_and_the_optimizer_starts_fresh(initial, from_zero, settings, tmp_path):
    """Three updates from step 5 are three from step 0, at a constant learning rate.

    After the first of them the run is resumed, and its initial checkpoint is gone.
    """
    shutil.copytree(initial / "presence_5", tmp_path / "source")
    model_dir, changes = tmp_path / "run", {"INITIAL_CHECKPOINT": str(tmp_path / "source")}
    train.train(prepare(model_dir, settings, TRAIN_STEPS=6, **changes))
    shutil.rmtree(tmp_path / "source")
    state = train.train(prepare(model_dir, settings, TRAIN_STEPS=8, **changes))
    _, wanted = from_zero
    assert int(state.step) == 8 and int(state.optimizer_state[0].count) == 8
    assert_identical(state.params, wanted.params)
    assert_identical(state.optimizer_state[0][1:], wanted.optimizer_state[0][1:])
    lines = (model_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6, 7, 8]
    *_, last = map(json.loads, (model_dir / "epochs.jsonl").read_text().splitlines())
    (group,) = last["rows"]
    num_rows = 3 * settings["BATCH_SIZE"]  # of this run
    assert last["step"] == 8 and group["epochs"] == num_rows / group["rows_per_epoch"]
    resolved = json.loads((model_dir / "config.json").read_text())
    assert resolved["optimizer"]["step_offset"] == 5 and resolved["model"]["vocab_size"] == 391


@pytest.mark.parametrize("name, step", [("presence_5", 5), ("t5x", 5), ("hf", 0)])
def test_every_format_starts_with_its_parameters(name, step, initial, settings, tmp_path):
    changes = {"INITIAL_CHECKPOINT": str(initial / name), "TRAIN_STEPS": 8}
    run = prepare(tmp_path / "run", settings, **changes)
    assert run.config.optimizer.step_offset == step
    fresh = train.initial_state(run.config, run.objective)
    state = train.initial_checkpoint.start_from(run.initial, fresh)
    assert_identical(state.params, init_params(MODEL, jax.random.key(3)))
    assert int(state.step) == step
    counts = [int(part.count) for part in state.optimizer_state]
    assert counts == [step, step]
    assert_identical(state.optimizer_state[0][1:], fresh.optimizer_state[0][1:])


def test_a_run_whose_initial_checkpoint_cannot_be_read_leaves_no_settings(
    initial, settings, tmp_path
):
    """So that the same MODEL_DIR serves when the right one is named."""
    source, model_dir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(initial / "presence_5", source)
    files = [path for path in source.glob("checkpoints/5/params/**/*") if path.is_file()]
    max(files, key=lambda path: path.stat().st_size).write_bytes(b"")
    run = prepare(model_dir, settings, INITIAL_CHECKPOINT=str(source), TRAIN_STEPS=8)
    with pytest.raises(train.StopError, match=r"INITIAL_CHECKPOINT: .*source"):
        train.train(run)
    assert not (model_dir / "config.json").exists()
    changes = {"INITIAL_CHECKPOINT": str(initial / "presence_5"), "TRAIN_STEPS": 8}
    assert prepare(model_dir, settings, **changes).initial is not None


def test_layers_may_be_stacked_here_and_apart_there(initial, settings, tmp_path):
    run = prepare(
        tmp_path / "run",
        settings,
        INITIAL_CHECKPOINT=str(initial / "t5x"),
        TRAIN_STEPS=6,
        **{"T5Config.scan_layers": True},
    )
    fresh = train.initial_state(run.config, run.objective)
    state = train.initial_checkpoint.start_from(run.initial, fresh)
    wanted = init_params(MODEL, jax.random.key(3))
    kernel = state.params["encoder"]["encoder"]["mlp"]["wo"]["kernel"]
    there = wanted["encoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0], there)
    assert kernel.sharding == fresh.params["encoder"]["encoder"]["mlp"]["wo"]["kernel"].sharding


def test_a_run_continues_in_a_converted_directory(from_zero, settings, tmp_path):
    """A run of this package, turned into T5X's files and back, goes on with all of its state."""
    model_dir, state = from_zero
    steps = (model_dir, "presence"), (tmp_path / "t5x", "t5x"), (tmp_path / "back", "presence")
    for (source, source_format), (target, target_format) in itertools.pairwise(steps):
        convert(
            Conversion(
                source=source,
                target=target,
                source_format=source_format,
                target_format=target_format,
                check=False,
            )
        )
    run = prepare(tmp_path / "back", settings, TRAIN_STEPS=3, **{"T5Config.vocab_size": 391})
    same = train.train(run)  # nothing is left to do
    # T5X has no place for the score averages of normalizer "ema".
    assert_identical(same, state._replace(presence=init_presence_state(run.config.presence)))
    run = prepare(tmp_path / "back", settings, TRAIN_STEPS=4, **{"T5Config.vocab_size": 391})
    after = train.train(run)
    assert int(after.step) == 4
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(after.params))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"TRAIN_STEPS": 5}, r"train_steps=5, but INITIAL_CHECKPOINT=.* step 5 .*TRAIN_STEPS=5 \+"),
        ({"T5Config.mlp_dim": 32}, r"another model: mlp_dim=16 there, 32 here; set the model"),
        ({"T5Config.vocab_size": 400}, r"vocab_size=391 there, 400 here.*--vocab_size=400"),
        ({"INITIAL_CHECKPOINT": "gs://a/b"}, r"gs://a/b is not a local path; copy it first"),
        ({"INITIAL_CHECKPOINT": "/nowhere"}, r"/nowhere does not exist"),
    ],
)
def test_unfit_checkpoints_are_refused_at_once(changes, message, initial, settings, tmp_path):
    changes = {
        "INITIAL_CHECKPOINT": str(initial / "presence_5"),
        "TRAIN_STEPS": 8,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "run", settings, **changes)
    assert not (tmp_path / "run").exists()


def test_parameters_alone_cannot_be_continued(initial, settings, tmp_path):
    shutil.copytree(initial / "presence_5", tmp_path / "run")
    with pytest.raises(ValueError, match=r"parameters alone.*another MODEL_DIR, and INITIAL_CHECK"):
        prepare(tmp_path / "run", settings, TRAIN_STEPS=8)
