"""What scoring costs: the floating-point operations of the compiled function."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from presence_t5x.losses import token_loss
from presence_t5x.models.families import build_model, init_params
from presence_t5x.planning.hlo_cost import program_cost
from presence_t5x.scoring.scorer import compile_ready_score
from presence_t5x.scoring.settings import Settings


def scoring_flops(settings: Settings, layers: Sequence[str] | None, num_rows: int) -> int:
    """Returns the FLOPs of scoring a batch by some layers on one device, loops run out.

    Args:
      settings: of the scoring; no parameter is read.
      layers: patterns; None computes the rows' losses alone.
      num_rows: of the batch.
    """
    if layers is None:
        loss_fun = token_loss(build_model(settings.model), settings.z_loss)
        run = jax.jit(lambda params, features: loss_fun(params, features, None)[:2])
    else:
        config = dataclasses.replace(settings.presence, layers=tuple(layers))
        run = compile_ready_score(settings.model, config, settings.z_loss, None)
    params = jax.eval_shape(lambda key: init_params(settings.model, key), jax.random.key(0))
    inputs, targets = (settings.data.task_feature_lengths[name] for name in ("inputs", "targets"))
    shapes = {
        "encoder_input_tokens": (inputs, jnp.int32),
        "decoder_input_tokens": (targets, jnp.int32),
        "decoder_target_tokens": (targets, jnp.int32),
        "decoder_loss_weights": (targets, jnp.float32),
    }
    features = {
        name: jax.ShapeDtypeStruct((num_rows, length), dtype)
        for name, (length, dtype) in shapes.items()
    }
    return program_cost(run.lower(params, features).compile().as_text() or "").flops
