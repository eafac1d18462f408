"""A small encoder-decoder shaped loss with everything that must not go wrong in its batches."""

import jax
import jax.numpy as jnp
import numpy as np

from presence_t5x import ghost_norms

VOCABULARY, WIDTH, LENGTH = 13, 6, 5
SCORED_PATHS = (("encoder", "layers_0"), ("decoder", "layers_0"))


def init_params(seed=0):
    """Returns float32 parameters; layers_10 is there to be mistaken for layers_1."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[0]), jnp.float32)

    def layer():
        return {"kernel": array(WIDTH, WIDTH), "scale": 1 + 0.1 * array(WIDTH)}

    return {
        "token_embedder": {"embedding": array(VOCABULARY, WIDTH)},
        "encoder": {f"layers_{i}": layer() for i in (0, 1, 10)},
        "decoder": {"layers_0": layer()},
        "logits_dense": {"kernel": array(WIDTH, VOCABULARY)},
    }


def loss_fun(params, batch, rng):
    """Returns per-row (sum of token losses, token count); rng None is deterministic."""

    def apply_layer(hidden, half, name):
        layer = params[half][name]
        return jnp.tanh(hidden @ layer["kernel"]) * layer["scale"]

    return _row_losses(params, batch, rng, apply_layer)


class ProbedLoss:
    """The same with norm probes for the scored layers, whose gradients kinks make NaN too."""

    def __call__(self, params, batch, rng):
        return self.probed(params, {}, batch, rng)

    def probed(self, params, probes, batch, rng):
        def apply_layer(hidden, half, name):
            layer, asked = params[half][name], probes.get(half, {}).get(name, {})
            none = jnp.zeros(len(hidden))
            hidden = ghost_norms.dense(hidden, layer["kernel"], asked.get("kernel", none))
            hidden = ghost_norms.scale(jnp.tanh(hidden), layer["scale"], asked.get("scale", none))
            return hidden + 0.0 * jnp.sqrt(1.0 - batch["kink"][:, None, None] + 0.0 * hidden)

        return _row_losses(params, batch, rng, apply_layer)

    def weighted_sum(self, params, factors, batch, rng):
        return jnp.sum(jax.lax.stop_gradient(factors) * self(params, batch, rng)[0])

    def probe_shape(self, path, rows):
        return (rows,) if tuple(path[:-1]) in SCORED_PATHS else None


def _row_losses(params, batch, rng, apply_layer):
    hidden = params["token_embedder"]["embedding"][batch["tokens"]]
    hidden = hidden + batch["offset"][:, None, None]
    if rng is not None:
        hidden = hidden * jax.random.bernoulli(rng, 0.8, hidden.shape) / 0.8
    for half, name in (*(("encoder", name) for name in params["encoder"]), SCORED_PATHS[1]):
        hidden = hidden + apply_layer(hidden, half, name)
    logits = hidden @ params["logits_dense"]["kernel"]
    log_probabilities = jax.nn.log_softmax(logits)
    token_losses = -jnp.take_along_axis(log_probabilities, batch["targets"][..., None], axis=-1)
    losses = jnp.sum(token_losses[..., 0] * batch["mask"], axis=-1)
    # Its value is 1 for kink 0 and 0 for kink 1, where the gradient alone is NaN.
    head = jnp.sum(params["logits_dense"]["kernel"])
    kinked = jnp.sqrt(1.0 - batch["kink"] + 0.0 * head)
    return losses + 0.0 * kinked, jnp.sum(batch["mask"], axis=-1)


def loss_fun_with_metrics(params, batch, rng):
    """The same with summable metrics."""
    losses, num_tokens = loss_fun(params, batch, rng)
    return losses, num_tokens, {"num_rows": jnp.float32(losses.shape[0]), "loss": losses.sum()}


def make_batch(seed=0, num_rows=16, padding_rows=(), nonfinite_rows=(), kinked_rows=()):
    """Returns a batch of unequal token counts, with padding-only and poisonous rows where told."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, LENGTH + 1, num_rows)
    lengths[list(padding_rows)] = 0
    offset = np.zeros(num_rows, np.float32)
    offset[list(nonfinite_rows)] = np.nan
    kink = np.zeros(num_rows, np.float32)
    kink[list(kinked_rows)] = 1.0
    return {
        "tokens": jnp.asarray(rng.integers(0, VOCABULARY, (num_rows, LENGTH))),
        "targets": jnp.asarray(rng.integers(0, VOCABULARY, (num_rows, LENGTH))),
        "mask": jnp.asarray(np.arange(LENGTH)[None] < lengths[:, None], jnp.float32),
        "offset": jnp.asarray(offset),
        "kink": jnp.asarray(kink),
    }
