"""Runs contenders in turns, so that whatever else the machine does meets all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float


def interleave(
    steps: Mapping[str, Callable[[], Any]], *, blocks: int, steps_per_block: int
) -> dict[str, Float[np.ndarray, " blocks"]]:
    """Returns every contender's seconds per step in each of `blocks` rounds.

    In a round every contender runs once, in an order drawn anew: `steps_per_block` steps that are
    timed together, after one that is not, which meets what the contender before left behind (full
    caches, another library's threads that still spin).

    >>> seconds = interleave({"a": lambda: None, "b": lambda: None}, blocks=3, steps_per_block=2)
    >>> sorted(seconds), seconds["a"].shape
    (['a', 'b'], (3,))
    """
    names = list(steps)
    orders = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(blocks):
        for name in orders.permutation(names):
            step = steps[name]
            step()
            start = time.perf_counter()
            for _ in range(steps_per_block):
                step()
            seconds[name].append((time.perf_counter() - start) / steps_per_block)
    return {name: np.array(values) for name, values in seconds.items()}
