"""Packing against the example of the seqio documentation and an unpacking oracle."""

import numpy as np
import pytest

from presence_t5x.data.packing import pack_examples

# seqio's documented example of EncDecFeatureConverter(pack=True).
DOCUMENTED_EXAMPLES = [
    {"inputs": np.array([7, 8, 5, 1]), "targets": np.array([3, 9, 1])},
    {"inputs": np.array([8, 4, 9, 3, 1]), "targets": np.array([4, 1])},
]
DOCUMENTED_FEATURES = {
    "encoder_input_tokens": [7, 8, 5, 1, 8, 4, 9, 3, 1, 0],
    "encoder_segment_ids": [1, 1, 1, 1, 2, 2, 2, 2, 2, 0],
    "encoder_positions": [0, 1, 2, 3, 0, 1, 2, 3, 4, 0],
    "decoder_target_tokens": [3, 9, 1, 4, 1, 0, 0],
    "decoder_input_tokens": [0, 3, 9, 0, 4, 0, 0],
    "decoder_loss_weights": [1, 1, 1, 1, 1, 0, 0],
    "decoder_segment_ids": [1, 1, 1, 2, 2, 0, 0],
    "decoder_positions": [0, 1, 2, 0, 1, 0, 0],
}


def test_documented_example():
    features = pack_examples(DOCUMENTED_EXAMPLES, {"inputs": 10, "targets": 7})
    assert {name: array.tolist() for name, array in features.items()} == {
        name: [row] for name, row in DOCUMENTED_FEATURES.items()
    }
    assert {name: str(array.dtype) for name, array in features.items()} == {
        name: "float32" if name == "decoder_loss_weights" else "int32" for name in features
    }


def test_every_example_is_found_again_in_order():
    rng = np.random.default_rng(0)
    examples = [
        {
            "inputs": rng.integers(1, 99, rng.integers(1, 12)),
            "targets": rng.integers(1, 99, rng.integers(1, 6)),
        }
        for _ in range(60)
    ]
    features = pack_examples(examples, {"inputs": 12, "targets": 6})
    found = []
    for row in range(len(features["encoder_input_tokens"])):
        encoder, decoder = (features[f"{side}_segment_ids"][row] for side in ("encoder", "decoder"))
        for segment in range(1, encoder.max() + 1):
            inputs = features["encoder_input_tokens"][row][encoder == segment]
            targets = features["decoder_target_tokens"][row][decoder == segment]
            decoder_inputs = features["decoder_input_tokens"][row][decoder == segment]
            assert decoder_inputs.tolist() == [0, *targets[:-1].tolist()]
            positions = features["encoder_positions"][row][encoder == segment]
            assert positions.tolist() == list(range(len(inputs)))
            found.append((inputs.tolist(), targets.tolist()))
    assert found == [(e["inputs"].tolist(), e["targets"].tolist()) for e in examples]
    assert len(features["encoder_input_tokens"]) < 60


def test_an_exact_fit_shares_a_row():
    features = pack_examples(DOCUMENTED_EXAMPLES, {"inputs": 9, "targets": 5})
    assert features["encoder_segment_ids"].tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 2]]
    features = pack_examples(DOCUMENTED_EXAMPLES, {"inputs": 9, "targets": 4})
    assert len(features["encoder_segment_ids"]) == 2


@pytest.mark.parametrize("size", [0, 9])
def test_examples_that_do_not_fit(size):
    example = {"inputs": np.ones(size, int), "targets": np.ones(2, int)}
    with pytest.raises(ValueError, match=f"example 0: {size} inputs do not fit in a row of 8"):
        pack_examples([example], {"inputs": 8, "targets": 8})
    with pytest.raises(ValueError, match="must have the keys 'inputs' and 'targets'"):
        pack_examples([example], {"inputs": 8})
