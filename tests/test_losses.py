"""Token losses equal NumPy in float64, row by row; padding counts for nothing, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import losses

# float32 sums over 50 classes and 7 tokens.
TOLERANCE = 2e-6


def numpy_losses(logits, targets, weights, z_loss):
    """Returns each row's loss sum and z-loss sum, one token at a time in float64."""
    sums = np.zeros((len(logits), 2))
    for row, position in np.ndindex(*targets.shape):
        scores = logits[row, position].astype(np.float64)
        log_z = scores.max() + np.log(np.exp(scores - scores.max()).sum())
        penalty = z_loss * log_z**2
        loss = log_z - scores[targets[row, position]] + penalty
        sums[row] += weights[row, position] * np.array([loss, penalty])
    return sums[:, 0], sums[:, 1]


def example(seed=0, batch=4, length=7, vocab=50, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(batch, length, vocab))).astype(np.float32)
    targets = rng.integers(0, vocab, (batch, length))
    weights = (rng.uniform(size=(batch, length)) > 0.4).astype(np.float32)
    weights[-1] = 0.0
    return logits, targets, weights


@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.1])
def test_sums_and_metrics_equal_numpy(z_loss):
    logits, targets, weights = example()
    weights[0, 0] = 0.25
    logits[1, 2, targets[1, 2]] = 20.0  # at least one hit
    weights[1, 2] = 1.0
    sums, num_tokens, metrics = losses.cross_entropy_with_z_loss(logits, targets, weights, z_loss)
    expected, expected_z = numpy_losses(logits, targets, weights, z_loss)
    np.testing.assert_allclose(sums, expected, rtol=TOLERANCE)
    np.testing.assert_allclose(num_tokens, weights.sum(-1))
    hits = (logits.argmax(-1) == targets) * weights
    expected_metrics = {
        "loss_sum": expected.sum(),
        "z_loss_sum": expected_z.sum(),
        "num_tokens": weights.sum(),
        "num_correct": hits.sum(),
    }
    assert sorted(metrics) == sorted(expected_metrics)
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=TOLERANCE, err_msg=name)
    assert hits.sum() >= 1


def test_gradient_is_softmax_minus_target_plus_z_loss():
    logits, targets, weights = example()
    z_loss = 0.05

    def total(logits):
        return losses.cross_entropy_with_z_loss(logits, targets, weights, z_loss)[0].sum()

    wide = logits.astype(np.float64)
    z = np.exp(wide).sum(-1, keepdims=True)
    softmax = np.exp(wide) / z
    expected = softmax * (1 + 2 * z_loss * np.log(z)) - np.eye(50)[targets]
    expected *= weights[..., None]
    np.testing.assert_allclose(jax.grad(total)(logits), expected, atol=TOLERANCE)


@pytest.mark.parametrize("size", [1e4, 1e18])
def test_large_logits_stay_finite(size):
    logits = jnp.array([[[size, -size, 0.0]]])
    args = (jnp.array([[0]]), jnp.ones((1, 1)), 0.0)

    def loss(logits):
        return losses.cross_entropy_with_z_loss(logits, *args)[0].sum()

    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((1, 1, 3)))


def test_bfloat16_logits_are_summed_in_float32():
    logits, targets, weights = example()
    low = jnp.asarray(logits, jnp.bfloat16)
    sums, num_tokens, metrics = losses.cross_entropy_with_z_loss(low, targets, weights, 1e-4)
    expected, _ = numpy_losses(np.asarray(low, np.float32), targets, weights, 1e-4)
    np.testing.assert_allclose(sums, expected, rtol=TOLERANCE)
    assert {x.dtype for x in (sums, num_tokens, *metrics.values())} == {jnp.dtype("float32")}


def test_rows_do_not_depend_on_their_batch():
    logits, targets, weights = example()
    together = losses.cross_entropy_with_z_loss(logits, targets, weights, 1e-4)[0]
    for row in range(len(logits)):
        part = slice(row, row + 1)
        alone = losses.cross_entropy_with_z_loss(logits[part], targets[part], weights[part], 1e-4)
        np.testing.assert_allclose(alone[0][0], together[row], rtol=1e-6)


def test_an_all_padding_row_is_exactly_nothing():
    logits, targets, weights = example()

    def total(logits):
        sums, num_tokens, _ = losses.cross_entropy_with_z_loss(logits, targets, weights, 1e-4)
        return sums.sum(), (sums, num_tokens)

    gradient, (sums, num_tokens) = jax.grad(total, has_aux=True)(logits)
    assert sums[-1] == 0.0 and num_tokens[-1] == 0.0
    assert (gradient[-1] == 0.0).all() and (gradient[0] != 0.0).any()


class Bilinear:
    """A model with `apply` in pure JAX: what reaches it shows in its logits."""

    def __init__(self):
        self.seen = None

    def apply(self, variables, inputs, decoder_inputs, targets, *, enable_dropout, rngs, **packing):
        self.seen = {"enable_dropout": enable_dropout, "rngs": rngs, "packing": packing}
        table = variables["params"]["table"]
        logits = table[inputs].sum(1)[:, None] + table[decoder_inputs] @ table.T
        if rngs is not None:
            logits = logits * jax.random.bernoulli(rngs["dropout"], 0.5, logits.shape)
        return logits


def model_batch():
    rng = np.random.default_rng(1)
    return {
        "encoder_input_tokens": rng.integers(0, 6, (3, 4)),
        "decoder_input_tokens": rng.integers(0, 6, (3, 5)),
        "decoder_target_tokens": rng.integers(0, 6, (3, 5)),
        "decoder_loss_weights": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0] * 5], np.float32),
    }


def test_loss_fun_is_the_loss_of_the_model_s_logits():
    model, batch = Bilinear(), model_batch()
    table = jax.random.normal(jax.random.key(0), (6, 6))
    loss_fun = losses.token_loss(model, z_loss=0.01)
    sums, num_tokens, metrics = loss_fun({"table": table}, batch, None)
    logits = np.asarray(table)[batch["encoder_input_tokens"]].sum(1)[:, None]
    logits = logits + np.asarray(table)[batch["decoder_input_tokens"]] @ np.asarray(table).T
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    expected, _ = numpy_losses(logits, targets, weights, 0.01)
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    np.testing.assert_array_equal(num_tokens, [5, 2, 0])
    np.testing.assert_allclose(metrics["loss_sum"], expected.sum(), rtol=1e-5)
    assert model.seen == {"enable_dropout": False, "rngs": None, "packing": {}}


def test_loss_fun_passes_dropout_key_and_packing():
    model, batch = Bilinear(), model_batch()
    params = {"table": jax.random.normal(jax.random.key(0), (6, 6))}
    packing = {
        name: np.full((3, 4 if "encoder" in name else 5), value)
        for value, name in enumerate(
            ["encoder_segment_ids", "decoder_segment_ids", "encoder_positions", "decoder_positions"]
        )
    }
    loss_fun = losses.token_loss(model, z_loss=0.0)
    extra = {"language": np.zeros(3)}
    dropped, _, _ = loss_fun(params, batch | packing | extra, jax.random.key(3))
    assert model.seen["enable_dropout"] is True and model.seen["packing"] == packing
    kept, _, _ = loss_fun(params, batch, None)
    assert not np.allclose(dropped[:2], kept[:2]) and dropped[2] == kept[2] == 0.0


def test_a_missing_feature_is_named_with_what_there_is():
    batch = model_batch()
    del batch["decoder_loss_weights"]
    loss_fun = losses.token_loss(Bilinear(), z_loss=0.0)
    with pytest.raises(ValueError, match=r"batch lacks \['decoder_loss_weights'\]; it has"):
        loss_fun({"table": jnp.eye(6)}, batch, None)


def test_padding_rows_of_a_t5_have_zero_gradients():
    from presence_t5x.config_types import T5Config
    from presence_t5x.models import families, t5

    config = T5Config(
        vocab_size=16,
        emb_dim=8,
        num_heads=2,
        head_dim=4,
        mlp_dim=16,
        num_encoder_layers=1,
        num_decoder_layers=1,
        dtype="float32",
    )
    loss_fun = losses.token_loss(t5.T5(config), z_loss=1e-4)
    shapes = jax.eval_shape(lambda: families.init_params(config, jax.random.key(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.float32(0.3 * rng.normal(size=x.shape)), shapes)
    features = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    batch = {name: jnp.asarray(rng.integers(1, 16, (2, 5))).at[1].set(0) for name in features}
    batch["decoder_loss_weights"] = (batch["decoder_target_tokens"] > 0).astype(jnp.float32)

    @jax.jit
    @jax.grad
    def gradients(params, row):
        return loss_fun(params, batch, None)[0][row]

    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients(params, 1)))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(gradients(params, 0)))
