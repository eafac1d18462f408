"""Answers: of one example whatever is beside it, as the vocabulary reads and writes text."""

import dataclasses
import functools

import families
import jax
import numpy as np
import pytest
import seqio

from presence_t5x.config_types import (
    DataConfig,
    DecoderOnlyConfig,
    DecodingConfig,
    EncoderOnlyConfig,
    PartitioningConfig,
    T5Config,
    TaskEvaluationConfig,
)
from presence_t5x.data.labels import label_names, with_label_names
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.decode import make_decoder
from presence_t5x.evaluation.answering import answering_of, make_predictor
from presence_t5x.evaluation.predictor import TextPredictor
from presence_t5x.evaluation.settings import data_of_run
from presence_t5x.layouts import Layout
from presence_t5x.models.families import build_model, init_params
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
    return TextPredictor(MODEL, DECODING, VOCABULARY, **settings)


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


CLASSIFIER = EncoderOnlyConfig(
    vocab_size=384,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_layers=2,
    max_positions=LENGTH,
    num_classes=3,
    dtype="float32",
)


def labelled(*names):
    return DataConfig(
        mixture_or_task_name="any",
        objective="classification",
        task_feature_lengths={"inputs": LENGTH},
        label_names=names,
    )


@pytest.mark.parametrize("on_mesh", [False, True])
def test_a_classifier_names_its_most_probable_class(on_mesh):
    """Begin token, text, EOS, each example alone; classes by the names they were trained with."""
    params = jax.tree.map(lambda leaf: 3 * leaf, families.params_of(CLASSIFIER, seed=3))
    answering = answering_of(CLASSIFIER, labelled("b", "c", "a"), labelled("a", "b", "c"), eos_id=1)
    mesh = make_mesh(PartitioningConfig(), CLASSIFIER) if on_mesh else None
    options = {"input_length": LENGTH, "batch_size": 3, "mesh": mesh}
    found = make_predictor(CLASSIFIER, answering, VOCABULARY, **options)
    inputs = found.read(TEXTS)
    assert inputs.num_cut == 1
    answers = found.answer(params, inputs)
    model, begin = build_model(CLASSIFIER), VOCABULARY.vocab_size - 2
    apply = jax.jit(lambda row: model.apply({"params": params}, row, enable_dropout=False)[0, 0])
    for text, answer, score in zip(TEXTS, answers.texts, answers.scores, strict=True):
        ids = VOCABULARY.encode(text)[: LENGTH - 2]
        row = np.zeros((1, LENGTH), np.int32)
        row[0, : len(ids) + 2] = [begin, *ids, 1]
        log_probs = jax.nn.log_softmax(apply(row))
        assert answer == "abc"[int(log_probs.argmax())]
        assert score == pytest.approx(float(log_probs.max()), rel=ROUNDING)
    assert len({*answers.texts}) > 1


def asked_of(model, data, trained, **options):
    return answering_of(model, data, trained, eos_id=1, **options)


@pytest.mark.parametrize(
    ("trained", "asked", "options", "message"),
    [
        ("abc", "abd", {}, r"classes are \['a', 'b', 'c'\], but task 'any' is answered by \['a'"),
        ("ab", "ab", {}, r"'any' has the 2 labels .*, but the model has num_classes=3"),
        ("abc", "abc", {"num_beams": 2}, "num_beams=2 belongs to models that answer in words"),
    ],
)
def test_a_classifier_is_asked_for_its_own_labels(trained, asked, options, message):
    with pytest.raises(ValueError, match=message):
        asked_of(CLASSIFIER, labelled(*asked), labelled(*trained), **options)


def test_a_run_is_judged_by_the_labels_that_it_names():
    """On a task that tells none; one that tells its own keeps them."""
    feature = seqio.Feature(VOCABULARY)
    task = seqio.TaskRegistry.add(
        "predictor_labelled",
        seqio.TextLineDataSource({"train": "unread", "validation": "unread"}),
        preprocessors=[seqio.preprocessors.tokenize, seqio.preprocessors.append_eos],
        output_features={"inputs": feature, "targets": feature},
    )
    try:
        run = dataclasses.replace(labelled("c", "a", "b"), mixture_or_task_name=task.name)
        judged = data_of_run(run, TaskEvaluationConfig(task=task.name), CLASSIFIER)
        assert asked_of(CLASSIFIER, judged, run).labels == ("c", "a", "b")
    finally:
        seqio.TaskRegistry.remove(task.name)
    own = "encyclopedia_nli_eval.sw"
    data = dataclasses.replace(labelled("x", "y"), label_names=None)
    judged = with_label_names(dataclasses.replace(data, mixture_or_task_name=own), ("x", "y"))
    assert label_names(judged) == ("0", "1", "2")


def test_a_decoder_reads_as_it_was_trained():
    lengths = {"inputs": 8, "targets": 4}
    pairs, text = (
        DataConfig(mixture_or_task_name="any", objective=name, task_feature_lengths=lengths)
        for name in ("prefix", "span_corruption")
    )
    decoder = DecoderOnlyConfig(vocab_size=384)
    found = [asked_of(decoder, pairs, trained) for trained in (pairs, text, None)]
    assert [one.decoding.causal_inputs for one in found] == [False, True, True]
    assert not asked_of(MODEL, text, None).decoding.causal_inputs
    # Of next tokens it has seen no text go on behind EOS.
    framed = [
        make_predictor(decoder, one, VOCABULARY, input_length=4, batch_size=1).read(["ab", "abcde"])
        for one in found[:2]
    ]
    a, b, c, d = VOCABULARY.encode("abcd")
    assert framed[0].tokens.tolist() == [[a, b, 1, 0], [a, b, c, 1]]
    assert framed[1].tokens.tolist() == [[a, b, 0, 0], [a, b, c, d]]
    assert [inputs.num_cut for inputs in framed] == [1, 1]


def test_what_is_not_finite_is_no_answer():
    params = jax.tree.map(lambda leaf: leaf * np.nan, families.params_of(CLASSIFIER))
    answering = answering_of(CLASSIFIER, labelled(*"abc"), labelled(*"abc"), eos_id=1)
    options = {"input_length": LENGTH, "batch_size": 3}
    found = make_predictor(CLASSIFIER, answering, VOCABULARY, **options)
    answers = found.answer(params, found.read(["rain"]))
    assert answers.texts == [""] and np.isnan(answers.scores[0])


def test_a_masked_language_model_answers_nothing():
    masked = dataclasses.replace(CLASSIFIER, num_classes=None)
    with pytest.raises(ValueError, match="EncoderOnlyConfig without classes answers nothing"):
        asked_of(masked, labelled("a", "b"), None)
