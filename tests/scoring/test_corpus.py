"""Documents as rows: each is read once, when its rows are asked for."""

import json

import pytest
from tiny_model import LENGTHS, SENTENCE

from presence_t5x.config_types import DataConfig
from presence_t5x.data.prepared import write_store
from presence_t5x.data.text_files import FilesSource
from presence_t5x.data.token_store import TokenStore
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.scoring.corpus import Corpus


@pytest.fixture
def corpus(tmp_path):
    texts = ["x", SENTENCE * 9, SENTENCE]
    lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    vocabulary = load_vocabulary("bytes")
    store = write_store(FilesSource(str(tmp_path / "texts.jsonl")), tmp_path / "all", vocabulary)
    data = DataConfig(
        mixture_or_task_name="local_text", local_text_files="x", task_feature_lengths=LENGTHS
    )
    return Corpus(store, data, vocabulary, 0)


def test_a_document_is_read_once(corpus, monkeypatch):
    read, original = [], TokenStore.__getitem__

    def counted(self, index):
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(TokenStore, "__getitem__", counted)
    batches = corpus.batches(range(3), 4)
    assert (next(batches).documents == 1).all() and read == [1]
    rest = [number for batch in batches for number in batch.documents]
    assert rest.count(1) > 8 and rest.count(2) == 2 and read == [1, 2]
