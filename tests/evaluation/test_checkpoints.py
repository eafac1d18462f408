"""Checkpoints that are read one after another."""

import weakref

from presence_t5x.evaluation import checkpoints


class Params:
    """Of a checkpoint; a weak reference tells whether they are held."""


def test_one_checkpoint_is_held_at_a_time_and_none_while_one_is_read(monkeypatch):
    living = weakref.WeakSet()
    loads = []

    def load(checkpoint, mesh):
        loads.append((checkpoint, len(living)))
        living.add(found := Params())
        return found

    monkeypatch.setattr(checkpoints, "load", load)
    held = checkpoints.OneAtATime(["a", "b"])
    for number in (0, 0, 1, 1, 0):
        held.load(number)
        assert len(living) == 1
    assert loads == [("a", 0), ("b", 0), ("a", 0)]
