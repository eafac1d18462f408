"""A saved step, run again: what every unit and row gave, and where a number first went bad."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.core import Tracer
from jaxtyping import PyTree

from presence_t5x import held_out
from presence_t5x.accumulation import rows_of_units
from presence_t5x.checkpointer import Checkpointer
from presence_t5x.config_types import RunConfig
from presence_t5x.config_types.weighting import UNWEIGHTED
from presence_t5x.convert import stacks, tensors
from presence_t5x.models.families import build_model
from presence_t5x.objective import abstract_state, make_objective, row_loss_fun
from presence_t5x.resilience.bad_steps import Rows, read_rows
from presence_t5x.train_step import TrainState, train_step

_MOST_ROWS = 32  # whose gradients are taken one by one


class Replay(NamedTuple):
    """What a step gave; tables hold one dict a row.

    Attributes:
      step: updates done, this one included.
      skipped: whether it changed nothing, as it did in the run.
      units: each one's score, weight, mean loss, liveness and examples.
      examples: each one's mean loss and score without dropout, and whether both are finite.
      nonfinite_parameters: paths, before the step.
      nonfinite_gradients: paths of the gradient of the rows that are not finite (or of all rows),
        in the order in which the backward pass comes by: from the decoder's end.
      first_nonfinite_layer: of the forward pass; None if all layers are finite.
    """

    step: int
    skipped: bool
    units: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    nonfinite_parameters: list[str]
    nonfinite_gradients: list[str]
    first_nonfinite_layer: str | None


def replay(config: RunConfig, folder: Path) -> Replay:
    """Runs a saved step again, on one device.

    Args:
      config: of the run.
      folder: from `find_bad_step`.

    Raises:
      ValueError: files are damaged, or units were devices' parts, which one device cannot repeat.
    """
    if config.presence.granularity == "shard":
        raise ValueError("granularity='shard' depends on the run's devices and cannot be replayed")
    rows = read_rows(folder)
    weighted = config.temperature.schedule != UNWEIGHTED
    objective = make_objective(config, None)._replace(lists_units=weighted)
    state = Checkpointer(folder).restore(abstract_state(config, objective)).state
    after, metrics = jax.jit(functools.partial(train_step, objective))(state, rows.features)
    examples = _examples(config, state.params, rows)
    suspects = [i for i, row in enumerate(examples) if not row["finite"]] or range(len(examples))
    suspects = np.asarray(suspects)
    return Replay(
        step=int(after.step),
        skipped=int(after.num_skipped_updates) > int(state.num_skipped_updates),
        units=_units(config, metrics, rows),
        examples=examples,
        nonfinite_parameters=_nonfinite(state.params),
        nonfinite_gradients=_nonfinite_gradients(config, state, rows, suspects)[::-1],
        first_nonfinite_layer=first_nonfinite_layer(
            config,
            state.params,
            {name: value[suspects[:1]] for name, value in rows.features.items()},
        ),
    )


def first_nonfinite_layer(config: RunConfig, params: PyTree, rows: PyTree) -> str | None:
    """Returns the module whose output is the first that is not finite, or None.

    The model is run layer by layer, uncompiled; layers that are scanned are taken apart.
    """
    changes: dict[str, Any] = {"scan_layers": False, "remat_policy": "none", "dropout_rate": 0.0}
    model = build_model(dataclasses.replace(config.model, **changes))
    apart = stacks.unroll(tensors.of_tree(jax.device_get(params), "the bad step"))
    params = tensors.nested({path: jnp.asarray(leaf.read()) for path, leaf in apart.items()})
    found: list[str] = []

    def look(next_fun, args, kwargs, context):
        output = next_fun(*args, **kwargs)
        if not found and _nonfinite(output):
            found.append("/".join(context.module.path) or "the model's output")
        return output

    features = model.features
    with nn.intercept_methods(look):
        model.apply(
            {"params": params},
            *(rows[name] for name in features.inputs),
            **{name: rows[name] for name in features.options(rows)},
            enable_dropout=False,
        )
    return found[0] if found else None


def _units(config: RunConfig, metrics: dict[str, Any], rows: Rows) -> list[dict[str, Any]]:
    """Returns the units of a step with the examples of their rows."""
    if "units" not in metrics:
        return []
    values = {name: np.asarray(value) for name, value in metrics["units"].items()}
    members = rows_of_units(len(rows.example_ids), config.presence)
    return [
        {
            "unit": unit,
            **{name: value[unit].item() for name, value in values.items()},
            "example_ids": [rows.example_ids[row] for row in members[unit]],
        }
        for unit in range(len(members))
    ]


def _examples(config: RunConfig, params: PyTree, rows: Rows) -> list[dict[str, Any]]:
    """Returns every row's mean loss and score, without dropout."""
    score = held_out.score_rows(row_loss_fun(config), config.presence)
    losses, num_tokens, scores = map(np.asarray, score(params, rows.features))
    return [
        {
            "row": row,
            "example_id": rows.example_ids[row],
            "language": rows.languages[row],
            "num_tokens": int(num_tokens[row]),
            "loss": float(losses[row] / max(num_tokens[row], 1)),
            "score": float(scores[row]),
            "finite": bool(np.isfinite(losses[row]) and np.isfinite(scores[row])),
        }
        for row in range(len(rows.example_ids))
    ]


def _nonfinite_gradients(
    config: RunConfig, state: TrainState, rows: Rows, suspects: np.ndarray
) -> list[str]:
    """Returns the parameters for which some of these rows have no finite gradient."""
    loss_fun = row_loss_fun(config)

    @jax.jit
    def gradient(params, features):
        return jax.grad(lambda params: jnp.sum(loss_fun(params, features, None)[0]))(params)

    found: set[str] = set()
    for row in suspects[:_MOST_ROWS]:
        features = {name: value[row : row + 1] for name, value in rows.features.items()}
        found.update(_nonfinite(gradient(state.params, features)))
    return [path for path in tensors.leaves_of(state.params) if path in found]


def _nonfinite(tree: PyTree) -> list[str]:
    """Returns the paths of the arrays of a tree that hold a number that is not finite.

    What is only traced (flax checks a parameter's shape so) holds none, nor does a module.
    """
    if isinstance(tree, jax.Array):
        tree = {"": tree}
    if not isinstance(tree, (dict, tuple, list)):
        return []
    leaves = tensors.leaves_of(tree) if isinstance(tree, dict) else dict(enumerate(tree))
    return [
        str(path)
        for path, leaf in leaves.items()
        if hasattr(leaf, "dtype")
        and not isinstance(leaf, Tracer)
        and jnp.issubdtype(leaf.dtype, jnp.floating)
        and not bool(jnp.all(jnp.isfinite(leaf)))
    ]
