"""Models with one stack: what a position may see, by exactly zero gradients; forms; sizes."""

import dataclasses
import re

import families
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x.config import load_config
from presence_t5x.models.families import init_params, num_parameters

DECODER, ENCODER, CLASSIFIER = (families.CONFIGS[name] for name in families.ONE_STACK)
LENGTH = families.LENGTH
# The same float32 sums in another order, in logits of size 1.
SAME_FUNCTION = 2e-5


def distinct(config, num_padding=0):
    """Returns a row in which no token id occurs twice, padded at its end."""
    tokens = np.arange(2, 2 + LENGTH)[None]
    is_real = np.arange(LENGTH) < LENGTH - num_padding
    tokens = tokens * is_real
    batch = dict.fromkeys(config.features.inputs, tokens)
    if config is DECODER:
        batch["decoder_target_tokens"] = np.full((1, LENGTH), 20) * is_real
    return batch, tokens[0]


@pytest.fixture(scope="module", params=[DECODER, ENCODER], ids=["decoder", "encoder"])
def config(request):
    return request.param


def test_a_decoder_sees_nothing_later():
    batch, tokens = distinct(DECODER)
    for position in (0, 4, LENGTH - 1):
        moved = families.influence(DECODER, families.params_of(DECODER), batch, position)
        assert (moved[tokens[: position + 1]] > 0).all()
        assert (moved[tokens[position + 1 :]] == 0).all()


def test_a_prefix_sees_itself_in_both_directions():
    batch, tokens = distinct(DECODER)
    batch["decoder_causal_attention"] = (np.arange(LENGTH) < 4).astype(np.int32)[None]
    params = families.params_of(DECODER)
    for position, seen in ((0, 4), (3, 4), (4, 5), (6, 7)):
        moved = families.influence(DECODER, params, batch, position)
        assert (moved[tokens[:seen]] > 0).all(), position
        assert (moved[tokens[seen:]] == 0).all(), position


def test_an_encoder_sees_everything():
    batch, tokens = distinct(ENCODER)
    moved = families.influence(ENCODER, families.params_of(ENCODER), batch, 3)
    assert (moved[tokens] > 0).all()


def test_padding_is_never_seen(config):
    """The table's row 0 moves nothing, and rows of other lengths give the same results."""
    batch, tokens = distinct(config, num_padding=3)
    params = families.params_of(config)
    position = LENGTH - 4
    moved = families.influence(config, params, batch, position)
    assert moved[0] == 0 and (moved[tokens[: position + 1]] > 0).all()
    short = {name: value[:, : position + 1] for name, value in batch.items()}
    whole = families.apply(config, params, batch)[:, : position + 1]
    np.testing.assert_allclose(families.apply(config, params, short), whole, atol=SAME_FUNCTION)


def test_a_packed_row_is_its_examples(config):
    (batch, tokens), params = distinct(config), families.params_of(config)
    segments = np.where(np.arange(LENGTH) < 5, 1, 2)[None]
    positions = np.where(np.arange(LENGTH) < 5, np.arange(LENGTH), np.arange(LENGTH) - 5)[None]
    packed = batch | dict(zip(config.features.packing, (segments, positions), strict=True))
    for position, own in ((3, slice(0, 5)), (LENGTH - 1, slice(5, LENGTH))):
        moved = families.influence(config, params, packed, position)
        others = np.setdiff1d(tokens, tokens[own])
        assert (moved[others] == 0).all() and moved[tokens[own]][0] > 0
    logits = families.apply(config, params, packed)
    for part in (slice(0, 5), slice(5, LENGTH)):
        alone = {name: value[:, part] for name, value in batch.items()}
        expected = families.apply(config, params, alone)
        np.testing.assert_allclose(logits[:, part], expected, atol=SAME_FUNCTION)


def test_a_classifier_sees_its_row_by_the_first_token():
    batch, tokens = distinct(CLASSIFIER, num_padding=2)
    params = families.params_of(CLASSIFIER)
    moved = families.influence(CLASSIFIER, params, batch, 0)
    assert (moved[tokens[:-2]] > 0).all() and moved[0] == 0
    assert families.apply(CLASSIFIER, params, batch).shape == (1, 1, 3)


@pytest.mark.parametrize("name", families.ONE_STACK)
def test_scanned_layers_are_the_unrolled_ones(name):
    config = families.CONFIGS[name]
    params, batch = families.params_of(config), families.batch_of(config)
    expected = families.apply(config, params, batch)
    (stack,) = config.stacks
    names = [f"layers_{i}" for i in range(config.num_layers)]
    layers = [params[stack][layer] for layer in names]
    rest = {key: value for key, value in params[stack].items() if key not in names}
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *layers)
    params = params | {stack: {**rest, stack: stacked}}
    for policy in ("none", "full"):
        scanned = dataclasses.replace(config, scan_layers=True, remat_policy=policy)
        shapes = jax.eval_shape(lambda config=scanned: init_params(config, jax.random.key(0)))
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
        found = families.apply(scanned, params, batch)
        np.testing.assert_allclose(found, expected, atol=SAME_FUNCTION)


def test_the_output_layer_gives_the_logits(config):
    """Vectors times `output_kernel`, plus `output_bias`: what the blockwise loss works with."""
    for tied in (False, True) if config is DECODER else (True,):
        changed = (
            dataclasses.replace(config, logits_via_embedding=tied)
            if tied and config is (DECODER)
            else config
        )
        params, batch = families.params_of(changed), families.batch_of(changed)
        model = families.build_model(changed)
        hidden = families.apply(changed, params, batch, with_logits=False)
        logits = hidden @ model.output_kernel(params)
        bias = model.output_bias(params)
        logits = logits if bias is None else logits + bias
        expected = families.apply(changed, params, batch)
        np.testing.assert_allclose(logits, expected, atol=SAME_FUNCTION)


def test_rotary_positions_count_differences_alone():
    """Positions moved by a constant change nothing; stretched ones do."""
    (batch, _), params = distinct(DECODER), families.params_of(DECODER)
    plain = families.apply(DECODER, params, batch)
    places = np.arange(LENGTH)[None]
    moved = families.apply(DECODER, params, batch | {"decoder_positions": places + 7})
    np.testing.assert_allclose(moved, plain, atol=SAME_FUNCTION)
    stretched = families.apply(DECODER, params, batch | {"decoder_positions": places * 2})
    assert np.abs(stretched - plain).max() > 100 * SAME_FUNCTION


def test_positions_beyond_the_table_are_seen_at_once():
    batch = {"encoder_input_tokens": np.full((1, LENGTH + 1), 3)}
    logits = families.apply(ENCODER, families.params_of(ENCODER), batch)
    assert np.isnan(logits[0, -1]).all()


def load(name, **settings):
    """Returns a run with a model file."""
    is_decoder = name.startswith("decoder")
    bindings = {
        "MODEL_DIR": "none",
        "MIXTURE_OR_TASK_NAME": "none",
        "TRAIN_STEPS": 1,
        "DROPOUT_RATE": 0.25,
        "TASK_FEATURE_LENGTHS": {"targets" if is_decoder else "inputs": 512},
        "OBJECTIVE": "next_token" if is_decoder else "masked_tokens",
    }
    return load_config(
        [f"configs/models/{name}.gin", "configs/runs/pretrain.gin"],
        [f"{key}={value!r}" for key, value in (bindings | settings).items()],
    )


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"OBJECTIVE": "masked_tokens", "TASK_FEATURE_LENGTHS": {"inputs": 8}},
            "objective='masked_tokens' makes no rows for a DecoderOnlyConfig; set OBJECTIVE=",
        ),
        ({"TASK_FEATURE_LENGTHS": {"inputs": 8}}, "task_feature_lengths={'inputs': 8} must be a"),
        ({"DecoderOnlyConfig.num_kv_heads": 3}, "num_kv_heads=3 must divide num_heads=4"),
        (
            {"EVAL_TASK": "local_nli_zeroshot"},
            "task='local_nli_zeroshot': rows of objective='next_token' have no inputs",
        ),
        ({"DecoderOnlyConfig.head_dim": 5}, "head_dim=5 must be even"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load("decoder_only_tiny", **settings)


def test_a_masked_language_model_is_asked_nothing():
    message = "task='local_nli_zeroshot': EncoderOnlyConfig without classes answers nothing"
    with pytest.raises(ValueError, match=message):
        load("encoder_only_tiny", EVAL_TASK="local_nli_zeroshot")


# emb * (4 * emb + 4 biases) + 2 * emb * mlp + ... in full: the published models' parameters, and
# the rows that round 250,002 pieces up to 250,112 (one vector and one bias each).
COUNTS = {
    "decoder_only_tiny": 616_768,
    "decoder_only_mini": 2 * 4096 * 128 + 2 * (3 * 128**2 + 3 * 128 * 352 + 2 * 128) + 128,
    "decoder_only_small": 2 * 32000 * 768 + 12 * (4 * 768**2 + 3 * 768 * 2048 + 2 * 768) + 768,
    "decoder_only_1_3b": 2 * 32000 * 2048 + 24 * (4 * 2048**2 + 3 * 2048 * 5504 + 2 * 2048) + 2048,
    "xlmr_base": 278_295_186 + 110 * 769,
    "xlmr_large": 560_142_482 + 110 * 1025,
    "encoder_only_tiny": 403_584,
    # Tables of tokens, positions and types, and a norm; the head; the layers.
    "encoder_only_mini": (4096 + 514 + 1 + 2) * 128
    + (128 * 129 + 2 * 128 + 4096)
    + 2 * (4 * 128 * 129 + 4 * 128 + 128 * 512 * 2 + 512 + 128),
}


@pytest.mark.parametrize("name", COUNTS)
def test_model_files_have_the_published_number_of_parameters(name):
    run = load(name)
    assert num_parameters(run.model) == COUNTS[name]
    assert run.model.dropout_rate == 0.25
    assert run.presence.layers == run.model.first_blocks
