"""T5X itself, where it is installed: its networks, its optimizer, its checkpoints."""

import functools
import importlib
import warnings

import jax
import jax.numpy as jnp
import pytest
from absl import logging

SIZES = {
    "vocab_size": 515,
    "emb_dim": 160,
    "num_heads": 3,
    "head_dim": 50,
    "mlp_dim": 200,
    "num_encoder_layers": 1,
    "num_decoder_layers": 2,
}


def need_t5x(name):
    """Returns a module of T5X, quietly; skips the test where T5X is absent."""
    logging.set_verbosity(logging.ERROR)  # its Adafactor warns about every parameter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(f"t5x.{name}")
        except ImportError as error:
            pytest.skip(f"T5X is not installed ({error}); it is no PyPI package")


def module(network, sizes, logits_via_embedding=False):
    """Returns T5X's "t5" or "scalable_t5" network of the given sizes, in float32."""
    package = need_t5x(f"examples.{network}.network")
    scanned = {"scan_layers": True} if network == "scalable_t5" else {}
    return package.Transformer(
        config=package.T5Config(
            dtype="float32",
            mlp_activations=("gelu", "linear"),
            dropout_rate=0.0,
            logits_via_embedding=logits_via_embedding,
            **sizes,
            **scanned,
        )
    )


def model(network, sizes):
    """Returns T5X's encoder-decoder model as its gin files build it."""
    adafactor = need_t5x("adafactor")
    return need_t5x("models").EncoderDecoderModel(
        module=module(network, sizes),
        input_vocabulary=None,
        output_vocabulary=None,
        optimizer_def=adafactor.Adafactor(
            decay_rate=0.8,
            step_offset=0,
            logical_factor_rules=adafactor.standard_logical_factor_rules(),
        ),
    )


def partitioner():
    """Returns T5X's partitioner with every array whole; its own rules cut heads over CPUs."""
    partitioning = need_t5x("partitioning")
    rules = [(name, None) for name, _ in partitioning.standard_logical_axis_rules()]
    return partitioning.PjitPartitioner(num_partitions=1, logical_axis_rules=rules)


def initial_state(network, sizes=None):
    """Returns T5X's train state before its first step."""
    return _initial_state(network, tuple((sizes or SIZES).items()))


@functools.cache
def _initial_state(network, sizes):
    theirs = model(network, dict(sizes))
    names = ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    shapes = dict.fromkeys(names, (2, 8))
    variables = theirs.get_initial_variables(
        jax.random.key(0), shapes, dict.fromkeys(names, jnp.int32)
    )
    return need_t5x("train_state").FlaxOptimTrainState.create(theirs.optimizer_def, variables)


def state_after(state, num_steps, gradient):
    """Returns a state after updates with `gradient(params, step)`."""

    def steps(state):
        for step in range(num_steps):
            state = state.apply_gradient(gradient(state.params, step), learning_rate=0.01)
        return state

    return jax.jit(steps)(state)


def arbitrary_gradient(params, step):
    """Returns a gradient that depends on the values, so that no two parameters share one."""
    return jax.tree.map(lambda x: jnp.sin(3.0 * x + step) + 0.1 * x, params)
