"""Answers: of one example whatever is beside it, as the vocabulary reads and writes text."""

import functools

import jax
import numpy as np
import pytest

from presence_t5x.config_types import DecodingConfig, PartitioningConfig, T5Config
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.decode import make_decoder
from presence_t5x.evaluation.predictor import Predictor
from presence_t5x.layouts import Layout
from presence_t5x.models.families import init_params
from presence_t5x.partitioning import make_mesh

VOCABULARY = load_vocabulary("bytes")
MODEL = T5Config(
    vocab_size=384,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dtype="float32",
)
DECODING = DecodingConfig(max_length=6, eos_id=VOCABULARY.eos_id)
TEXTS = ["rain", "", "wind and snow", "fog " * 9, "é", "ice", "sun", "a", "b", "c", "d"]
LENGTH = 16
ROUNDING = 1e-5


@functools.cache
def parameters():
    """Predictions that are far from even and depend on the inputs."""
    return jax.tree.map(lambda leaf: 1.7 * leaf, init_params(MODEL, jax.random.key(1)))


def predictor(batch_size, mesh=None, **changes):
    settings = {"input_length": LENGTH, "batch_size": batch_size, "mesh": mesh, **changes}
    return Predictor(MODEL, DECODING, VOCABULARY, **settings)


def test_inputs_end_in_eos_and_are_cut_as_seqio_cuts_them():
    found = predictor(4).read(TEXTS)
    assert found.num_cut == 1
    for row, text in zip(found.tokens, TEXTS, strict=True):
        wanted = [*VOCABULARY.encode(text)[: LENGTH - 1], VOCABULARY.eos_id]
        assert row.tolist() == wanted + [0] * (LENGTH - len(wanted))


@pytest.fixture(scope="module")
def alone():
    """Every example decoded in a batch of its own."""
    decode = make_decoder(MODEL, DECODING)
    texts, scores = [], []
    for text in TEXTS:
        row = np.zeros((1, LENGTH), np.int32)
        tokens = [*VOCABULARY.encode(text)[: LENGTH - 1], 1]
        row[0, : len(tokens)] = tokens
        found = decode(parameters(), row)
        texts.append(VOCABULARY.decode(found.tokens[0, 0].tolist()))
        scores.append(float(found.scores[0, 0]))
    assert len(set(texts)) > 3  # answers depend on what is read
    return texts, scores


@pytest.mark.parametrize("batch_size", [3, 16])
def test_padding_and_neighbours_change_no_answer(batch_size, alone):
    found = predictor(batch_size)
    done = []
    answers = found.answer(parameters(), found.read(TEXTS), done.append)
    assert answers.texts == alone[0]
    np.testing.assert_allclose(answers.scores, alone[1], rtol=ROUNDING)
    assert sum(done) == len(TEXTS)


def test_the_same_on_a_mesh(alone):
    mesh = make_mesh(PartitioningConfig(), MODEL)
    found = predictor(5, mesh)
    assert found.batch_size == 8  # of 8 devices
    params = jax.device_put(parameters(), Layout(mesh).whole_shardings(parameters()))
    answers = found.answer(params, found.read(TEXTS))
    assert answers.texts == alone[0]
    np.testing.assert_allclose(answers.scores, alone[1], rtol=ROUNDING)
