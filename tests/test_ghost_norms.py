"""Norms carried by cotangents equal those of per-row gradients (vmap of grad), layer by layer."""

import dataclasses
import functools

import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import PresenceConfig, ghost_norms
from presence_t5x.gradients import example_scores
from presence_t5x.losses import cross_entropy_with_z_loss, token_loss
from presence_t5x.studies.layers import parts_of_model

ROWS = 4
TOLERANCE = 1e-5
FIRST_BLOCKS = ("encoder/layers_0", "decoder/layers_0")


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


@functools.cache
def row_gradients(config):
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

    gradients_of = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))
    return gradients_of(families.params_of(config), families.batch_of(config))


def select(tree, path):
    """Returns the arrays under a pattern's path; "encoder/layers_1" of a stack is its layer 1."""
    for name in path.split("/"):
        if name.startswith("layers_") and name not in tree:
            stack = next(tree[half] for half in ("encoder", "decoder") if half in tree)
            return [leaf[:, :, int(name[7:])] for leaf in jax.tree.leaves(stack)]
        tree = tree[name]
    return jax.tree.leaves(tree)


def squared_norms(config, layers):
    """Returns the squared norm of each row's gradients of some layers, in float64."""
    return sum(
        np.sum(np.asarray(leaf, np.float64).reshape(families.ROWS, -1) ** 2, axis=1)
        for path in layers
        for leaf in select(row_gradients(config), path)
    )


def scored(model_config, **settings):
    """Returns the rows' scores and loss sums by `example_scores`."""
    loss_fun = token_loss(families.build_model(model_config), 1e-4)
    config = PresenceConfig(num_microbatches=2, **settings)
    batch = families.batch_of(model_config)
    scores, loss_sums, _ = jax.jit(
        lambda params: example_scores(loss_fun, params, batch, config=config, has_aux=True)
    )(families.params_of(model_config))
    return scores, loss_sums


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(
    "family, layers",
    [
        ("encoder_decoder", FIRST_BLOCKS),
        ("encoder_decoder", ("encoder/layers_1",)),
        ("encoder_decoder", ("encoder/relpos_bias", "decoder/relpos_bias")),
        ("encoder_decoder", ("token_embedder",)),  # encoder's and decoder's: cross terms
        ("encoder_decoder", ("encoder/encoder_norm", "decoder/layers_1")),
        ("encoder_decoder", ("decoder/logits_dense", "encoder/layers_0")),  # falls back to vmap
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
def test_scores_equal_vmap_of_grad(scan_layers, family, layers):
    model_config = dataclasses.replace(families.CONFIGS[family], scan_layers=scan_layers)
    scores, _ = scored(model_config, layers=layers, score_loss="sum")
    expected = squared_norms(model_config, layers)
    assert expected[0] > 0
    np.testing.assert_allclose(scores, expected, rtol=TOLERANCE, atol=TOLERANCE * expected.max())


@pytest.mark.parametrize(
    "family, changes, parts",
    [
        ("encoder_decoder", {}, {"decoder/logits_dense"}),
        ("encoder_decoder", {"logits_via_embedding": True}, {"token_embedder"}),
        ("decoder_only", {}, {"decoder/logits_dense"}),
        ("decoder_only", {"logits_via_embedding": True}, {"token_embedder"}),
        ("encoder_only", {}, {"token_embedder", "lm_head"}),
        ("classifier", {}, {"classes"}),
    ],
)
def test_only_what_forms_the_logits_has_no_ghost_norms(family, changes, parts):
    """What README and the study of layers advise to leave out."""
    config = dataclasses.replace(families.CONFIGS[family], **changes)
    model, known = families.build_model(config), parts_of_model(config)
    leaves, _ = jax.tree_util.tree_flatten_with_path(families.params_of(config))
    paths = [tuple(key.key for key in path) for path, _ in leaves]
    without = ["/".join(p) for p in paths if model.probe_shape(p, families.ROWS) is None]
    assert {part for part in known for path in without if path.startswith(f"{part}/")} == parts


@pytest.mark.parametrize("score", ["loss_weighted_influence", "log_perplexity_influence"])
def test_rows_are_scored_by_norm_and_loss(score):
    model_config = families.CONFIGS["encoder_decoder"]
    scores, loss_sums = scored(model_config, layers=FIRST_BLOCKS, score=score)
    weights = families.batch_of(model_config)["decoder_loss_weights"]
    tokens = np.asarray(weights, np.float64).sum(axis=1)[:-1]  # the last row is all padding
    norms = squared_norms(model_config, FIRST_BLOCKS)[:-1] / tokens**2
    losses = np.asarray(loss_sums, np.float64)[:-1] / tokens
    joined = norms * losses**2 if score.startswith("loss") else np.log(norms * np.exp(losses) ** 2)
    np.testing.assert_allclose(scores[:-1], joined, rtol=TOLERANCE)
