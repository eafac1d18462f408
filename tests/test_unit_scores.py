"""Units scored alone: their gradients one by one, and what a weighted step scores."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest

from presence_t5x import PresenceConfig, presence_gradients
from presence_t5x.gradients import unit_scores

NUM_ROWS, NUM_UNITS = 12, 4


def plain_score(params, batch, rows, score_loss):
    """The squared norm of the scored layers' gradient of some rows' mean (or summed) loss."""
    rows = {name: value[np.asarray(rows)] for name, value in batch.items()}

    def unit_loss(params):
        losses, num_tokens = problems.loss_fun(params, rows, None)
        return losses.sum() / (num_tokens.sum() if score_loss == "mean" else 1.0)

    loss, gradient = jax.value_and_grad(unit_loss)(params)
    scored = [gradient[stack][layer] for stack, layer in problems.SCORED_PATHS]
    return sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(scored)), float(loss)


@pytest.mark.parametrize(("row_order", "score_loss"), [("strided", "mean"), ("contiguous", "sum")])
def test_unit_scores_are_of_all_tokens_together(row_order, score_loss):
    params = problems.init_params()
    batch = problems.make_batch(3, NUM_ROWS, padding_rows=(1, 4))
    config = PresenceConfig(num_microbatches=NUM_UNITS, row_order=row_order, score_loss=score_loss)
    scores, losses, num_tokens = unit_scores(problems.loss_fun, params, batch, config=config)
    units = oracles.unit_rows(NUM_ROWS, NUM_UNITS, row_order)
    for place, rows in enumerate(units):
        expected, loss = plain_score(params, batch, rows, score_loss)
        assert float(scores[place]) == pytest.approx(expected, rel=1e-5)
        assert float(num_tokens[place]) == float(batch["mask"][np.asarray(rows)].sum())
        divisor = float(num_tokens[place]) if score_loss == "mean" else 1.0
        assert float(losses[place]) / divisor == pytest.approx(loss, rel=1e-5)
    _, aux = presence_gradients(
        problems.loss_fun, params, batch, None, temperature=0.0, config=config
    )
    np.testing.assert_allclose(scores, aux.scores, rtol=1e-6)


def test_one_row_a_unit_is_the_row_and_padding_scores_nothing():
    params = problems.init_params()
    batch = problems.make_batch(0, NUM_ROWS, padding_rows=(5,))
    config = PresenceConfig(num_microbatches=NUM_ROWS)
    scores, _, num_tokens = unit_scores(
        problems.loss_fun_with_metrics, params, batch, config=config, has_aux=True
    )
    assert float(scores[5]) == 0.0 == float(num_tokens[5])
    assert float(scores[0]) == pytest.approx(plain_score(params, batch, [0], "mean")[0], rel=1e-5)
