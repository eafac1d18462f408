"""Seconds per step of the weighted steps over the unweighted one, in interleaved blocks of one run.

`python -m presence_t5x.benchmark [--gin_file=configs/runs/benchmark.gin] [--gin.NAME=VALUE]
[--blocks=N] [--steps_per_block=N]`. Every variant is compiled on its own and takes its turn in
every round, so that whatever else the machine does meets all of them alike; the figure is the ratio
of medians. The data are random tokens: what is read is not what is measured.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from presence_t5x.config import load_config, parse_arguments
from presence_t5x.config_types import PresenceConfig, RunConfig
from presence_t5x.host_memory import keep_freed_memory
from presence_t5x.models.t5 import init_params
from presence_t5x.train import make_objective
from presence_t5x.train_step import Objective, TrainState, init_train_state, train_step

UNWEIGHTED = "unweighted"
VARIANTS: dict[str, dict[str, Any]] = {
    UNWEIGHTED: {},
    "microbatch, stored, batch": {"accumulator": "stored", "normalizer": "batch"},
    "microbatch, streaming, ema": {"accumulator": "streaming", "normalizer": "ema"},
    "example, batch": {"granularity": "example"},
    "example, streaming, ema": {"granularity": "example", "normalizer": "ema"},
}


class Timing(NamedTuple):
    """One variant's result: median seconds per step, and its ratio to the unweighted step."""

    variant: str
    seconds_per_step: float
    ratio: float


def measure(
    config: RunConfig,
    *,
    blocks: int,
    steps_per_block: int,
    variants: Sequence[str] = tuple(VARIANTS),
) -> list[Timing]:
    """Returns each variant's median time per step over `blocks` interleaved blocks.

    Args:
      config: model, batch size, lengths and microbatches; its data are not read.
      blocks: rounds in which every variant runs once.
      steps_per_block: steps that are timed together.
      variants: of `VARIANTS`; the unweighted step is always among them.
    """
    batch = _random_batch(config)
    names = [UNWEIGHTED, *(name for name in variants if name != UNWEIGHTED)]
    steps, states = {}, {}
    for name in names:
        objective = _objective(config, name)
        state = jax.jit(functools.partial(_initial_state, objective, config))()
        steps[name] = jax.jit(functools.partial(train_step, objective), donate_argnums=0)
        states[name], _ = steps[name](state, batch)  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for block in range(blocks):
        for name in names[block % len(names) :] + names[: block % len(names)]:
            start = time.perf_counter()
            for _ in range(steps_per_block):
                states[name], metrics = steps[name](states[name], batch)
            jax.block_until_ready((states[name], metrics))
            seconds[name].append((time.perf_counter() - start) / steps_per_block)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return [Timing(name, medians[name], medians[name] / medians[UNWEIGHTED]) for name in names]


def _objective(config: RunConfig, variant: str) -> Objective:
    """Returns the objective of a variant; everything but the weighting is the run's."""
    schedule = "unweighted" if variant == UNWEIGHTED else "two_stage"
    temperature = dataclasses.replace(config.temperature, schedule=schedule)
    presence = dataclasses.asdict(PresenceConfig()) | {
        "num_microbatches": config.presence.num_microbatches,
        "loss_normalizer": config.presence.loss_normalizer,
    }
    weighting = PresenceConfig(**(presence | VARIANTS[variant]))
    return make_objective(dataclasses.replace(config, temperature=temperature, presence=weighting))


def _initial_state(objective: Objective, config: RunConfig) -> TrainState:
    params = init_params(config.model, jax.random.key(config.random_seed))
    return init_train_state(objective, params)


def _random_batch(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns full rows of random tokens."""
    rng = np.random.default_rng(0)
    rows = config.data.batch_size
    inputs, targets = (config.data.task_feature_lengths[name] for name in ("inputs", "targets"))

    def tokens(length):
        return rng.integers(2, config.model.vocab_size, (rows, length), dtype=np.int32)

    return {
        "encoder_input_tokens": tokens(inputs),
        "decoder_input_tokens": tokens(targets),
        "decoder_target_tokens": tokens(targets),
        "decoder_loss_weights": np.ones((rows, targets), np.float32),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    keep_freed_memory()
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    options = {"--blocks": 15, "--steps_per_block": 4}
    try:
        for argument in rest:
            name, _, value = argument.partition("=")
            if name not in options or not value.isdigit():
                raise ValueError(
                    f"unknown argument {argument!r}; use {sorted(options)} with =NUMBER"
                )
            options[name] = int(value)
        config = load_config(files or ["configs/runs/benchmark.gin"], bindings)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    timings = measure(
        config, blocks=options["--blocks"], steps_per_block=options["--steps_per_block"]
    )
    lengths = config.data.task_feature_lengths
    console = Console(width=100 if not sys.stdout.isatty() else None)
    table = Table(
        title=f"emb {config.model.emb_dim}, {config.model.num_encoder_layers}+"
        f"{config.model.num_decoder_layers} layers, vocabulary {config.model.vocab_size}, batch "
        f"{config.data.batch_size} x ({lengths['inputs']} + {lengths['targets']}), "
        f"{config.presence.num_microbatches} microbatches; {jax.device_count()} "
        f"{jax.devices()[0].platform} device(s)"
    )
    for title in ("step", "seconds per step", "over unweighted"):
        table.add_column(title, justify="left" if title == "step" else "right")
    for timing in timings:
        table.add_row(timing.variant, f"{timing.seconds_per_step:.4f}", f"{timing.ratio:.3f}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
