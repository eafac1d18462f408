"""Rows' gradient norms by parameter: a case by hand, plain vmap(grad), and what they add up to."""

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest

from presence_t5x.config_types import PresenceConfig, T5Config
from presence_t5x.gradients import example_norms, example_scores
from presence_t5x.losses import token_loss
from presence_t5x.models.families import init_params
from presence_t5x.models.t5 import T5
from presence_t5x.scored_layers import select_layers

LAYERS = ("encoder/layers_0", "encoder/layers_1", "decoder/layers_0")


def rows_of(batch):
    num_rows = len(jax.tree.leaves(batch)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch) for i in range(num_rows)]


def naive_norms(loss_fun, params, batch, selection, score_loss):
    """Whole gradients row by row, and the squares of what is selected, in float64."""

    def total(params, row):
        losses, num_tokens, *_ = loss_fun(params, row, None)
        factor = jnp.maximum(num_tokens.sum(), 1.0) if score_loss == "mean" else 1.0
        return losses.sum() / factor

    gradient_fn, found = jax.jit(jax.grad(total)), []
    for row in rows_of(batch):
        leaves = jax.tree.leaves(gradient_fn(params, row))
        norms = []
        for leaf in selection:
            gradient = np.asarray(leaves[leaf.leaf_index], np.float64)
            if leaf.stack_index is not None:
                gradient = gradient[:, leaf.stack_index]
            norms.append(np.sum(gradient**2))
        found.append(norms)
    return np.array(found)


def test_a_linear_model_by_hand():
    """The loss of a row is c (w . x + b): its gradient is c x for w and c for b."""
    params = {"encoder": {"w": jnp.array([2.0, -1.0]), "b": jnp.array(0.5)}}
    batch = {"x": jnp.array([[3.0, 4.0], [1.0, 0.0]]), "tokens": jnp.array([2.0, 4.0])}

    def loss_fun(params, batch, rng):
        outputs = batch["x"] @ params["encoder"]["w"] + params["encoder"]["b"]
        return batch["tokens"] * outputs, batch["tokens"]

    by_sum, by_mean = (
        example_norms(
            loss_fun,
            params,
            batch,
            config=PresenceConfig(num_microbatches=1, layers=("encoder",), score_loss=score_loss),
        )
        for score_loss in ("sum", "mean")
    )
    # In tree order: b, then w.
    np.testing.assert_allclose(by_sum.norms, [[4.0, 4.0 * 25.0], [16.0, 16.0]], rtol=1e-6)
    np.testing.assert_allclose(by_mean.norms, [[1.0, 25.0], [1.0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(by_sum.loss_sums, [2 * 2.5, 4 * 2.5])
    np.testing.assert_array_equal(by_sum.num_tokens, [2.0, 4.0])


@pytest.mark.parametrize("score_loss", ["mean", "sum"])
def test_a_loss_without_probes(score_loss):
    params, batch = problems.init_params(), problems.make_batch(num_rows=8, padding_rows=(3,))
    layers = ("encoder/layers_0", "encoder/layers_10", "decoder/layers_0")
    config = PresenceConfig(num_microbatches=2, layers=layers, score_loss=score_loss)
    found = example_norms(problems.loss_fun, params, batch, config=config)
    expected = naive_norms(
        problems.loss_fun, params, batch, select_layers(params, layers), score_loss
    )
    np.testing.assert_allclose(found.norms, expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(found.norms[3], 0.0)


@pytest.mark.parametrize("scan_layers", [False, True], ids=["unrolled", "scanned"])
def test_t5_with_probes(scan_layers):
    model = T5Config(
        vocab_size=40, emb_dim=16, num_heads=2, head_dim=4, mlp_dim=12, num_encoder_layers=3,
        num_decoder_layers=2, dtype="float32", scan_layers=scan_layers,
    )  # fmt: skip
    params = init_params(model, jax.random.key(0))
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 40, (4, 9))
    weights = (np.arange(6) < np.array([[6], [2], [0], [4]])).astype(np.float32)
    batch = {
        "encoder_input_tokens": jnp.asarray(tokens),
        "decoder_input_tokens": jnp.asarray(tokens[:, :6]),
        "decoder_target_tokens": jnp.asarray(tokens[:, 3:] * (weights > 0)).astype(jnp.int32),
        "decoder_loss_weights": jnp.asarray(weights),
    }
    loss_fun = token_loss(T5(model), 1e-4)
    config = PresenceConfig(num_microbatches=2, layers=LAYERS)
    selection = select_layers(params, LAYERS)
    found = jax.jit(lambda p, b: example_norms(loss_fun, p, b, config=config, has_aux=True))(
        params, batch
    )
    expected = naive_norms(loss_fun, params, batch, selection, "mean")
    np.testing.assert_allclose(found.norms, expected, rtol=1e-4, atol=1e-5 * expected.max())
    scores, losses, _ = example_scores(loss_fun, params, batch, config=config, has_aux=True)
    np.testing.assert_allclose(found.norms.sum(axis=1), scores, rtol=1e-5)
    np.testing.assert_allclose(found.loss_sums, losses, rtol=1e-6)
