"""From a decoder's and an encoder's checkpoint to scores and a filtered store, by the commands."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_model

from presence_t5x import filter as filtering
from presence_t5x import score
from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import id_hash
from presence_t5x.data.row_features import RowFeatures, TextRow
from presence_t5x.data.token_store import open_store
from presence_t5x.data.vocabularies import load_vocabulary

TEXTS = {f"d{i}": f"{tiny_model.SENTENCE[: 12 + 5 * i]}{i}" for i in range(8)}
MODEL_FILES = {"DecoderOnlyConfig": "decoder_only_tiny", "EncoderOnlyConfig": "encoder_only_tiny"}


@pytest.fixture(scope="module", params=MODEL_FILES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model_dir(family, tmp_path_factory):
    model_file = f"configs/models/{MODEL_FILES[family]}.gin"
    settings = tiny_model.ONE_STACK[family]
    return tiny_model.train_run(tmp_path_factory.mktemp(family), model_file, **settings)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "docs.jsonl"
    rows = [{"id": name, "text": text} for name, text in TEXTS.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(model_dir, texts, output, *more):
    device = jax.local_devices()[:1]  # compiling for eight takes thrice the time
    arguments = [f"--checkpoint={model_dir}", f"--input={texts}", f"--output={output}", *more]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: device)
        return score.main(arguments)


def expected(model_dir, family, name):
    """Mean token loss of a text in one row, and the norm of its summed loss, by plain gradients."""
    settings = tiny_model.ONE_STACK[family]
    vocabulary = load_vocabulary("bytes")
    features = RowFeatures(
        DataConfig(
            mixture_or_task_name="local_text",
            local_text_files="x",
            objective=settings["OBJECTIVE"],
            task_feature_lengths=settings["TASK_FEATURE_LENGTHS"],
        ),
        vocabulary,
    )
    tokens = np.array(vocabulary.encode(TEXTS[name]), np.int32)
    row = TextRow(tokens, name, "", "", "")
    batch = features.batch([(row, id_hash(f"score/0/{name}"))], 1).features
    loss, gradient = tiny_model.loss_and_gradient(model_dir)(batch)
    stack = {"DecoderOnlyConfig": "decoder", "EncoderOnlyConfig": "encoder"}[family]
    num_tokens = float(batch[f"{stack}_loss_weights"].sum())
    leaves = jax.tree.leaves(gradient[stack]["layers_0"])
    return float(loss), num_tokens**2 * sum(float(jnp.sum(leaf**2)) for leaf in leaves)


def test_scores_are_those_of_plain_gradients_and_filter(model_dir, family, texts, tmp_path):
    path = tmp_path / "scores.parquet"
    assert run(model_dir, texts, path, "--score_loss=sum", "--batch_size=8") == 0
    rows = pq.read_table(path).to_pylist()
    assert [row["example_id"] for row in rows] == list(TEXTS)
    stack = f"score_{family.removesuffix('OnlyConfig').lower()}"
    by_stack = {name for name in rows[0] if name.startswith(("score_enc", "score_dec"))}
    assert by_stack == {stack} and all(row[stack] == row["score"] for row in rows)
    for row in rows:
        found = (row["loss"], row["score"])
        wanted = expected(model_dir, family, row["example_id"])
        np.testing.assert_allclose(found, wanted, rtol=1e-4, err_msg=row["example_id"])
    kept = tmp_path / "kept"
    assert filtering.main([f"--scores={path}", f"--output={kept}", "--keep=3"]) == 0
    ranked = sorted((row for row in rows if row["split"] == "train"), key=lambda row: row["score"])
    held_out = {row["example_id"] for row in rows if row["split"] != "train"}
    assert {row["example_id"] for row in ranked[:3]} | held_out == {d.id for d in open_store(kept)}


def test_rows_of_another_family_are_refused(model_dir, family, texts, tmp_path, capsys):
    """A batch of span corruption holds all that a decoder reads, which would give wrong scores."""
    gin = (f"--gin_file={tiny_model.LOCAL}", "--gin.VOCABULARY_FILE='bytes'")
    assert run(model_dir, texts, tmp_path / "scores.parquet", *gin) == 2
    error = capsys.readouterr().err
    assert f"objective='span_corruption' makes no rows for a {family}; set OBJECTIVE=" in error
    assert not list(tmp_path.iterdir())
