"""The run itself: one seed one result, resume bit for bit, complete files, clear refusals."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_model

from presence_t5x import train
from presence_t5x.checkpoint import load_model
from presence_t5x.config import load_config

STEPS = 6
SENTENCES = [
    "the river runs through the old town and on to the sea",
    "a good book is a friend that never leaves",
    "snow fell on the hills and the road was closed for days",
    "she keeps bees behind the house and sells the honey",
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Local files in two languages."""
    folder = tmp_path_factory.mktemp("texts")
    for language in ("en", "sw"):
        rows = [
            {"text": f"{SENTENCES[i % 4]} {i}. " * 2, "lang": language, "id": f"{language}-{i}"}
            for i in range(120)
        ]
        file = folder / f"{language}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def settings(texts, prepared):
    """Bindings of a run small enough to compile in seconds, on eight devices."""
    return {
        "LOCAL_TEXT_FILES": str(texts / "*.jsonl"),
        "VOCABULARY_FILE": "bytes",
        "PREPARED_DIR": str(prepared),
        "TASK_FEATURE_LENGTHS": {"inputs": 32, "targets": 8},
        "TRAIN_STEPS": STEPS,
        "BATCH_SIZE": 16,
        "NUM_MICROBATCHES": 2,
        "SWITCH_STEP": 3,
        "CHECKPOINT_PERIOD": 1,
        "EVAL_PERIOD": 3,
        "EVAL_ROWS": 8,
        "LOG_PERIOD": 1,
        **tiny_model.SETTINGS,
    }


def command(model_dir, settings, **changes):
    values = {"MODEL_DIR": str(model_dir), **settings, **changes}
    return [
        "--gin_file=configs/runs/pretrain_local.gin",
        *(f"--gin.{name}={value!r}" for name, value in values.items()),
    ]


def run(model_dir, settings, **changes):
    """Runs in this process and returns the final state."""
    bindings = [word.removeprefix("--gin.") for word in command(model_dir, settings, **changes)[1:]]
    config = load_config(["configs/runs/pretrain_local.gin"], bindings)
    return train.train(train.prepare(config))


def assert_identical(left, right):
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), left, right
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, settings):
    model_dir = tmp_path_factory.mktemp("run") / "whole"
    return model_dir, run(model_dir, settings)


def test_two_runs_with_one_seed_are_identical(uninterrupted, settings, tmp_path):
    model_dir, state = uninterrupted
    again = run(tmp_path / "again", settings)
    assert_identical(state, again)
    for name in ("metrics.jsonl", "evaluation.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (model_dir / name).read_bytes()
    other = run(tmp_path / "other", settings, RANDOM_SEED=1, TRAIN_STEPS=1)
    with pytest.raises(AssertionError):
        assert_identical(state.params, other.params)


@pytest.mark.parametrize("stopped_at", [1, 4])
def test_stopped_and_resumed_equals_uninterrupted(stopped_at, uninterrupted, settings, tmp_path):
    """What a kill leaves: a checkpoint, metrics lines beyond it, and half a line."""
    whole, state = uninterrupted
    model_dir = tmp_path / "resumed"
    shutil.copytree(whole, model_dir)
    for checkpoint in (model_dir / "checkpoints").iterdir():
        if checkpoint.name.isdigit() and int(checkpoint.name) > stopped_at:
            shutil.rmtree(checkpoint)
    (model_dir / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir()
    with (model_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "train/lo')
    resumed = run(model_dir, settings)
    assert_identical(state, resumed)
    for name in ("metrics.jsonl", "evaluation.jsonl"):
        assert (model_dir / name).read_bytes() == (whole / name).read_bytes()


def test_what_a_run_leaves(uninterrupted):
    model_dir, state = uninterrupted
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["presence/temperature"] for row in rows] == [1, 1, 1, -1, -1, -1]
    assert all(sum(row["presence/weights"]) == pytest.approx(1, abs=1e-5) for row in rows)
    evaluations = [
        json.loads(line) for line in (model_dir / "evaluation.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in evaluations] == [3, 6]
    assert {row["language"] for row in evaluations[0]["rows"]} == {"en", "sw"}
    assert list((model_dir / "tensorboard").glob("events*"))
    resolved = load_config([str(model_dir / "config.gin")])
    assert resolved.model.vocab_size == 384 and resolved.train_steps == STEPS
    assert int(state.step) == STEPS


def test_load_model_from_a_run_and_from_a_checkpoint(uninterrupted):
    model_dir, state = uninterrupted
    model, params = load_model(model_dir)
    assert_identical(params, state.params)
    tokens = np.ones((2, 5), np.int32)
    logits = model.apply({"params": params}, tokens, tokens, tokens, enable_dropout=False)
    assert logits.shape == (2, 5, 384) and logits.dtype == np.float32
    _, early = load_model(model_dir / "checkpoints" / "1")
    with pytest.raises(AssertionError):
        assert_identical(early, params)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        load_model(model_dir / "tensorboard")


def test_training_longer_continues_and_computes_no_first_state(
    uninterrupted, settings, tmp_path, monkeypatch
):
    """A random state beside the one that is read would double the memory that a start takes."""
    monkeypatch.delattr(train, "initial_state")
    whole, _ = uninterrupted
    model_dir = tmp_path / "longer"
    shutil.copytree(whole, model_dir)
    assert int(run(model_dir, settings, TRAIN_STEPS=STEPS + 1).step) == STEPS + 1


def spm_without_sentinels_at_the_top(folder):
    import sentencepiece

    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(SENTENCES * 20))
    prefix = str(folder / "odd")
    sentencepiece.SentencePieceTrainer.Train(
        input=str(corpus),
        model_prefix=prefix,
        vocab_size=45,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=["<extra_id_0>"],
        minloglevel=2,
    )
    return f"{prefix}.model"


def bad_inputs(folder, texts):
    """Bindings and what the one-line error says."""
    empty = folder / "empty.txt"
    empty.write_text("")
    latin = folder / "latin.txt"
    latin.write_bytes("caf\xe9 au lait".encode("latin-1"))
    return {
        "no_file": ({"LOCAL_TEXT_FILES": str(folder / "none*.txt")}, "none"),
        "empty_file": ({"LOCAL_TEXT_FILES": str(empty)}, "empty.txt"),
        "undecodable": ({"LOCAL_TEXT_FILES": str(latin)}, "latin.txt:1"),
        "unknown_task": (
            {"MIXTURE_OR_TASK_NAME": "local_tex"},
            "'local_tex'",
        ),
        "no_vocabulary": ({"VOCABULARY_FILE": str(folder / "no.model")}, "no.model"),
        "odd_sentinels": (
            {"VOCABULARY_FILE": spm_without_sentinels_at_the_top(folder)},
            "extra_id",
        ),
        "table_too_small": ({"T5Config.vocab_size": 100}, "vocab_size=100"),
        "table_too_large": ({"T5Config.vocab_size": 250112}, "set T5Config.vocab_size=384"),
        "targets_too_short": ({"TASK_FEATURE_LENGTHS": {"inputs": 32, "targets": 4}}, "targets"),
        "temperature": ({"TAU_1": float("nan")}, "nan"),
        "layers": ({"SCORE_LAYERS": ("encoder/layers_7",)}, "near matches: ['encoder/layers_0'"),
        "devices": ({"BATCH_SIZE": 8, "NUM_MICROBATCHES": 2}, "8 devices x num_microbatches=2"),
        "factors": ({"LEARNING_RATE_FACTORS": "constant * rsqrt"}, "unknown factor 'rsqrt'"),
    }


CASES = [
    "no_file",
    "empty_file",
    "undecodable",
    "unknown_task",
    "no_vocabulary",
    "odd_sentinels",
    "table_too_small",
    "table_too_large",
    "targets_too_short",
    "temperature",
    "layers",
    "devices",
    "factors",
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_before_anything_is_written(
    case, settings, texts, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(train, "train", lambda run: pytest.fail("the run started"))
    changes, message = bad_inputs(tmp_path, texts)[case]
    model_dir = tmp_path / "run"
    changes = {"PREPARED_DIR": str(tmp_path / "data"), **changes}
    # nan has no gin literal; an expression of gin's own spelling stands for a wrong number.
    arguments = [word.replace("=nan", "='nan'") for word in command(model_dir, settings, **changes)]
    assert train.main(arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1 and message in error[0], error
    assert not model_dir.exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_terminal_gets_its_cursor_back_whatever_ends_a_run(settings, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(train, "compile_ready_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", settings)
    hidden, shown = (terminal.getvalue().rfind(code) for code in ("\x1b[?25l", "\x1b[?25h"))
    assert 0 <= hidden < shown


def test_a_model_dir_of_another_run_is_refused_with_the_differences(
    uninterrupted, settings, capsys
):
    model_dir, _ = uninterrupted
    before = (model_dir / "config.json").read_bytes()
    assert train.main(command(model_dir, settings, TAU_2=-2.0, BATCH_SIZE=32)) == 2
    error = capsys.readouterr().err
    assert "temperature.temperature_2=-1.0 there, -2.0 here" in error
    assert "data.batch_size=16 there, 32 here" in error
    assert (model_dir / "config.json").read_bytes() == before


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_bits(settings, tmp_path):
    """kill -9 in the middle of real processes on one device."""
    changes = {"TRAIN_STEPS": 40, "CHECKPOINT_PERIOD": 5, "EVAL_PERIOD": 20}

    def start(model_dir):
        return subprocess.Popen(
            [sys.executable, "-m", "presence_t5x.train", *command(model_dir, settings, **changes)],
            cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(model_dir):
        with start(model_dir) as process:
            process.communicate()
        return process.returncode

    assert finish(tmp_path / "whole") == 0
    with start(tmp_path / "killed") as killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if line.startswith("step 17/"):
                killed.kill()
                break
    assert killed.returncode != 0
    assert finish(tmp_path / "killed") == 0
    assert_identical(load_model(tmp_path / "whole")[1], load_model(tmp_path / "killed")[1])
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (
        tmp_path / "killed/metrics.jsonl"
    ).read_bytes()
