"""Norms carried by cotangents equal those of per-row gradients (vmap of grad), layer by layer."""

import dataclasses
import functools

import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import PresenceConfig, ghost_norms
from presence_t5x.config_types import T5Config
from presence_t5x.gradients import example_scores
from presence_t5x.losses import cross_entropy_with_z_loss, token_loss
from presence_t5x.models.families import init_params
from presence_t5x.models.t5 import T5

ROWS, VOCABULARY = 4, 23
TOLERANCE = 1e-5
MODEL = T5Config(
    vocab_size=VOCABULARY,
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=12,
    num_encoder_layers=3,
    num_decoder_layers=2,
    dtype="float32",
)


def random(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


TOKENS = jnp.asarray(np.random.default_rng(1).integers(0, 5, (ROWS, 9)))
LAYERS = {  # (layer of parameter and probe, parameter, the same layer in plain JAX on one row)
    "dense, Gram matrices": (
        lambda p, probe: ghost_norms.dense(random(2, ROWS, 2, 6), p, probe),
        random(3, 6, 7),
        lambda p, row: random(2, ROWS, 2, 6)[row] @ p,
    ),
    "dense, formed": (
        lambda p, probe: ghost_norms.dense(random(2, ROWS, 9, 3), p, probe),
        random(3, 3, 4),
        lambda p, row: random(2, ROWS, 9, 3)[row] @ p,
    ),
    "scale": (
        lambda p, probe: ghost_norms.scale(random(4, ROWS, 5, 6), p, probe),
        random(5, 6),
        lambda p, row: random(4, ROWS, 5, 6)[row] * p,
    ),
    "shift": (
        lambda p, probe: ghost_norms.shift(random(4, ROWS, 5, 6), p, probe),
        random(5, 6),
        lambda p, row: random(4, ROWS, 5, 6)[row] + p,
    ),
    "lookup of repeated tokens": (
        lambda p, probe: ghost_norms.lookup(p, TOKENS, probe, p.shape[0], p.dtype),
        random(6, 5, 6),
        lambda p, row: p[TOKENS[row]],
    ),
    "for every row": (
        lambda p, probe: ghost_norms.for_every_row(lambda p: jnp.tanh(p).T, p, probe),
        random(7, 3, 4),
        lambda p, row: jnp.tanh(p).T,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_norms_and_gradients_of_a_layer(name):
    layer, parameter, plain = LAYERS[name]
    coefficients = random(8, *jax.eval_shape(layer, parameter, jnp.ones(ROWS)).shape)

    def loss(parameter, probe):
        return jnp.sum(jnp.sin(layer(parameter, probe)) * coefficients)

    def row_loss(parameter, row):
        return jnp.sum(jnp.sin(plain(parameter, row)) * coefficients[row])

    gradient, norms = jax.grad(loss, argnums=(0, 1))(parameter, jnp.ones(ROWS))
    by_row = jax.vmap(jax.grad(row_loss), (None, 0))(parameter, jnp.arange(ROWS))
    np.testing.assert_allclose(gradient, by_row.sum(0), rtol=1e-4, atol=1e-5)
    expected = jnp.sum(by_row.reshape(ROWS, -1) ** 2, axis=1)
    np.testing.assert_allclose(norms, expected, rtol=TOLERANCE)
    asked = jax.grad(loss, argnums=1)(parameter, jnp.array([1.0, 0.0, 0.0, 1.0]))
    np.testing.assert_allclose(asked, expected * jnp.array([1, 0, 0, 1]), rtol=TOLERANCE)


def test_ids_outside_the_table_give_nan_and_no_gradient():
    table, tokens = random(0, 5, 2), jnp.array([[1, 5, -1]])

    def vectors_of(table):
        return ghost_norms.lookup(table, tokens, None, table.shape[0], table.dtype)

    vectors = vectors_of(table)
    np.testing.assert_array_equal(np.isnan(vectors[0, :, 0]), [False, True, True])
    gradient = jax.vjp(vectors_of, table)[1](jnp.ones((1, 3, 2)))[0]
    np.testing.assert_array_equal(gradient.sum(1), [0, 2, 0, 0, 0])


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    lengths = {"encoder_input_tokens": 9, "decoder_input_tokens": 5, "decoder_target_tokens": 5}
    tokens = {
        name: jnp.asarray(rng.integers(1, VOCABULARY, (ROWS, n))) for name, n in lengths.items()
    }
    weights = rng.integers(0, 2, (ROWS, 5)).astype(np.float32)
    weights[:, 0] = 1
    return tokens | {"decoder_loss_weights": jnp.asarray(weights)}


@functools.cache
def model_and_params(scan_layers):
    config = T5Config(**(vars(MODEL) | {"scan_layers": scan_layers}))
    params = init_params(config, jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), params)
    return T5(config), params


def row_gradients(config, params, batch):
    """Returns every row's gradient of its summed loss: logits, plain cross-entropy, vmap(grad)."""
    features = config.features

    def loss(params, row):
        row = jax.tree.map(lambda leaf: leaf[None], row)
        logits, targets = families.apply(config, params, row), row[features.targets]
        if features.weights is None:
            targets, weights = targets[:, None], (targets[:, None] >= 0).astype(jnp.float32)
        else:
            weights = row[features.weights]
        return cross_entropy_with_z_loss(logits, targets, weights, 1e-4)[0][0]

    return jax.vmap(jax.grad(loss), (None, 0))(params, batch)


def select(tree, path):
    """Returns the arrays under a pattern's path; "encoder/layers_1" of a stack is its layer 1."""
    for name in path.split("/"):
        if name.startswith("layers_") and name not in tree:
            stack = next(tree[half] for half in ("encoder", "decoder") if half in tree)
            return [leaf[:, :, int(name[7:])] for leaf in jax.tree.leaves(stack)]
        tree = tree[name]
    return jax.tree.leaves(tree)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(
    "layers",
    [
        ("encoder/layers_0", "decoder/layers_0"),
        ("encoder/layers_1",),
        ("encoder/relpos_bias", "decoder/relpos_bias"),
        ("token_embedder",),  # used by encoder and decoder: cross terms
        ("encoder/encoder_norm", "decoder/layers_1"),
        ("decoder/logits_dense", "encoder/layers_0"),  # no probe: falls back to vmap
    ],
)
def test_scores_of_a_t5_equal_vmap_of_grad(scan_layers, layers, batch):
    model, params = model_and_params(scan_layers)
    check_scores(model.config, params, layers, batch)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(
    "family, layers",
    [
        ("decoder_only", ("decoder/layers_0",)),
        ("decoder_only", ("token_embedder", "decoder/decoder_norm", "decoder/layers_2")),
        ("decoder_only", ("decoder/logits_dense", "decoder/layers_1")),  # falls back to vmap
        ("encoder_only", ("encoder/layers_0",)),
        ("encoder_only", ("position_embedder", "token_type", "encoder/embedding_layer_norm")),
        ("encoder_only", ("lm_head/dense", "lm_head/layer_norm", "encoder/layers_2")),
        ("encoder_only", ("token_embedder", "lm_head")),  # the tied table falls back to vmap
        ("classifier", ("encoder/layers_0", "token_embedder", "classifier")),
        ("classifier", ("classes",)),
    ],
)
def test_scores_of_the_other_families_equal_vmap_of_grad(scan_layers, family, layers):
    config = dataclasses.replace(families.CONFIGS[family], scan_layers=scan_layers)
    check_scores(config, families.params_of(config), layers, families.batch_of(config))


def check_scores(model_config, params, layers, batch):
    config = PresenceConfig(num_microbatches=2, layers=layers, score_loss="sum")
    loss_fun = token_loss(families.build_model(model_config), 1e-4)
    scores, _, _ = jax.jit(
        lambda params: example_scores(loss_fun, params, batch, config=config, has_aux=True)
    )(params)
    by_row = row_gradients(model_config, params, batch)
    expected = sum(
        np.sum(np.asarray(leaf, np.float64).reshape(len(scores), -1) ** 2, axis=1)
        for path in layers
        for leaf in select(by_row, path)
    )
    assert expected[0] > 0
    np.testing.assert_allclose(scores, expected, rtol=TOLERANCE, atol=TOLERANCE * expected.max())


@pytest.mark.parametrize("score", ["loss_weighted_influence", "log_perplexity_influence"])
def test_a_t5s_rows_are_scored_by_norm_and_loss(score, batch):
    model, params = model_and_params(False)
    layers = ("encoder/layers_0", "decoder/layers_0")
    config = PresenceConfig(num_microbatches=2, layers=layers, score=score)
    loss_fun = token_loss(model, 1e-4)
    scores, loss_sums, _ = jax.jit(
        lambda params: example_scores(loss_fun, params, batch, config=config, has_aux=True)
    )(params)
    by_row = row_gradients(model.config, params, batch)
    tokens = np.asarray(batch["decoder_loss_weights"], np.float64).sum(axis=1)
    norms = sum(
        np.sum(np.asarray(leaf, np.float64).reshape(ROWS, -1) ** 2, axis=1)
        for path in layers
        for leaf in select(by_row, path)
    )
    norms, losses = norms / tokens**2, np.asarray(loss_sums, np.float64) / tokens
    joined = norms * losses**2 if score.startswith("loss") else np.log(norms * np.exp(losses) ** 2)
    np.testing.assert_allclose(scores, joined, rtol=TOLERANCE)
