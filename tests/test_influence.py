"""What the score of a gradient is."""

import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import influence
from presence_t5x.config_types import PresenceConfig


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
