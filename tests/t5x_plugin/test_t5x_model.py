"""This package's T5 as T5X's module: the same axes, the same logits, what it refuses."""

import dataclasses

import jax
import numpy as np
import pytest
import t5x_peer as peer
from flax.linen.partitioning import get_axis_names

from presence_t5x.layouts import parameter_axes

LOGITS = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore")  # of T5X and what it imports


def variables(kind):
    """Returns the shapes of a model's variables and, apart, what T5X knows of their axes."""
    model = peer.make_model(kind, True)
    batch = peer.make_batch(0)
    shapes = {name: rows.shape for name, rows in batch.items()}
    types = {name: rows.dtype for name, rows in batch.items()}
    found = jax.eval_shape(
        lambda: model.get_initial_variables(jax.random.PRNGKey(0), shapes, types)
    )
    return found["params"].unfreeze(), get_axis_names(found["params_axes"]).unfreeze()


def named(axes):
    return jax.tree.map(tuple, axes, is_leaf=lambda leaf: isinstance(leaf, tuple))


def test_axes_are_called_what_t5x_calls_them():
    params, axes = variables("t5")
    assert named(parameter_axes(params)) == named(axes)


def test_unrolled_parameters_have_t5x_paths_shapes_and_axes():
    ours, our_axes = variables("own")
    theirs, their_axes = variables("t5")
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, theirs)
    assert named(our_axes) == named(their_axes)


def test_scanned_parameters_say_which_axis_is_the_layers():
    params, axes = variables("own_scanned")
    kernel = params["decoder"]["decoder"]["mlp"]["wo"]["kernel"]
    assert kernel.shape == (peer.TINY["mlp_dim"], 1, peer.TINY["emb_dim"])
    axes = named(axes)
    assert axes["decoder"]["decoder"]["mlp"]["wo"]["kernel"] == ("mlp", "layers", "embed")
    assert axes["encoder"]["encoder"]["pre_mlp_layer_norm"]["scale"] == ("embed", "layers")


def test_logits_are_those_of_t5x_network():
    batch = peer.make_batch(0)
    params = peer.initial_state("t5", True).params
    theirs, ours = (
        jax.jit(peer.make_model(kind, True)._compute_logits)(params, batch)
        for kind in ("t5", "own")
    )
    real = batch["decoder_target_tokens"] > 0
    np.testing.assert_allclose(ours[real], theirs[real], rtol=LOGITS, atol=LOGITS)


def test_decoding_is_refused_with_the_remedy():
    model, batch = peer.make_model("own", True), peer.make_batch(0)
    with pytest.raises(ValueError, match=r"no decoding cache; .*module=@network.Transformer\(\)"):
        model.module.apply(
            {"params": peer.initial_state("own", True).params},
            *(batch[name] for name in sorted(batch) if name.endswith("tokens")),
            decode=True,
        )


def test_sizes_come_from_t5x_configuration():
    network = peer.need("t5x.examples.scalable_t5.network")
    theirs = network.T5Config(
        **peer.TINY, dtype="bfloat16", mlp_activations=("gelu", "linear"), remat_policy="minimal"
    )
    build = peer.need("presence_t5x.t5x_model").t5_module
    config = build(theirs).config
    assert {name: getattr(config, name) for name in peer.TINY} == peer.TINY
    assert (config.dtype, config.scan_layers, config.remat_policy) == ("bfloat16", True, "minimal")
    config = build(theirs, scan_layers=False, remat_policy="none").config
    assert (config.scan_layers, config.remat_policy) == (False, "none")
    with pytest.raises(ValueError, match="param_scan_axis=0 must be 1"):
        build(dataclasses.replace(theirs, param_scan_axis=0))


def test_an_unknown_normalizer_is_refused():
    with pytest.raises(ValueError, match=r"normalizer='emas' must be one of .* did you mean 'ema'"):
        peer.make_model("t5", True, normalizer="emas")
