"""What the terminal shows of a scoring: speed of this run alone, labels as they are."""

import io
import types

import numpy as np
from rich.console import Console
from tiny_model import SIZES

from presence_t5x.config_types import PresenceConfig, T5Config
from presence_t5x.scoring import display
from presence_t5x.scoring.corpus import DocumentBatch
from presence_t5x.scoring.scorer import Scorer


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)


def test_speed_and_time_left_are_of_this_run():
    bar = display.progress_bar(terminal())
    number = bar.add_task("", total=100, completed=40, done_before=40)
    task = bar.tasks[0]
    speed = bar.columns[-1]
    assert str(speed.render(task)) == ""
    task.start_time -= 100  # longer than what Rich remembers
    bar.update(number, completed=60)
    assert str(speed.render(task)) == "0.2 documents/s, 0:03:20 left"


def test_every_batch_is_reported():
    model = T5Config(vocab_size=384, **SIZES)
    scorer = Scorer(model, PresenceConfig(layers=("encoder/layers_0",)), 0.0, batch_size=2)
    leaves = len(scorer._parts["score"])
    scorer._run = lambda params, features: (np.ones((2, leaves)), np.ones(2), np.ones(2))
    numbers = ((10, 11), (11, 12), (14, -1))
    batches = [DocumentBatch(types.SimpleNamespace(features={}), np.array(n)) for n in numbers]
    reached = []
    scorer.documents(None, batches, range(10, 16), reached.append)
    assert reached == [2, 3, 6]
