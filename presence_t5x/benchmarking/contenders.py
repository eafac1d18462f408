"""What is timed: a contender is a step that runs to its end, whoever wrote it.

Ours and the peers' alike get the same configuration and the same batch of random tokens (what is
read is not what is measured) and hand back a `Contender`, so that one loop times them all.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from presence_t5x.config_types import RunConfig, T5Config
from presence_t5x.models.families import build_model
from presence_t5x.objective import abstract_batch

TRAINING, SCORING = "training", "scoring"
Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """One step, compiled and with its state inside.

    Attributes:
      title: how tables and plots name it.
      description: what exactly is timed.
      kind: TRAINING (an update of all parameters) or SCORING (one score a row, no update).
      step: runs one step and returns when it has finished; its result goes to `value_of`.
      value_of: a step's result to numbers: the mean token loss before the update, or the scores.
      temp_bytes: temporary memory of the compiled step; None where nothing is compiled.
    """

    title: str
    description: str
    kind: str
    step: Callable[[], Any]
    value_of: Callable[[Any], Any]
    temp_bytes: int | None = None


def random_batch(config: RunConfig) -> dict[str, np.ndarray]:
    """Returns full rows of random tokens (and labels), the same for every contender."""
    rng, features = np.random.default_rng(0), config.model.features
    shapes = abstract_batch(config, None)

    def values(name: str) -> np.ndarray:
        shape = shapes[name].shape
        is_label = len(shape) == 1
        smallest, end = (0, num_outputs) if is_label else (2, config.model.vocab_size)
        return rng.integers(smallest, end, shape, dtype=np.int32)

    num_outputs = build_model(config.model).num_outputs
    batch = {name: values(name) for name in features.required if name != features.weights}
    if features.weights is not None:
        shape = shapes[features.weights].shape
        counts = np.arange(shape[1]) < (config.data.most_targets or shape[1])
        batch[features.weights] = np.broadcast_to(counts, shape).astype(np.float32)
    if "decoder_input_tokens" in batch:
        batch["decoder_input_tokens"] = np.pad(batch[features.targets][:, :-1], ((0, 0), (1, 0)))
    return batch


def tokens_per_step(config: RunConfig) -> int:
    """Returns the tokens of a step in all stacks: encoder plus decoder."""
    return config.data.batch_size * sum(config.row_lengths.values())


def t5_of(config: RunConfig) -> T5Config:
    """Returns the sizes of a T5, which T5X's and Hugging Face's mT5 are given.

    Raises:
      ValueError: another family.
    """
    if not isinstance(config.model, T5Config):
        raise ValueError(
            f"{type(config.model).__name__}: this peer's model is an encoder-decoder; leave it "
            "out (--peers=none)"
        )
    return config.model


def stateful_step(compiled: Any, state: Any, batch: Any) -> Callable[[], Any]:
    """Returns a step that runs (state, batch) -> (state, result) and keeps the state.

    `compiled` may take its state's memory (donation): nothing else may hold it.
    """
    held = [state]

    def step():
        held[0], result = compiled(held[0], batch)
        jax.block_until_ready((held[0], result))
        return result

    return step


def temp_bytes(compiled: Any) -> int | None:
    """Returns the temporary memory of a compiled function, if its backend tells."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def num_cores() -> int:
    """Returns how many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(allowed(0)) if allowed else os.cpu_count() or 1
