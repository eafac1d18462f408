"""What the terminal shows of a scoring: speed of this run alone, labels as they are."""

import io
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from tiny_model import SIZES

from presence_t5x.config_types import PresenceConfig, T5Config
from presence_t5x.scoring import display, dropped
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


def test_labels_are_shown_as_they_are_and_all_documents_count(tmp_path):
    found = pa.table(
        {
            "language": ["[/b]", "[/b]", None],
            "num_tokens": [3, 4, 5],
            "loss": [1.0, None, 2.0],
            "score": [1.0, None, 2.0],
        }
    )
    path = tmp_path / "[bold]scores.parquet"
    pq.write_table(found, path)
    console = terminal()
    display.print_languages(console, path)
    shown = console.file.getvalue()
    assert "[bold]scores.parquet" in "".join(shown.split())
    lines = [line.replace("│", " ").split() for line in shown.splitlines()]
    assert ["[/b]", "2", "1", "1", "1"] in lines and ["?", "1", "2", "2", "2"] in lines
    rows = dropped.summarize(found, np.array([True, False, False]), np.ones(3, bool))
    dropped.print_report(console := terminal(), rows)
    assert [row["language"] for row in rows] == ["", "[/b]", "all"]
    assert "[/b]" in console.file.getvalue()
