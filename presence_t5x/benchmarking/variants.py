"""Our own contenders: the unweighted step, every kind of weighted one, and scoring alone.

A variant is the run's configuration with another `PresenceConfig`; everything else is the run's.
"""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np

from presence_t5x._validate import did_you_mean
from presence_t5x.benchmarking.contenders import (
    SCORING,
    TRAINING,
    Batch,
    Contender,
    stateful_step,
    temp_bytes,
)
from presence_t5x.config_types import RunConfig
from presence_t5x.gradients import example_scores
from presence_t5x.models.families import init_params
from presence_t5x.objective import compile_ready_step, initial_state, make_mesh, make_objective
from presence_t5x.partitioning import batch_sharding
from presence_t5x.train_step import Objective

UNWEIGHTED = "unweighted"


class Variant(NamedTuple):
    """One of our steps.

    Attributes:
      units: granularity, accumulator and normalizer; None does not weigh and is the same step
        whatever the run's units are.
      baseline: the variant that its time is divided by.
      one_microbatch: the whole batch is differentiated at once.
      kind: TRAINING or SCORING.
    """

    title: str
    units: tuple[str, str, str] | None
    baseline: str = UNWEIGHTED
    one_microbatch: bool = False
    kind: str = TRAINING


VARIANTS = {
    UNWEIGHTED: Variant("unweighted", None),
    "stored": Variant("microbatch, stored, batch", ("microbatch", "stored", "batch")),
    "streaming": Variant("microbatch, streaming, ema", ("microbatch", "streaming", "ema")),
    "shard": Variant("shard, streaming, ema", ("shard", "streaming", "ema")),
    "example": Variant("example, batch", ("example", "stored", "batch")),
    "example_ema": Variant("example, ema", ("example", "streaming", "ema")),
    "unweighted_whole": Variant(
        "unweighted, 1 microbatch", None, "unweighted_whole", one_microbatch=True
    ),
    "example_whole": Variant(
        "example, batch, 1 microbatch",
        ("example", "stored", "batch"),
        "unweighted_whole",
        one_microbatch=True,
    ),
    "scoring": Variant("scoring alone", ("example", "stored", "batch"), kind=SCORING),
}


def with_baselines(names: Iterable[str]) -> list[str]:
    """Returns the variants with the baselines that ratios need, in order of the table.

    Raises:
      ValueError: an unknown name.

    >>> with_baselines(["example_whole", "stored"])
    ['unweighted', 'stored', 'unweighted_whole', 'example_whole']
    """
    names = list(names)
    for name in names:
        if name not in VARIANTS:
            raise ValueError(
                f"variant {name!r} is unknown; use some of {','.join(VARIANTS)}"
                f"{did_you_mean(name, VARIANTS)}"
            )
    wanted = {UNWEIGHTED, *names, *(VARIANTS[name].baseline for name in names)}
    return [name for name in VARIANTS if name in wanted]


def check_variants(config: RunConfig, names: Iterable[str]) -> None:
    """Refuses a run that one of the variants cannot step through; compiles nothing.

    Raises:
      ValueError: rows that devices and microbatches do not divide, or layers that match nothing.
    """
    for name in names:
        changed = _with_weighting(config, VARIANTS[name])
        make_objective(changed, make_mesh(changed))


def make_variant(config: RunConfig, name: str, batch: Batch) -> Contender:
    """Compiles one of our steps for the run's model, sizes and batch."""
    variant = VARIANTS[name]
    config = _with_weighting(config, variant)
    if variant.kind == SCORING:
        return _scoring(config, variant, batch)
    objective = make_objective(config, make_mesh(config))
    state, placed = initial_state(config, objective), _placed(objective, batch)
    compiled = compile_ready_step(config, objective).lower(state, placed).compile()
    return Contender(
        title=variant.title,
        description=_describe(variant, config),
        kind=TRAINING,
        step=stateful_step(compiled, state, placed),
        value_of=lambda metrics: float(metrics["train/loss"]),
        temp_bytes=temp_bytes(compiled),
    )


def _with_weighting(config: RunConfig, variant: Variant) -> RunConfig:
    """Returns the run with the variant's units; everything but the weighting is the run's."""
    presence = dataclasses.replace(config.presence, target_effective_sample_size=None)
    if variant.one_microbatch:
        presence = dataclasses.replace(presence, num_microbatches=1)
    granularity, accumulator, normalizer = variant.units or ("microbatch", "stored", "batch")
    presence = dataclasses.replace(
        presence, granularity=granularity, accumulator=accumulator, normalizer=normalizer
    )
    schedule = UNWEIGHTED if variant.units is None else "two_stage"
    temperature = dataclasses.replace(config.temperature, schedule=schedule, points=())
    return dataclasses.replace(config, temperature=temperature, presence=presence)


def _placed(objective: Objective, batch: Batch):
    """Returns the batch on the devices, as a run lays it."""
    return jax.device_put(
        dict(batch), None if objective.mesh is None else batch_sharding(objective.mesh)
    )


def _scoring(config: RunConfig, variant: Variant, batch: Batch) -> Contender:
    """Returns the scores of all rows, as probes need them: no update, no dropout, one device."""
    objective = make_objective(config, None)
    params = init_params(config.model, jax.random.key(config.random_seed))
    batch = jax.device_put(dict(batch))

    def scores(params, batch):
        return example_scores(
            objective.loss_fun, params, batch, config=objective.config, has_aux=True
        )[0]

    compiled = jax.jit(scores).lower(params, batch).compile()
    return Contender(
        title=variant.title,
        description=f"example_scores over {', '.join(config.presence.layers)}, "
        f"{config.presence.num_microbatches} microbatches, no update",
        kind=SCORING,
        step=lambda: jax.block_until_ready(compiled(params, batch)),
        value_of=np.asarray,
        temp_bytes=temp_bytes(compiled),
    )


def _describe(variant: Variant, config: RunConfig) -> str:
    """Says what a training step does."""
    presence = config.presence
    if variant.units is None:
        return f"gradients summed in place over {presence.num_microbatches} microbatches, no score"
    return (
        f"granularity={presence.granularity}, accumulator={presence.accumulator}, "
        f"normalizer={presence.normalizer}, {presence.num_microbatches} microbatches, scores of "
        f"{', '.join(presence.layers)}"
    )
