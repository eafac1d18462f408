"""Which parameters a pattern selects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x.scored_layers import replace_selected, select_layers, take_selected

UNROLLED = {
    half: {
        **{f"layers_{i}": {"mlp": {"kernel": jnp.full((2, 2), i + 1.0)}} for i in (0, 1, 10)},
        "relpos_bias": {"rel_embedding": jnp.ones((2, 4))},
    }
    for half in ("encoder", "decoder")
}
SCANNED = {"encoder": {"encoder": {"kernel": jnp.ones((4, 3, 2)), "scale": jnp.ones((4, 3))}}}


def paths(params, *patterns):
    return [leaf.path for leaf in select_layers(params, patterns)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("encoder/layers_1", ["encoder/layers_1/mlp/kernel"]),
        ("layers_0", ["decoder/layers_0/mlp/kernel", "encoder/layers_0/mlp/kernel"]),
        ("encoder/layers_*/mlp", [f"encoder/layers_{i}/mlp/kernel" for i in (0, 1, 10)]),
        ("rel_embedding", [f"{half}/relpos_bias/rel_embedding" for half in ("decoder", "encoder")]),
    ],
)
def test_patterns_match_whole_segments(pattern, expected):
    assert paths(UNROLLED, pattern) == expected
    wrapped = paths({"params": UNROLLED}, pattern)
    assert wrapped == [f"params/{path}" for path in expected]


def test_overlapping_patterns_count_once():
    assert paths(UNROLLED, "encoder/layers_1", "layers_1", "encoder/layers_1/mlp") == [
        "decoder/layers_1/mlp/kernel",
        "encoder/layers_1/mlp/kernel",
    ]
    assert paths(SCANNED, "encoder/layers_0", "encoder/encoder") == [
        "encoder/encoder/kernel",
        "encoder/encoder/scale",
    ]


def test_stacked_layers():
    assert paths(SCANNED, "encoder/layers_2/kernel") == ["encoder/encoder/kernel[2]"]
    selection = select_layers(SCANNED, ["encoder/layers_2", "encoder/layers_0"])
    values = take_selected(SCANNED, selection)
    assert values["encoder/encoder/kernel[2]"].shape == (4, 2)
    doubled = replace_selected(SCANNED, selection, jax.tree.map(lambda leaf: 2 * leaf, values))
    np.testing.assert_array_equal(doubled["encoder"]["encoder"]["scale"][0], [2.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("params", "pattern", "message"),
    [
        (UNROLLED, "encoder/layer_0", "matches no parameter; near matches: .*'encoder/layers_0'"),
        (UNROLLED, "encoder/layers_2", "near matches: .*'encoder/layers_1"),
        (SCANNED, "encoder/layers_3", "matches no parameter"),
        (UNROLLED, "zzz", "the tree has \\['decoder', 'encoder'\\]"),
    ],
)
def test_no_match_is_an_error_with_near_matches(params, pattern, message):
    with pytest.raises(ValueError, match=message):
        select_layers(params, [pattern])
