"""The weighted gradient of real models, on packed and padded rows, equals the oracle's."""

import dataclasses

import families
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from presence_t5x import PresenceConfig, presence_gradients
from presence_t5x.config_types import T5Config
from presence_t5x.data.packing import pack_examples
from presence_t5x.losses import token_loss
from presence_t5x.models.families import build_model, init_params
from presence_t5x.models.t5 import T5

MODEL = T5Config(
    vocab_size=32,
    emb_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dtype="float32",
)
SCORED = (("encoder", "layers_0"), ("decoder", "layers_0"))
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def packed_batch():
    """Eight rows in which one to three examples share a row; the last row is empty."""
    rng = np.random.default_rng(0)
    examples = [
        {
            "inputs": rng.integers(3, 32, rng.integers(2, 8)).astype(np.int32),
            "targets": rng.integers(3, 32, rng.integers(1, 5)).astype(np.int32),
        }
        for _ in range(14)
    ]
    features = pack_examples(examples, {"inputs": 12, "targets": 8})
    rows = {name: value[:7] for name, value in features.items()}
    batch = {
        name: jnp.asarray(np.concatenate([value, np.zeros_like(value[:1])]))
        for name, value in rows.items()
    }
    assert batch["encoder_segment_ids"].max() >= 2 and batch["encoder_input_tokens"].shape[0] == 8
    return batch


FAMILIES = {
    "encoder_decoder": (MODEL, SCORED),
    "decoder_only": (families.CONFIGS["decoder_only"], SCORED[1:]),
    "encoder_only": (families.CONFIGS["encoder_only"], SCORED[:1]),
    "classifier": (families.CONFIGS["classifier"], SCORED[:1]),
}


@pytest.mark.parametrize("granularity", ["microbatch", "example"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_the_oracle(family, granularity, packed_batch):
    model, scored = FAMILIES[family]
    batch = packed_batch if model is MODEL else families.batch_of(model)
    params = init_params(model, jax.random.key(0))
    loss_fun = token_loss(build_model(model), 1e-4)

    def plain_loss(params, batch, rng):
        return loss_fun(params, batch, rng)[:2]

    config = PresenceConfig(num_microbatches=4, granularity=granularity, layers=model.first_blocks)
    step = jax.jit(
        lambda temperature: presence_gradients(
            loss_fun, params, batch, None, temperature=temperature, config=config, has_aux=True
        )
    )
    units = (
        oracles.unit_rows(8, 4, "strided")
        if granularity == "microbatch"
        else [np.array([row]) for row in range(8)]
    )
    unit_gradients = oracles.unit_gradients(plain_loss, params, batch, units)
    for temperature in (0.0, -1.0, 50.0):
        gradients, aux = step(temperature)
        expected, scores, weights, live = oracles.weighted_gradient(
            unit_gradients, scored, temperature=temperature, clip=config.score_clip
        )
        tolerance = TOLERANCE * max(1.0, abs(temperature))
        assert oracles.relative_error(gradients, expected) < tolerance
        np.testing.assert_allclose(np.asarray(aux.scores)[live], scores[live], rtol=1e-4)
        np.testing.assert_allclose(aux.weights, weights, atol=tolerance)
        assert live.sum() == (4 if granularity == "microbatch" else 7)


def test_scanned_layers_are_scored_as_unrolled_ones(packed_batch):
    """Unrolled parameters stacked along axis 1 give the same scores for the same patterns."""
    two_layers = dataclasses.replace(MODEL, num_encoder_layers=2, num_decoder_layers=2)
    params = init_params(two_layers, jax.random.key(0))
    scanned = dict(params)
    for half in ("encoder", "decoder"):
        layers = [params[half][f"layers_{i}"] for i in range(2)]
        rest = {name: part for name, part in params[half].items() if "layers_" not in name}
        stack = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *layers)
        scanned[half] = {**rest, half: stack}
    results = []
    for config, tree in (
        (two_layers, params),
        (dataclasses.replace(two_layers, scan_layers=True), scanned),
    ):
        _, aux = presence_gradients(
            token_loss(T5(config), 1e-4),
            tree,
            packed_batch,
            None,
            temperature=1.0,
            config=PresenceConfig(num_microbatches=4),
            has_aux=True,
        )
        results.append(aux)
    np.testing.assert_allclose(results[0].scores, results[1].scores, rtol=1e-4)
