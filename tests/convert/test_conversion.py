"""The command: chains of conversions lose nothing, doubts stop them, and nothing is left behind."""

import hashlib
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from convert import huggingface_peer
from safetensors.numpy import load_file, save_file
from sentencepiece import SentencePieceProcessor

from presence_t5x.checkpoint import load_model
from presence_t5x.checkpointer import Checkpointer
from presence_t5x.config_types import OptimizerConfig, PresenceConfig, T5Config
from presence_t5x.convert import tensors
from presence_t5x.convert.__main__ import main
from presence_t5x.convert.conversion import Conversion, convert
from presence_t5x.convert.formats import guess_format, open_checkpoint
from presence_t5x.convert.logits import difference
from presence_t5x.convert.vocabularies import describe_vocabulary
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.models.families import init_params
from presence_t5x.models.t5 import T5
from presence_t5x.optimizer import build_optimizer
from presence_t5x.train_step import Objective, init_train_state

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours

CONFIG = T5Config(
    vocab_size=515,
    emb_dim=130,  # large enough for factored moments
    num_heads=3,
    head_dim=45,
    mlp_dim=140,
    num_encoder_layers=1,
    num_decoder_layers=2,
    dtype="float32",
    scan_layers=True,
)


def digest(folder):
    """Every file of a folder, by content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def arrays(content):
    return {path: np.asarray(tensor.read()) for path, tensor in content.params.items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for path, array in right.items():
        np.testing.assert_array_equal(left[path], array, path)


def turn(source, target, source_format, target_format, **options):
    return convert(
        Conversion(
            source=source,
            target=target,
            source_format=source_format,
            target_format=target_format,
            **{"check": False, **options},
        )
    )


@pytest.fixture(scope="module")
def state():
    """A training state of a scanned model after an update, at step 4."""
    optimizer = build_optimizer(OptimizerConfig(), scan_layers=True)
    state = init_train_state(
        Objective(None, optimizer, None, None, PresenceConfig()),
        init_params(CONFIG, jax.random.key(0)),
    )
    gradients = jax.tree.map(lambda leaf: leaf + 0.1, state.params)
    for _ in range(4):
        _, optimizer_state = jax.jit(optimizer.update)(
            gradients, state.optimizer_state, state.params
        )
        state = state._replace(optimizer_state=optimizer_state, step=state.step + 1)
    return state


@pytest.fixture(scope="module")
def model_dir(state, tmp_path_factory):
    """What `train` would leave."""
    folder = tmp_path_factory.mktemp("run") / "model_dir"
    checkpointer = Checkpointer(folder)
    checkpointer.save(state, b"", {"model": vars(CONFIG)})
    checkpointer.close()
    return folder


def test_a_whole_training_state_comes_back_from_t5x(model_dir, state, tmp_path):
    """Both layouts of layers on the way; then `train`'s own restore, bit for bit."""
    report = turn(model_dir, tmp_path / "t5x", "presence", "t5x")
    assert report.has_optimizer_state and report.step == 4
    assert report.location == tmp_path / "t5x" / "checkpoint_4"
    turn(tmp_path / "t5x", tmp_path / "apart", "t5x", "presence", scan_layers=False)
    turn(tmp_path / "apart", tmp_path / "again", "presence", "t5x", network="presence_scanned")
    report = turn(tmp_path / "again", tmp_path / "back", "t5x", "presence")
    assert "MODEL_DIR" in report.notes[-1]
    checkpointer = Checkpointer(tmp_path / "back")
    restored = checkpointer.restore(state)
    checkpointer.close()
    assert restored.data_state == b""
    left, right = (tensors.leaves_of(tree) for tree in (restored.state, state))
    assert_same({k: np.asarray(v) for k, v in left.items()}, right)


def test_parameters_survive_the_whole_chain(model_dir, tmp_path):
    """T5X, here, Hugging Face, here, T5X: equal in every bit, whoever is installed."""
    turn(model_dir, tmp_path / "1", "presence", "t5x", parameters_only=True)
    turn(tmp_path / "1", tmp_path / "2", "t5x", "presence")
    turn(tmp_path / "2", tmp_path / "3", "presence", "hf")
    turn(tmp_path / "3", tmp_path / "4", "hf", "presence")
    turn(tmp_path / "4", tmp_path / "5", "presence", "t5x")
    first, last = (tmp_path / number for number in ("1/checkpoint_4", "5/checkpoint_0"))
    assert_same(arrays(open_checkpoint(last)), arrays(open_checkpoint(first)))
    before, after = digest(first), digest(last)
    assert {k: v for k, v in before.items() if k != "checkpoint"} == {
        k: v for k, v in after.items() if k != "checkpoint"
    }


def test_the_other_libraries_agree(model_dir, tmp_path):
    huggingface_peer.need_transformers()
    report = turn(model_dir, tmp_path / "hf", "presence", "hf", check=True)
    (check,) = report.checks
    assert check.subject.startswith("TARGET by transformers") and check.difference < 1e-5


def test_load_model_opens_what_is_written(model_dir, tmp_path):
    turn(model_dir, tmp_path / "t5x", "presence", "t5x")
    turn(tmp_path / "t5x", tmp_path / "back", "t5x", "presence", scan_layers=False)
    model, params = load_model(tmp_path / "back")
    assert isinstance(model, T5) and not model.config.scan_layers
    tokens = np.array([[5, 9, 1]])
    here = model.apply({"params": params}, tokens, tokens, tokens, enable_dropout=False)
    first, scanned = load_model(model_dir)
    there = first.apply({"params": scanned}, tokens, tokens, tokens, enable_dropout=False)
    np.testing.assert_allclose(here, there, atol=1e-5)


def test_a_shared_table_can_be_copied_into_every_layer_but_not_its_moments(model_dir, tmp_path):
    options = {"network": "scalable_t5"}
    with pytest.raises(ValueError, match=r"position table in every layer.*--parameters_only"):
        turn(model_dir, tmp_path / "t5x", "presence", "t5x", **options)
    turn(model_dir, tmp_path / "t5x", "presence", "t5x", parameters_only=True, **options)
    content = open_checkpoint(tmp_path / "t5x")
    assert content.config.position_biases_per_layer
    tables = [content.params[f"decoder/layers_{i}/relpos_bias/rel_embedding"] for i in (0, 1)]
    np.testing.assert_array_equal(tables[0].read(), tables[1].read())
    with pytest.raises(ValueError, match=r"examples.t5.network has not; use --network=scalable_t5"):
        turn(tmp_path / "t5x", tmp_path / "x", "t5x", "t5x")
    turn(tmp_path / "t5x", tmp_path / "umt5", "t5x", "hf")
    values = json.loads((tmp_path / "umt5" / "config.json").read_text())
    assert values["model_type"] == "umt5"


def test_nothing_is_left_where_it_fails_and_sources_are_only_read(model_dir, tmp_path):
    before = digest(model_dir)
    source = tmp_path / "t5x"
    turn(model_dir, source, "presence", "t5x")
    assert digest(model_dir) == before
    piece = source / "checkpoint_4" / "target.token_embedder.embedding" / "0.0"
    piece.write_bytes(piece.read_bytes()[:1000])
    damaged = digest(source)
    for target_format in ("presence", "hf", "t5x"):
        with pytest.raises(ValueError, match=r"target.token_embedder.embedding cannot be read"):
            turn(source, tmp_path / "new" / "target", "t5x", target_format)
        assert not list((tmp_path / "new").iterdir())
    assert digest(source) == damaged


def test_a_target_that_exists_is_not_touched(model_dir, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ValueError, match="full exists; give another path"):
        turn(model_dir, tmp_path / "full", "presence", "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    (tmp_path / "empty").mkdir()
    turn(model_dir, tmp_path / "empty", "presence", "hf")
    assert (tmp_path / "empty" / "config.json").is_file()


def test_other_logits_are_refused(tmp_path):
    """A tied mt5 that says it scales its logits: we believe it, transformers does not."""
    theirs = huggingface_peer.random_model("mt5", tied=True)
    folder = huggingface_peer.save(theirs, tmp_path / "theirs")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "scale_decoder_outputs": True}))
    with pytest.raises(ValueError, match=r"logits differ by .* \(limit 0.0001\).*SOURCE by transf"):
        turn(folder, tmp_path / "ours", "hf", "presence", check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_a_library_that_cannot_load_its_side_is_an_error(model_dir, tmp_path):
    """transformers looks at more of a config than this package does."""
    huggingface_peer.need_transformers()
    turn(model_dir, tmp_path / "hf", "presence", "hf")
    values = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**values, "dropout_rate": "much"}))
    with pytest.raises(ValueError, match="hf's library cannot use its side"):
        turn(tmp_path / "hf", tmp_path / "ours", "hf", "presence", check=True)


def test_the_difference_of_logits_is_relative_above_one():
    ours = np.array([[[100.0, -100.0, 3.0]]])
    assert difference(ours, ours + 0.01) == pytest.approx(0.01 / 81.7, rel=1e-3)
    assert difference(ours / 1000, ours / 1000 + 0.01) == pytest.approx(0.01)
    assert difference(ours, ours[..., :2]) == 0.0
    assert difference(ours * np.nan, ours) == float("inf")


def test_unmapped_parameters_are_listed_and_can_be_dropped(model_dir, tmp_path):
    turn(model_dir, tmp_path / "hf", "presence", "hf")
    file = tmp_path / "hf" / "model.safetensors"
    extra = {"adapter.0.weight": np.ones((2, 3), np.float32), "bias": np.ones(4, np.float32)}
    save_file({**load_file(file), **extra}, file)
    with pytest.raises(ValueError, match=r"adapter.0.weight \(2, 3\), bias \(4,\); --drop_unm"):
        turn(tmp_path / "hf", tmp_path / "x", "hf", "presence")
    report = turn(tmp_path / "hf", tmp_path / "x", "hf", "presence", drop_unmapped=True)
    assert report.dropped == ("adapter.0.weight (2, 3)", "bias (4,)")


@pytest.mark.parametrize("rows", [640, 300])
def test_rows_of_the_vocabulary_are_added_as_padding_or_cut_off(rows, model_dir, tmp_path):
    report = turn(model_dir, tmp_path / "t5x", "presence", "t5x", vocab_size=rows)
    assert any("515 rows" in note for note in report.notes)
    assert any(f"{abs(rows - 515)} rows were" in note for note in report.notes)
    before, after = open_checkpoint(model_dir), open_checkpoint(tmp_path / "t5x")
    assert after.config.vocab_size == rows
    kept = min(rows, 515)
    for path, axis in (("token_embedder/embedding", 0), ("decoder/logits_dense/kernel", 1)):
        old, new = (np.moveaxis(c.params[path].read(), axis, 0) for c in (before, after))
        np.testing.assert_array_equal(new[:kept], old[:kept])
        assert np.all(new[kept:] == old[0])
        along = after.moments[path].along
        assert along[axis].shape == (rows,) and along[1 - axis].shape == (130,)
        assert np.all(along[axis].read()[kept:] == along[axis].read()[0])


def test_what_is_said_of_the_vocabulary(tmp_path):
    assert "12 rows of padding, kept" in describe_vocabulary(250_112, tmp_path)
    assert "515 rows, kept" in describe_vocabulary(515, tmp_path)
    os.symlink(vocabulary_file(), tmp_path / "spiece.model")
    pieces = SentencePieceProcessor(model_file=vocabulary_file()).get_piece_size()
    assert f"for the {pieces:,} pieces of" in describe_vocabulary(pieces + 7, tmp_path)
    assert "7 rows of padding" in describe_vocabulary(pieces + 7, tmp_path)
    assert "fewer than the" in describe_vocabulary(100, tmp_path)


def test_formats_are_told_apart(model_dir, tmp_path):
    assert guess_format(model_dir) == "presence"
    for target_format in ("hf", "t5x"):
        turn(model_dir, tmp_path / target_format, "presence", target_format)
        assert guess_format(tmp_path / target_format) == target_format
    with pytest.raises(ValueError, match="gs://bucket/mt5 is not a local path; copy it first"):
        guess_format(type(tmp_path)("gs://bucket/mt5"))


def run_command(*arguments):
    """The command in a process of its own, without the libraries of others."""
    return subprocess.run(
        [sys.executable, "-m", "presence_t5x.convert", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )


def test_the_command_converts_and_says_what_is_unchecked(model_dir, tmp_path):
    result = run_command("--from=presence", "--to=t5x", model_dir, tmp_path / "t5x")
    assert result.returncode == 0, result.stderr
    assert f"wrote {tmp_path}/t5x/checkpoint_4" in result.stdout
    assert "step 4, with optimizer state" in result.stdout
    assert "unchecked: TARGET by T5X: not installed" in result.stdout
    assert "WARNING" not in result.stdout + result.stderr


def test_the_commands_report_as_json(model_dir, tmp_path, capsys):
    arguments = ["--from=presence", "--to=hf", "--skip_check", "--json"]
    assert main([*arguments, str(model_dir), str(tmp_path / "hf")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["step"] == 4 and report["checks"][0]["reason"] == "--skip_check"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--from=hf", "--to=t5x", "a"], "required: TARGET; --help lists the arguments"),
        (["--from=tf", "--to=t5x", "a", "b"], "--from: invalid choice: 'tf'"),
        (["--from=hf", "--to=t5x", "nowhere", "b"], "nowhere does not exist"),
        (["--from=hf", "--to=hf", "--network=t5", "a", "b"], "a does not exist"),
        (["--from=hf", "--to=hf", "--network=scalable_t5", "a", "b"], "belongs to --to=t5x"),
        (["--from=hf", "--to=hf", "--scan_layers=true", "a", "b"], "belongs to --to=presence"),
        (["--from=hf", "--to=hf", "--vocab_size=0", "a", "b"], "--vocab_size=0 must be >= 1"),
    ],
)
def test_wrong_command_lines_end_with_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
