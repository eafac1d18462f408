"""Turns: everyone runs once a round, in changing order, after one step that is not timed."""

import itertools

import numpy as np

from presence_t5x.benchmarking.timing import interleave


def test_everyone_has_a_turn_in_every_round():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = interleave(steps, blocks=6, steps_per_block=3)
    turns = [(name, len(list(group))) for name, group in itertools.groupby(calls)]
    assert len(calls) == 6 * 3 * (3 + 1)
    rounds = [calls[start : start + 12 : 4] for start in range(0, len(calls), 12)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1
    assert all(count % 4 == 0 for _, count in turns)
    assert all(values.shape == (6,) and (values > 0).all() for values in seconds.values())


def test_the_first_step_of_a_turn_is_not_timed(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    seconds = interleave({"a": lambda: next(clock)}, blocks=2, steps_per_block=4)
    # The clock advances by one in each of four steps and once in reading it.
    np.testing.assert_array_equal(seconds["a"], [5 / 4, 5 / 4])
