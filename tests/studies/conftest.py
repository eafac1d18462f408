"""A tiny model's run and a small corpus in two languages, shared by the studies' tests."""

import json

import pytest
import tiny_model

WORDS = ["river", "town", "sea", "noon", "house", "garden", "road", "bridge", "market", "winter"]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A run with checkpoints 2 and 4."""
    return tiny_model.train_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """30 documents in each of two languages, some labelled as noise, one too short."""
    rows = [
        {
            "id": f"{language}-{i}",
            "text": " ".join(WORDS[(i * (j + 1) + j) % 10] for j in range(36)) + ".",
            "lang": language,
            "source": ("wiki_a", "help")[i % 2],
        }
        for language in ("de", "en")
        for i in range(30)
    ]
    rows.append({"id": "short", "text": "too short", "lang": "en"})
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
