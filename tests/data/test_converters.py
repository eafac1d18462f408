"""Prepared features against seqio's converters, on hand cases and drawn ones."""

import types

import numpy as np
import pytest
import seqio
import tensorflow as tf

from presence_t5x.config_types import DataConfig
from presence_t5x.data.converters import MaskedTokensConverter
from presence_t5x.data.decoder_rows import PrefixRows, decoder_features
from presence_t5x.data.packing import Segments
from presence_t5x.data.raw_rows import PairRow

VOCABULARY = types.SimpleNamespace(vocab_size=1000, eos_id=1, extra_ids=100)
# seqio's documented examples.
TARGETS = [{"targets": [3, 9, 1]}, {"targets": [4, 1]}]
PAIRS = [
    {"inputs": [7, 8, 5, 1], "targets": [3, 9, 1]},
    {"inputs": [8, 4, 9, 3, 1], "targets": [4, 1]},
]
ENCODED = [
    {"inputs": [8, 9, 9, 3, 4, 1], "targets": [8, 7, 4, 3, 4, 1]},
    {"inputs": [8, 3, 9, 1], "targets": [8, 3, 6, 1]},
]


def convert(converter, examples, lengths):
    """What a converter of seqio makes of examples, as [rows, length] arrays."""

    def generate():
        for example in examples:
            yield {name: np.asarray(tokens, np.int32) for name, tokens in example.items()}

    signature = {name: tf.TensorSpec((None,), tf.int32) for name in examples[0]}
    dataset = converter(
        tf.data.Dataset.from_generator(generate, output_signature=signature), lengths
    )
    rows = list(dataset.as_numpy_iterator())
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


def rows_of(examples, pack):
    return [examples] if pack else [[example] for example in examples]


def next_token(examples, length, pack):
    rows = [[np.array(e["targets"]) for e in row] for row in rows_of(examples, pack)]
    return decoder_features(Segments.place(rows, length), has_segments=pack)


def prefix(examples, lengths, pack):
    config = DataConfig(
        mixture_or_task_name="t", task_feature_lengths=lengths, objective="prefix", pack=pack
    )
    rows = [
        PairRow([(np.array(e["inputs"])[:-1], np.array(e["targets"])[:-1]) for e in row], *"abcd")
        for row in rows_of(examples, pack)
    ]
    return PrefixRows(config, 1).features([(row, 0) for row in rows], len(rows))


def random_examples(rng, number, longest):
    """Examples of one row: all of them fit it together."""
    return [
        {
            name: [*rng.integers(2, 99, rng.integers(0, size)).tolist(), 1]
            for name, size in longest.items()
        }
        for _ in range(number)
    ]


def test_documented_next_token():
    features = next_token(TARGETS, 6, pack=True)
    assert {name: array[0].tolist() for name, array in features.items()} == {
        "decoder_target_tokens": [3, 9, 1, 4, 1, 0],
        "decoder_input_tokens": [0, 3, 9, 0, 4, 0],
        "decoder_loss_weights": [1, 1, 1, 1, 1, 0],
        "decoder_positions": [0, 1, 2, 0, 1, 0],
        "decoder_segment_ids": [1, 1, 1, 2, 2, 0],
    }


def test_documented_prefixes():
    features = prefix(PAIRS, {"inputs": 7, "targets": 8}, pack=True)
    assert {name: array[0].tolist() for name, array in features.items()} == {
        "decoder_target_tokens": [7, 8, 5, 1, 3, 9, 1, 8, 4, 9, 3, 1, 4, 1, 0],
        "decoder_input_tokens": [0, 7, 8, 5, 1, 3, 9, 0, 8, 4, 9, 3, 1, 4, 0],
        "decoder_loss_weights": [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0],
        "decoder_positions": [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0],
        "decoder_segment_ids": [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0],
        "decoder_causal_attention": [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0],
    }
    example = {"inputs": [9, 4, 6, 1], "targets": [3, 9, 1]}
    features = prefix([example], {"inputs": 10, "targets": 4}, pack=False)
    assert {name: array[0].tolist() for name, array in features.items()} == {
        "decoder_target_tokens": [9, 4, 6, 1, 3, 9, 1, 0, 0, 0, 0, 0, 0, 0],
        "decoder_input_tokens": [0, 9, 4, 6, 1, 3, 9, 1, 0, 0, 0, 0, 0, 0],
        "decoder_loss_weights": [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        "decoder_causal_attention": [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }


@pytest.mark.parametrize("pack", [True, False])
def test_next_token_is_that_of_seqio(pack):
    rng = np.random.default_rng(0)
    converter = seqio.DecoderFeatureConverter(pack=pack)
    examples = random_examples(rng, 4, {"targets": 8})
    expected = convert(converter, examples, {"targets": 34})
    assert_equal(next_token(examples, 34, pack), expected)


@pytest.mark.parametrize("pack", [True, False])
def test_prefixes_are_those_of_seqio(pack):
    rng = np.random.default_rng(1)
    lengths = {"inputs": 30, "targets": 18}
    converter = seqio.DecoderFeatureConverter(pack=pack)
    examples = random_examples(rng, 4, {"inputs": 8, "targets": 4})
    assert_equal(prefix(examples, lengths, pack), convert(converter, examples, lengths))


@pytest.mark.parametrize("pack", [True, False])
def test_a_masked_row_is_that_of_seqio_where_all_chosen_are_hidden(pack):
    expected = convert(
        seqio.EncoderFeatureConverter(mask_id=9, pack=pack), ENCODED, {"inputs": 11, "targets": 11}
    )
    marked = [e | {"marks": [1 + (token == 9) for token in e["inputs"]]} for e in ENCODED]
    lengths = dict.fromkeys(("inputs", "targets", "marks"), 11)
    assert_equal(convert(MaskedTokensConverter(pack=pack), marked, lengths), expected)
    if pack:
        assert expected["encoder_loss_weights"].tolist() == [[0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0]]
    # A chosen token that is left as it is has a loss, too.
    marked[0]["marks"][3] = 2
    found = convert(MaskedTokensConverter(pack=pack), marked, lengths)["encoder_loss_weights"]
    assert found[0].tolist() == [0, 1, 1, 1, *expected["encoder_loss_weights"][0, 4:]]
