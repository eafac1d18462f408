"""Span corruption and pairs give the bits that they gave before there were other objectives.

Regenerate (only if rows are meant to change): python tests/data/test_unchanged_rows.py
"""

import dataclasses
import hashlib
import tempfile
import types
from pathlib import Path

import memory_source
import numpy as np
import pytest

from presence_t5x.config_types import DataConfig
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.documents import Document
from presence_t5x.data.mixing import make_groups

VOCABULARY = types.SimpleNamespace(vocab_size=5000, eos_id=1, extra_ids=100)
CONFIG = DataConfig(
    mixture_or_task_name="t",
    task_feature_lengths={"inputs": 32, "targets": 8},
    batch_size=8,
    seed=7,
)
# Of commit 0d4e22f, the last one with a single objective.
DIGESTS = {
    (False, "text"): "e031b7788bde53f1",
    (True, "text"): "c7e144147b847b61",
    (False, "both"): "2cfe4b40d0617cb9",
    (True, "both"): "c8a04668b8902573",
}


def digest(directory, pack, kind):
    """SHA-256 of the features and ids of 12 batches."""
    rng = np.random.default_rng(0)

    def words(size):
        return " ".join(map(str, rng.integers(3, 4000, size)))

    text = tuple(Document(words(rng.integers(1, 120)), f"d{i}", "sw") for i in range(60))
    pairs = tuple(Document(words(3), f"p{i}", "ro", inputs=words(9)) for i in range(40))
    groups = [("text", 2.0, text)] + ([("pairs", 1.0, pairs)] if kind == "both" else [])
    store = memory_source.make_store(directory, groups, lambda found: [*map(int, found.split())])
    config = dataclasses.replace(CONFIG, pack=pack)
    batches = PreparedBatches(make_groups([store], "train"), config, VOCABULARY)
    hashed = hashlib.sha256()
    for step in range(12):
        batch = batches.batch_at(step)
        for name, values in sorted(batch.features.items()):
            hashed.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
        hashed.update(repr(batch[1:]).encode())
    return hashed.hexdigest()[:16]


@pytest.mark.parametrize(("pack", "kind"), DIGESTS)
def test_rows_are_those_of_before(pack, kind, tmp_path):
    assert digest(tmp_path / "s", pack, kind) == DIGESTS[pack, kind]


if __name__ == "__main__":
    for pack, kind in DIGESTS:
        with tempfile.TemporaryDirectory() as folder:
            print((pack, kind), digest(Path(folder, "s"), pack, kind))
