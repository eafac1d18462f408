"""What scoring costs: the floating-point operations of the compiled function."""

import dataclasses
from collections.abc import Sequence

import jax

from presence_t5x.losses import token_loss
from presence_t5x.models.families import build_model, init_params
from presence_t5x.objective import abstract_rows
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
        model = build_model(settings.model)
        loss_fun = token_loss(model, settings.z_loss, most_targets=settings.most_targets)
        run = jax.jit(lambda params, features: loss_fun(params, features, None)[:2])
    else:
        config = dataclasses.replace(settings.presence, layers=tuple(layers))
        run = compile_ready_score(
            settings.model, config, settings.z_loss, settings.most_targets, None
        )
    params = jax.eval_shape(lambda key: init_params(settings.model, key), jax.random.key(0))
    data = dataclasses.replace(settings.data, pack=False)  # a document has rows of its own
    features = abstract_rows(settings.model, data, num_rows)
    return program_cost(run.lower(params, features).compile().as_text() or "").flops
