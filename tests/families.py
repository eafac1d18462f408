"""The three families of models, small and with odd sizes, and batches of theirs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from presence_t5x.config_types import DecoderOnlyConfig, EncoderOnlyConfig, T5Config
from presence_t5x.models.families import build_model, init_params

VOCABULARY, ROWS, LENGTH = 23, 8, 9
_SIZES = {
    "vocab_size": VOCABULARY,
    "emb_dim": 8,
    "num_heads": 4,
    "head_dim": 6,
    "mlp_dim": 12,
    "dtype": "float32",
}
CONFIGS = {
    "encoder_decoder": T5Config(**_SIZES, num_encoder_layers=3, num_decoder_layers=2),
    "decoder_only": DecoderOnlyConfig(**_SIZES, num_kv_heads=2, num_layers=3),
    "encoder_only": EncoderOnlyConfig(**_SIZES, num_layers=3, max_positions=LENGTH),
    "classifier": EncoderOnlyConfig(**_SIZES, num_layers=3, max_positions=LENGTH, num_classes=3),
}
ONE_STACK = ("decoder_only", "encoder_only", "classifier")


@functools.cache
def params_of(config, seed=0):
    """Returns parameters of which none is at its symmetric start."""
    params = init_params(config, jax.random.key(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 1), 100))
    return jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), params)


def batch_of(config, seed=0, rows=ROWS, length=LENGTH, packed=True):
    """Returns rows of unequal length; where the family packs, the odd rows hold two examples.

    The last row is all padding.
    """
    rng = np.random.default_rng(seed)
    features = config.features
    sizes = rng.integers(3, length + 1, rows)
    sizes[-1] = 0
    places = np.arange(length)[None]
    real = places < sizes[:, None]
    first = np.where(np.arange(rows) % 2, sizes // 2, sizes)[:, None] if packed else sizes[:, None]
    segments = np.where(real, 1 + (places >= first), 0)
    positions = np.where(places >= first, places - first, places) * real
    batch = {}
    for name in (*features.inputs, features.targets):
        if name == "labels":
            batch[name] = np.where(sizes > 0, rng.integers(0, 3, rows), -1)
        else:
            batch[name] = rng.integers(2, config.vocab_size, (rows, length)) * real
    if "decoder_input_tokens" in batch:
        batch["decoder_input_tokens"] *= positions > 0
    if features.weights is not None:
        batch[features.weights] = (real & (rng.random((rows, length)) < 0.7)).astype(np.float32)
        batch[features.weights][:, 0] = real[:, 0]
    for name in features.packing if packed else ():
        batch[name] = segments if name.endswith("segment_ids") else positions
    return {name: jnp.asarray(value) for name, value in batch.items()}


def apply(config, params, batch, **options):
    """Returns what a model makes of a batch, without dropout."""
    features = config.features
    options |= {name: batch[name] for name in features.options(batch)}
    inputs = [batch[name] for name in features.inputs]
    model = build_model(config)
    return model.apply({"params": params}, *inputs, enable_dropout=False, **options)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _influence(config, params, batch, position):
    def summed(table):
        changed = params | {"token_embedder": {"embedding": table}}
        hidden = apply(config, changed, batch, with_logits=False)[:, position]
        # Summed with unequal factors: a normed vector's plain sum never changes.
        return jnp.sum(hidden * jnp.sin(1.0 + jnp.arange(hidden.shape[-1])))

    return jnp.abs(jax.grad(summed)(params["token_embedder"]["embedding"])).sum(-1)


def influence(config, params, batch, position):
    """Returns how much each token id's vector moves the result at a position; exact zeros count."""
    return np.asarray(_influence(config, params, batch, position))
