"""Peers of scoring alone: jax_privacy's per-example norms, plain vmap(grad), and row after row.

All differentiate a row's mean token loss (as the default score has it; written plainly, by logits)
of whatever model, and hand back one squared norm a row. The first two do so with respect to the
scored parameters alone, on as many rows at a time as a microbatch holds; the last forms whole
gradients, one by one.
"""

import importlib
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp

from presence_t5x.benchmarking.contenders import SCORING, Batch, Contender, temp_bytes
from presence_t5x.config_types import RunConfig
from presence_t5x.influence import squared_norm
from presence_t5x.losses import logits_loss
from presence_t5x.models.families import build_model, init_params
from presence_t5x.scored_layers import replace_selected, select_layers, take_selected


def vmap_scoring(config: RunConfig, batch: Batch) -> Contender:
    """Returns vmap(grad) over the scored parameters, microbatch by microbatch."""
    row_loss, params, selected = _problem(config)

    def scores(params, batch):
        def score(row):
            row = jax.tree.map(lambda leaf: leaf[None], row)
            return squared_norm(jax.grad(row_loss)(selected(params), params, row))

        return jax.lax.map(score, batch, batch_size=_microbatch_size(config))

    return _contender("vmap(grad)", "jax.vmap(jax.grad)", config, scores, params, batch)


def one_by_one_scoring(config: RunConfig, batch: Batch) -> Contender:
    """Returns the jitted gradient of all parameters, row after row: the loop that everyone has."""
    row_loss, params, selected = _problem(config)

    def norm_and_gradient(params, row):
        gradient = jax.grad(lambda params: row_loss(selected(params), params, row))(params)
        return squared_norm(selected(gradient)), gradient

    batch = jax.device_put(dict(batch))
    rows = [
        jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch)
        for i in range(config.data.batch_size)
    ]
    compiled = jax.jit(norm_and_gradient).lower(params, rows[0]).compile()
    return Contender(
        title="whole gradients, one by one",
        description=f"jax.jit(jax.grad) of all parameters, {len(rows)} times one row",
        kind=SCORING,
        step=lambda: [jax.block_until_ready(compiled(params, row)[0]) for row in rows],
        value_of=jnp.asarray,
        temp_bytes=temp_bytes(compiled),
    )


def jax_privacy_scoring(config: RunConfig, batch: Batch) -> Contender:
    """Returns the norms of `jax_privacy.clipped_grad` over the scored parameters.

    Its clipped sum is not asked for, so the compiler leaves it out; what remains is its norms.
    """
    jax_privacy: Any = importlib.import_module("jax_privacy")
    row_loss, params, selected = _problem(config)
    clipped_grad = jax_privacy.clipped_grad(
        row_loss,
        l2_clip_norm=1.0,
        batch_argnums=2,
        return_grad_norms=True,
        microbatch_size=_microbatch_size(config),
    )

    def scores(params, batch):
        _, auxiliary = clipped_grad(selected(params), params, batch)
        return jnp.square(auxiliary.grad_norms)

    what = f"clipped_grad of jax_privacy {metadata.version('jax_privacy')}, norms alone"
    return _contender("jax_privacy", what, config, scores, params, batch)


def _problem(config: RunConfig) -> tuple[Any, Any, Any]:
    """Returns a row's mean token loss of (scored parameters, all, row), and the parameters."""
    params = init_params(config.model, jax.random.key(config.random_seed))
    selection = select_layers(params, config.presence.layers)
    loss_fun = logits_loss(build_model(config.model), config.model.features, config.z_loss)

    def row_loss(values, params, row):
        params = replace_selected(params, selection, values)
        loss_sums, num_tokens, _ = loss_fun(params, row, None)
        return jnp.sum(loss_sums) / jnp.maximum(jnp.sum(num_tokens), 1.0)

    return row_loss, params, lambda params: take_selected(params, selection)


def _microbatch_size(config: RunConfig) -> int:
    return config.data.batch_size // config.presence.num_microbatches


def _contender(title: str, what: str, config: RunConfig, scores, params, batch) -> Contender:
    """Compiles scores(params, batch)."""
    batch = jax.device_put(dict(batch))
    compiled = jax.jit(scores).lower(params, batch).compile()
    return Contender(
        title=title,
        description=f"{what}, over {', '.join(config.presence.layers)}, "
        f"{_microbatch_size(config)} rows at a time",
        kind=SCORING,
        step=lambda: jax.block_until_ready(compiled(params, batch)),
        value_of=jnp.asarray,
        temp_bytes=temp_bytes(compiled),
    )
