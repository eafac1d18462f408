"""Intact inputs, small, each made once when a case first asks for it; cases spoil copies."""

import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import synthetic_runs
import tiny_model

from presence_t5x.config_types import T5Config
from presence_t5x.convert import stacks, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.writers import write_checkpoint
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.prepared import write_store
from presence_t5x.data.text_files import FilesSource
from presence_t5x.data.token_store import open_store
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.models.families import init_params

NUM_DOCUMENTS = 30


class Valid:
    """Paths of intact inputs in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.vocabulary = Path(vocabulary_file())

    @functools.cached_property
    def texts(self) -> Path:
        path = self.folder / "texts.jsonl"
        rows = [{"id": f"d{i}", "text": f"document {i} " * 5} for i in range(NUM_DOCUMENTS)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    @functools.cached_property
    def store(self) -> Path:
        directory = self.folder / "store"
        write_store(FilesSource(str(self.texts)), directory, load_vocabulary(str(self.vocabulary)))
        return directory

    @functools.cached_property
    def scores(self) -> Path:
        """Of `store`, beside their manifest."""
        folder = self.folder / "scores"
        folder.mkdir()
        store = open_store(self.store)
        documents = list(store)
        columns = {name: [getattr(d, name) for d in documents] for name in ("language", "source")}
        split = [store.labels("split")[code] for code in store.codes["split"]]
        table = {
            "example_id": [d.id for d in documents],
            **columns,
            "noise": [d.noise for d in documents],
            "split": split,
            "num_tokens": np.asarray(store.token_counts, np.int64),
            "loss": np.arange(NUM_DOCUMENTS, dtype=float),
            "score": np.arange(NUM_DOCUMENTS, dtype=float),
        }
        pq.write_table(pa.table(table), folder / "scores.parquet")
        manifest = {
            "content_sha256": store.manifest["content_sha256"],
            "store": str(store.directory),
        }
        (folder / "scores.parquet.manifest.json").write_text(json.dumps(manifest))
        return folder

    @functools.cached_property
    def content(self) -> Content:
        """A model at random, without an optimizer's state."""
        config = T5Config(vocab_size=384, dtype="float32", scan_layers=True, **tiny_model.SIZES)
        params = stacks.unroll(tensors.of_tree(init_params(config, jax.random.key(0)), "random"))
        return Content(config, params, None, 3)

    @functools.cached_property
    def huggingface(self) -> Path:
        return write_checkpoint(self.folder / "hf", self.content, "hf").location

    @functools.cached_property
    def t5x(self) -> Path:
        return write_checkpoint(self.folder / "t5x", self.content, "t5x").location

    @functools.cached_property
    def presence(self) -> Path:
        """A MODEL_DIR."""
        return write_checkpoint(self.folder / "presence", self.content, "presence").location

    @functools.cached_property
    def runs(self) -> Path:
        """With `baseline` and `presence`."""
        folder = self.folder / "runs"
        synthetic_runs.write_pair(folder, steps=50, languages=("en", "sw"))
        return folder

    def copy(self, name: str, folder: Path) -> Path:
        """Copies one of the above into a folder; returns the copy."""
        path = getattr(self, name)
        copied = folder / path.name
        if path.is_dir():
            shutil.copytree(path, copied)
        else:
            shutil.copy(path, copied)
        return copied
