"""T5X itself, where it is installed: small models, partitioners, trainers, what training left."""

import functools
import importlib
import warnings
from typing import NamedTuple

import jax
import numpy as np
import pytest

ROWS, INPUTS, TARGETS = 16, 8, 5
NUM_MICROBATCHES = 4
# The embedding and the output matrix are large enough for factored second moments.
SIZES = {
    "vocab_size": 128,
    "emb_dim": 128,
    "num_heads": 2,
    "head_dim": 8,
    "mlp_dim": 32,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}
# On eight devices the compiler takes several times as long: these are as small as they can be.
TINY = {**SIZES, "vocab_size": 32, "emb_dim": 16, "mlp_dim": 16}


def need(name):
    """Returns a module that imports T5X, quietly; skips the test where T5X is absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about what they import
        try:
            importlib.import_module("t5x.trainer")
        except ImportError as error:
            pytest.skip(f"T5X is not installed ({error}); it is no PyPI package")
        return importlib.import_module(name)


def make_module(kind, tiny=False, dropout_rate=0.0):
    """Returns T5X's network ("t5", "scalable_t5") or this package's ("own", "own_scanned")."""
    own = kind.startswith("own")
    network = need(f"t5x.examples.{'t5' if own else kind}.network")
    config = network.T5Config(
        dtype="float32",
        mlp_activations=("gelu", "linear"),
        dropout_rate=dropout_rate,
        **(TINY if tiny else SIZES),
    )
    if own:
        return need("presence_t5x.t5x_model").t5_module(config, scan_layers=kind == "own_scanned")
    return network.Transformer(config=config)


def make_model(kind, tiny=False, dropout_rate=0.0, **settings):
    """Returns T5X's encoder-decoder, as `configs/t5x/pretrain_presence.gin` builds it."""
    adafactor = need("t5x.adafactor")
    return need("presence_t5x.t5x_model").PresenceEncoderDecoderModel(
        module=make_module(kind, tiny, dropout_rate),
        input_vocabulary=None,
        output_vocabulary=None,
        optimizer_def=adafactor.Adafactor(
            decay_rate=0.8,
            step_offset=0,
            logical_factor_rules=adafactor.standard_logical_factor_rules(),
        ),
        **{"z_loss": 1e-4} | settings,
    )


def make_partitioner(data=1, model=1):
    """Returns T5X's partitioner over that many devices; on CPUs it would cut the model only."""
    partitioning = need("t5x.partitioning")
    partitioner = partitioning.PjitPartitioner(
        num_partitions=1, logical_axis_rules=partitioning.standard_logical_axis_rules()
    )
    devices = np.asarray(jax.devices()[: data * model]).reshape(data, model)
    partitioner.mesh = jax.sharding.Mesh(devices, ("data", "model"))
    return partitioner


def make_batch(step, vocab_size=TINY["vocab_size"]):
    """Returns the rows of a step, of unequal length."""
    rng = np.random.default_rng(step)

    def tokens(length):
        lengths = rng.integers(1, length + 1, ROWS)
        ids = rng.integers(2, vocab_size, (ROWS, length))
        return np.where(np.arange(length) < lengths[:, None], ids, 0).astype(np.int32)

    targets = tokens(TARGETS)
    return {
        "encoder_input_tokens": tokens(INPUTS),
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets > 0).astype(np.int32),
    }


class Run(NamedTuple):
    """What training left: the state on the host, and every step's metrics."""

    state: object
    metrics: list


def make_initializer(model, partitioner):
    """Returns T5X's helper that creates and restores train states."""
    batch = make_batch(0)
    return need("t5x.utils").TrainStateInitializer(
        optimizer_def=model.optimizer_def,
        init_fn=model.get_initial_variables,
        input_shapes={name: values.shape for name, values in batch.items()},
        input_types={name: values.dtype for name, values in batch.items()},
        partitioner=partitioner,
    )


@functools.cache
def initial_state(kind, tiny=False, normalizer="batch"):
    """Returns the state before step 0, on the host; the same for all models of the kind."""
    model = make_model(kind, tiny, normalizer=normalizer)
    initializer = make_initializer(model, make_partitioner())
    return jax.device_get(initializer.from_scratch(jax.random.PRNGKey(0)))


def make_trainer(cls, model, state, partitioner=None, **arguments):
    """Returns a trainer at `state`, with T5X's pre-training learning rate."""
    partitioner = partitioner or make_partitioner()
    defaults = {
        "model": model,
        "train_state": state,
        "partitioner": partitioner,
        "eval_names": [],
        "summary_dir": None,
        "train_state_axes": make_initializer(model, partitioner).train_state_axes,
        "rng": jax.random.PRNGKey(1),
        "learning_rate_fn": need("t5x.utils").create_learning_rate_scheduler(
            factors="constant * rsqrt_decay", base_learning_rate=1.0, warmup_steps=10_000
        ),
        "num_microbatches": NUM_MICROBATCHES,
    }
    return cls(**defaults | arguments)


def train(trainer, batches):
    """Trains through T5X's own loop, one summary a step."""
    metrics = []
    for batch in batches:
        metrics.append(trainer.train(iter([batch]), 1).result())
    state = jax.device_get(trainer.train_state)
    trainer.close()
    return Run(state, metrics)


def scalars(metrics):
    """Returns the numbers of a step's summary, but for times."""
    return {
        name: float(found.value)
        for name, found in metrics.items()
        if np.ndim(found.value) == 0 and not name.startswith("timing/")
    }


def distance(tree, expected):
    """Returns the norm of the difference of two trees over the norm of the second."""
    found, wanted = (
        np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(one)])
        for one in (tree, expected)
    )
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
