"""Train states keep every number on the way to T5X and back, and a run continues on either side."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from convert import t5x_peer
from convert.t5x_peer import SIZES

from presence_t5x.config_types import OptimizerConfig, PresenceConfig, T5Config
from presence_t5x.convert.train_states import t5x_state_dict, train_state_from_t5x
from presence_t5x.models.families import init_params
from presence_t5x.optimizer import build_optimizer
from presence_t5x.train_step import Objective, init_train_state

pytestmark = pytest.mark.filterwarnings("ignore")  # of T5X

LEARNING_RATE = OptimizerConfig(factors="constant", base_learning_rate=0.01)
# float32 updates by the same formula, compiled apart.
SAME_UPDATE = 2e-6


def own_config(scan_layers, **changes):
    return T5Config(dtype="float32", scan_layers=scan_layers, **{**SIZES, **changes})


@functools.cache
def own_state(config, optimizer=LEARNING_RATE):
    objective = Objective(
        None, build_optimizer(optimizer, config.scan_layers), None, None, PresenceConfig()
    )
    return init_train_state(objective, init_params(config, jax.random.key(1)))


@functools.cache
def state_with_moments(config):
    """Returns a state after an update, whose moments are those of `squares`."""
    state = own_state(config)
    optimizer = build_optimizer(LEARNING_RATE, config.scan_layers)
    gradients = jax.tree.map(jnp.sqrt, squares(state.params))
    _, optimizer_state = jax.jit(optimizer.update)(gradients, state.optimizer_state, state.params)
    return state._replace(optimizer_state=optimizer_state, step=jnp.asarray(1, jnp.int32))


def assert_identical(left, right):
    left, right = (jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (left, right))
    assert [path for path, _ in left] == [path for path, _ in right]
    for (path, a), (_, b) in zip(left, right):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), jax.tree_util.keystr(path))


def squares(params, seed=0):
    """Small squares whose sums and means are exact in any order."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.integers(0, 3, leaf.shape).astype(np.float32) ** 2, params)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("network", ["t5", "presence_scanned"])
def test_there_and_back_is_identical(network, scan_layers):
    state = state_with_moments(own_config(scan_layers))
    there = t5x_state_dict(state, network=network)
    back = train_state_from_t5x(there, jax.eval_shape(lambda: state))
    assert_identical(back, state)


def test_scanned_moments_are_means_over_the_axes_of_t5xs_rule():
    """An oracle from the definition: `v_row` averages over all axes but embedding and layers."""
    config = own_config(True, position_biases_per_layer=True)
    state = state_with_moments(config)
    square = squares(state.params)
    there = t5x_state_dict(state, network="scalable_t5", num_heads=3)
    states = there["state"]["param_states"]["decoder"]["decoder"]
    layer = square["decoder"]["decoder"]
    query = layer["self_attention"]["query"]["kernel"].reshape(160, 2, 3, 50)
    found = states["self_attention"]["query"]["kernel"]
    np.testing.assert_allclose(found["v_row"], query.mean((2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found["v_col"], query.mean(0), rtol=1e-6)
    out = layer["encoder_decoder_attention"]["out"]["kernel"].reshape(3, 50, 2, 160)
    out = out.transpose(0, 2, 1, 3)
    found = states["encoder_decoder_attention"]["out"]["kernel"]
    np.testing.assert_allclose(found["v_row"], out.mean((0, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["v_col"], out.mean(3), rtol=1e-6)
    found = states["mlp"]["wo"]["kernel"]
    np.testing.assert_allclose(found["v_row"], layer["mlp"]["wo"]["kernel"].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found["v_col"], layer["mlp"]["wo"]["kernel"].mean(2), rtol=1e-6)
    assert found["v"].shape == found["m"].shape == (1,)


@pytest.mark.parametrize("network", ["t5", "scalable_t5"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_run_of_t5x_continues_here(network, scan_layers):
    """Three updates there and two here are five there."""
    before = t5x_peer.state_after(t5x_peer.initial_state(network), 3, t5x_peer.arbitrary_gradient)
    config = own_config(scan_layers, position_biases_per_layer=network == "scalable_t5")
    state = train_state_from_t5x(before.state_dict(), jax.eval_shape(lambda: own_state(config)))
    assert int(state.step) == 3
    optimizer = build_optimizer(LEARNING_RATE, scan_layers)

    @jax.jit
    def update(state):
        gradients = t5x_peer.arbitrary_gradient(state.params, 0)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
        return state._replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            optimizer_state=optimizer_state,
        )

    ours = t5x_state_dict(update(update(state)), network=network, num_heads=3)
    theirs = t5x_peer.state_after(
        before, 2, lambda params, step: t5x_peer.arbitrary_gradient(params, 0)
    )
    wanted = theirs.state_dict()
    assert int(ours["state"]["step"]) == int(wanted["state"]["step"]) == 5
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=SAME_UPDATE, atol=SAME_UPDATE),
        ours,
        jax.device_get(dict(wanted)),
    )


@pytest.mark.parametrize("network", ["t5", "scalable_t5"])
def test_a_run_continues_in_t5x(network):
    per_layer = network == "scalable_t5"
    state = state_with_moments(own_config(True, position_biases_per_layer=per_layer))
    theirs = t5x_peer.initial_state(network)
    there = t5x_state_dict(state, network=network, num_heads=3)
    assert jax.tree.map(jnp.shape, there) == jax.tree.map(jnp.shape, dict(theirs.state_dict()))
    restored = theirs.restore_state(there)
    updated = t5x_peer.state_after(restored, 1, t5x_peer.arbitrary_gradient)
    assert int(updated.step) == 2
    assert_identical(jax.device_get(dict(restored.state_dict())), there)


def test_moments_that_one_side_does_not_factor_are_refused():
    small = own_state(own_config(True, emb_dim=64, position_biases_per_layer=True))
    with pytest.raises(
        ValueError, match=r"'decoder/decoder/.*whole in the source.*parameters_only"
    ):
        t5x_state_dict(small, network="scalable_t5", num_heads=3)


def test_another_optimizer_is_refused():
    config = own_config(False)
    with pytest.raises(ValueError, match="no Adafactor state; set OPTIMIZER='adafactor'"):
        t5x_state_dict(own_state(config, OptimizerConfig(name="adamw")))


def test_what_does_not_fit_is_named():
    state = own_state(own_config(False))
    there = t5x_state_dict(state)
    there["target"]["encoder"]["encoder_norm"]["scale"] = np.ones(7, np.float32)
    there["state"]["param_states"]["encoder"]["encoder_norm"]["scale"]["v"] = np.ones(7)
    with pytest.raises(ValueError, match=r"encoder/encoder_norm/scale has the shape \(7,\).*160"):
        train_state_from_t5x(there, state)
    there = t5x_state_dict(state)
    there["state"]["param_states"]["token_embedder"]["embedding"]["m"] = np.ones((515, 160))
    with pytest.raises(ValueError, match=r"token_embedder/embedding/m has momentum"):
        train_state_from_t5x(there, state)
    there = t5x_state_dict(state)
    del there["state"]["param_states"]["decoder"]["logits_dense"]
    with pytest.raises(ValueError, match="no state for 'decoder/logits_dense/kernel'"):
        train_state_from_t5x(there, state)
