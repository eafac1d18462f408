"""Documents held in memory as a source of a store, and what a store's files hold."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator

from presence_t5x.data.documents import Document, LocatedDocument, Part, Problem
from presence_t5x.data.store_writer import prepare_store

BROKEN, SLOW = "<broken>", "<slow>"


@dataclasses.dataclass(frozen=True)
class MemorySource:
    """Tasks of (name, rate, documents), each cut into parts of `part_size` documents.

    A document whose text is BROKEN is reported as a problem, one that is SLOW takes two minutes.
    `split` None splits by id.
    """

    tasks: tuple[tuple[str, float, tuple[Document, ...]], ...]
    part_size: int = 1000
    split: str | None = "train"

    def parts(self) -> list[Part]:
        return [
            Part(name=f"{name}[{start}]", task=name, split=self.split, num_bytes=start + 1)
            for name, _, documents in self.tasks
            for start in range(0, max(len(documents), 1), self.part_size)
        ]

    def read(self, part, report) -> Iterator[LocatedDocument]:
        start = part.num_bytes - 1
        documents = next(found for name, _, found in self.tasks if name == part.task)
        for line, document in enumerate(documents[start : start + self.part_size], start + 1):
            if document.text == BROKEN:
                report(Problem(part.task, line, "broken", "is broken; repair it"))
            else:
                if document.text == SLOW:
                    time.sleep(120)
                yield LocatedDocument(document, line)

    def task_rates(self):
        return {name: rate for name, rate, _ in self.tasks}

    def parameters(self):
        return {"tasks": [name for name, _, _ in self.tasks], "part_size": self.part_size}


class BatchTokenizer:
    """A function from a text to ids, as the store's tokenizer."""

    def __init__(self, encode):
        self._encode = encode

    def encode_batch(self, texts):
        import numpy as np

        return [np.asarray(self._encode(text), np.int32) for text in texts]


def make_store(directory, groups, encode, **settings):
    """A store of [(task, rate, documents)]."""
    source = MemorySource(tuple((name, rate, tuple(found)) for name, rate, found in groups))
    vocabulary = {"sha256": "v", "num_ids": 400}
    return prepare_store(
        source, directory, BatchTokenizer(encode), vocabulary=vocabulary, **settings
    )


def contents(directory):
    """Every byte but the manifest's command."""
    digests = {}
    for file in sorted(directory.iterdir()):
        content = file.read_bytes()
        if file.name == "manifest.json":
            manifest = json.loads(content)
            del manifest["command"]
            content = json.dumps(manifest).encode()
        digests[file.name] = hashlib.sha256(content).hexdigest()
    return digests
