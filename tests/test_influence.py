"""Which parameters a pattern selects, and what their score is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import influence
from presence_t5x.config_types import PresenceConfig

UNROLLED = {
    half: {
        **{f"layers_{i}": {"mlp": {"kernel": jnp.full((2, 2), i + 1.0)}} for i in (0, 1, 10)},
        "relpos_bias": {"rel_embedding": jnp.ones((2, 4))},
    }
    for half in ("encoder", "decoder")
}
SCANNED = {"encoder": {"encoder": {"kernel": jnp.ones((4, 3, 2)), "scale": jnp.ones((4, 3))}}}


def paths(params, *patterns):
    return [leaf.path for leaf in influence.select_layers(params, patterns)]


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
    selection = influence.select_layers(SCANNED, ["encoder/layers_2", "encoder/layers_0"])
    values = influence.take_selected(SCANNED, selection)
    assert values["encoder/encoder/kernel[2]"].shape == (4, 2)
    doubled = influence.replace_selected(
        SCANNED, selection, jax.tree.map(lambda leaf: 2 * leaf, values)
    )
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
        influence.select_layers(params, [pattern])


def test_a_gradient_of_nothing_has_a_finite_score():
    config = PresenceConfig(score="log_perplexity_influence")
    zero = {"a": jnp.zeros(2)}
    found = influence.unit_score(zero, jnp.float32(7), jnp.float32(5), config)
    assert -100 < float(found) < -80


def test_score_is_of_the_mean_loss_unless_told():
    gradients = {"a": jnp.array([3.0, 4.0], jnp.bfloat16)}
    mean = influence.unit_score(gradients, jnp.float32(7), jnp.float32(5), PresenceConfig())
    total = influence.unit_score(
        gradients, jnp.float32(7), jnp.float32(5), PresenceConfig(score_loss="sum")
    )
    assert float(mean) == pytest.approx(1.0) and float(total) == pytest.approx(25.0)
    for name, expected in (
        ("loss_weighted_influence", 1.0 * 1.4**2),
        ("log_perplexity_influence", np.log(1.0) + 2.8),
    ):
        config = PresenceConfig(score=name)
        found = influence.unit_score(gradients, jnp.float32(7), jnp.float32(5), config)
        by_row = influence.probed_scores(*map(jnp.float32, ([25], [7], [5])), config)
        assert [float(found), float(by_row[0])] == pytest.approx([expected] * 2, rel=1e-6)
    loss = influence.unit_score({}, jnp.float32(7), jnp.float32(5), PresenceConfig(score="loss"))
    assert float(loss) == pytest.approx(1.4)
