"""Every arrangement of eight devices gives the updates that one device gives, with real models."""

import functools

import jax
import numpy as np
import oracles
import pytest

from presence_t5x import objective as objectives
from presence_t5x.config import load_config
from presence_t5x.partitioning import batch_sharding

STEPS = 2
ROWS, VOCABULARY = 16, 64
# float32 sums in another order, through an optimizer that divides by root mean squares.
TOLERANCE = 2e-5
FAMILIES = {  # by their objective
    "next_token": ("decoder_only_tiny", "DecoderOnlyConfig", {"targets": 12}),
    "prefix": ("decoder_only_tiny", "DecoderOnlyConfig", {"inputs": 8, "targets": 4}),
    "masked_tokens": ("encoder_only_tiny", "EncoderOnlyConfig", {"inputs": 12}),
    "classification": ("encoder_only_tiny", "EncoderOnlyConfig", {"inputs": 12}),
}
NUM_CLASSES = 3
BINDINGS = (
    "MODEL_DIR='unused'",
    f"T5Config.vocab_size={VOCABULARY}",
    "T5Config.emb_dim=32",
    "T5Config.num_heads=4",
    "T5Config.head_dim=8",
    "T5Config.mlp_dim=32",
    "T5Config.num_encoder_layers=2",
    "T5Config.num_decoder_layers=2",
    "TASK_FEATURE_LENGTHS={'inputs': 12, 'targets': 6}",
    f"BATCH_SIZE={ROWS}",
    "NUM_MICROBATCHES=2",
    "TEMPERATURE_SCHEDULE='constant'",
)
STORED = ()
STREAMING = ("ACCUMULATOR='streaming'", "NORMALIZER='ema'")
EXAMPLE = ("GRANULARITY='example'", "T5Config.scan_layers=True")
UNWEIGHTED = ("TEMPERATURE_SCHEDULE='unweighted'", "T5Config.scan_layers=True")


def load(bindings, family):
    """Returns the run of the T5, or of another family's objective in the same sizes."""
    files = ["configs/runs/benchmark.gin"]
    if family is None:
        return load_config(files, (*BINDINGS, *bindings))
    model, name, lengths = FAMILIES[family]
    data = [f"TASK_FEATURE_LENGTHS={lengths}", f"OBJECTIVE={family!r}"]
    if family == "classification":
        data.append(f"{name}.num_classes={NUM_CLASSES}")
    sizes = [text for text in (*BINDINGS, *bindings) if "_layers=2" not in text]
    sizes = [text.replace("T5Config.", f"{name}.") for text in sizes]
    files.append(f"configs/models/{model}.gin")
    return load_config(files, [*sizes, *data, f"{name}.num_layers=2"])


def random_batch(config, rng):
    """Returns rows of tokens and 0/1 weights, or of labels, as the family has them."""
    features = config.model.features
    batch = {
        name: rng.integers(1, VOCABULARY, shape.shape, dtype=np.int32)
        for name, shape in objectives.abstract_batch(config, None).items()
        if name != features.weights
    }
    if "decoder_causal_attention" in batch:  # the first tokens of a row see each other
        tokens = batch["decoder_causal_attention"]
        prefixes = rng.integers(1, tokens.shape[1], (ROWS, 1))
        batch["decoder_causal_attention"] = np.int32(np.arange(tokens.shape[1]) < prefixes)
    if features.weights is None:  # one row has no label
        labels = rng.integers(0, NUM_CLASSES, ROWS, dtype=np.int32)
        return batch | {features.targets: np.where(np.arange(ROWS) == 3, -1, labels)}
    shape = batch[features.targets].shape
    weights = rng.integers(0, 2, shape).astype(np.float32)
    if config.data.most_targets is not None:
        weights *= np.cumsum(weights, axis=1) <= config.data.most_targets
    return batch | {features.weights: weights}


@functools.cache
def compiled(bindings, fsdp, tensor, num_devices, family):
    """Returns a run's settings, objective and step, compiled once for whole and broken rows."""
    partitions = (f"NUM_FSDP_PARTITIONS={fsdp}", f"NUM_TENSOR_PARTITIONS={tensor}")
    config = load((*bindings, *partitions), family)
    mesh = objectives.make_mesh(config, jax.devices()[:num_devices])
    objective = objectives.make_objective(config, mesh)
    return config, objective, objectives.compile_ready_step(config, objective)


@functools.cache
def updates(bindings, fsdp, tensor, num_devices=8, broken_row=None, family=None):
    """Returns the parameters after some steps, and the last step's metrics.

    A broken row has a token that the vocabulary lacks: its loss is not finite.
    """
    config, objective, step = compiled(bindings, fsdp, tensor, num_devices, family)
    mesh, state = objective.mesh, objectives.initial_state(config, objective)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        batch = random_batch(config, rng)
        if broken_row is not None:
            batch["encoder_input_tokens"][broken_row, 0] = VOCABULARY
        if mesh is not None:
            batch = jax.device_put(batch, batch_sharding(mesh))
        state, metrics = step(state, batch)
    return jax.device_get(state.params), jax.device_get(metrics)


def without_free_parameters(params):
    """Leaves out biases of keys: softmax does not see them.

    Their gradients are rounding alone, which the optimizer divides by its own size.
    """

    def keep(path, leaf):
        names = [key.key for key in path]
        return np.zeros_like(leaf) if names[-2:] == ["key", "bias"] else leaf

    return jax.tree_util.tree_map_with_path(keep, params)


def check(bindings, fsdp, tensor, broken_row=None, family=None):
    options = {"broken_row": broken_row, "family": family}
    params, metrics = updates(bindings, fsdp, tensor, **options)
    expected, expected_metrics = updates(bindings, 1, 1, num_devices=1, **options)
    params, expected = (without_free_parameters(tree) for tree in (params, expected))
    assert oracles.relative_error(params, expected) < TOLERANCE
    for name in ("train/loss", "presence/scores", "presence/weights"):
        if name in expected_metrics:
            np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-4)


@pytest.mark.parametrize("bindings", [STORED, STREAMING, EXAMPLE, UNWEIGHTED])
def test_data_fsdp_and_tensor_axes_together(bindings):
    check(bindings, 2, 2)


@pytest.mark.parametrize("bindings", [STORED, EXAMPLE])
@pytest.mark.parametrize("partitions", [(2, 2), pytest.param((1, 1), marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_other_families(family, partitions, bindings):
    check(bindings, *partitions, family=family)


@pytest.mark.parametrize("partitions", [(1, 1), (8, 1), (1, 4), (4, 2)])
def test_each_arrangement(partitions):
    check(STORED, *partitions)


@pytest.mark.parametrize("bindings", [STORED, EXAMPLE])
def test_a_broken_row_costs_its_own_unit_alone(bindings):
    """Devices that share the tables' gradients lose no more than one device would."""
    check(bindings, 1, 1, broken_row=5)
    _, metrics = updates(bindings, 1, 1, broken_row=5)
    weights = np.asarray(metrics["presence/weights"])
    lost = [5] if bindings is EXAMPLE else [5 % len(weights)]
    np.testing.assert_array_equal(np.flatnonzero(weights == 0), lost)


@pytest.mark.slow
@pytest.mark.parametrize("partitions", [(1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (1, 4), (4, 2)])
@pytest.mark.parametrize("bindings", [STREAMING, EXAMPLE, UNWEIGHTED])
def test_each_arrangement_of_the_other_steps(bindings, partitions):
    check(bindings, *partitions)


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ((3, 1), "num_fsdp_partitions=3 x num_tensor_partitions=1 must divide the 8 devices"),
        ((1, 8), "num_tensor_partitions=8 must divide num_heads=4"),
    ],
)
def test_impossible_arrangements_are_refused(partitions, message):
    with pytest.raises(ValueError, match=message):
        updates(STORED, *partitions)
