"""A scored corpus as `python -m presence_t5x.score` leaves it, of texts that are hard to show."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory_source import MemorySource

from presence_t5x.data.documents import Document
from presence_t5x.data.prepared import write_store
from presence_t5x.data.token_store import open_store
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.influence_log import DIRECTORY, SCHEMA

ATTACK = (
    "</script><script>window.hacked = 1</script><img src=x onerror=\"window.hacked = 2\">"
    "<svg onload=window.hacked=3></svg><a href=javascript:window.hacked=4>&amp;"
)  # fmt: skip
HOSTILE_ID = '<b onmouseover="window.hacked = 5">id</b>\'"&'
HOSTILE_SOURCE = '"><script>window.hacked = 6</script>'
# id: (language, text); their scores are the highest, in this order.
SPECIAL = {
    HOSTILE_ID: ("en", ATTACK),
    "bidi": ("en", "left \u202egnitirw neddih\u202c \u2066isolated"),
    "nul": ("en", "a\0b\x1b[31m\x7f"),
    "arabic": ("ar", "يجري النهر عبر المدينة القديمة ثم يصل إلى البحر"),
    "persian": ("fa", "می‌خواهم کتاب‌ها را بخوانم"),  # with zero-width non-joiners
    "hindi": ("hi", "नदी पुराने शहर से होकर बहती है, क्ष‍त्रिय"),
    "chinese": ("zh", "河流穿过古老的城市，一直流到大海。"),
    "newlines": ("en", "one\r\n\n  two\tthree"),
}
SHOWN = {
    "nul": "a�b�[31m�",
    "newlines": "one\n\n  two\tthree",
}  # fmt: skip
WORDS = ("river", "town", "sea", "mountain", "Bread", "copper", "letter", "night")
LANGUAGES = ("en", "ar", "fa", "hi", "zh", "sw")


def write_scored(directory, num_documents=300):
    """Writes scores.parquet, its manifest and the store; returns the path of the scores."""
    random = np.random.default_rng(5)
    documents = [
        Document(text, name, language=language, source=HOSTILE_SOURCE)
        for name, (language, text) in SPECIAL.items()
    ]
    for number in range(num_documents - len(documents)):
        words = " ".join(WORDS[i] for i in random.integers(len(WORDS), size=6))
        documents.append(
            Document(
                f"{words} {number}",
                f"doc-{number:04}",
                language=LANGUAGES[int(random.integers(len(LANGUAGES)))],
                source=("web", "wiki")[int(random.integers(2))],
            )
        )
    # No reader of files lets a NUL pass, so the documents come from memory.
    source = MemorySource((("corpus", 1.0, tuple(documents)),))
    store = write_store(source, directory / "scores.parquet.tokens", load_vocabulary("bytes"))
    records = [store[i] for i in range(len(store))]
    scores = random.lognormal(0, 1, len(store)).round(1)  # many are equal
    scores[random.random(len(store)) < 0.1] = np.nan
    for rank, name in enumerate(SPECIAL):
        scores[[record.id for record in records].index(name)] = 1000.0 - rank
    columns = {
        "example_id": [record.id for record in records],
        "language": [record.language for record in records],
        "source": [record.source for record in records],
        "noise": [""] * len(store),
        "split": ["train"] * len(store),
        "num_tokens": store.token_counts.astype(np.int64),
    }
    return write_scores(directory / "scores.parquet", columns, scores, store)


def write_scores(path, columns, scores, store=None):
    """Writes the parquet file; with a store its manifest too."""
    random = np.random.default_rng(6)
    numbers = {
        "loss": random.normal(3, 0.5, len(scores)),
        "score": scores,
        "score_encoder": scores * 0.25,
        "score_decoder": scores * 0.75,
    }
    arrays = {name: pa.array(values, from_pandas=True) for name, values in numbers.items()}
    pq.write_table(pa.table({**columns, **arrays}), path)
    if store is not None:
        manifest = {
            "checkpoints": [{"step": 7}],
            "layers": ["encoder/layers_0"],
            "input": str(path.parent / "texts.jsonl"),
            "content_sha256": open_store(store.directory).manifest["content_sha256"],
            "store": str(store.directory),
        }
        path.with_name(f"{path.name}.manifest.json").write_text(json.dumps(manifest))
    return path


def write_influence_log(run_dir, num_steps=30):
    """Writes influence.parquet of two hosts, that share one unit; returns the rows."""
    random = np.random.default_rng(7)
    rows = []
    for step in range(1, num_steps + 1):
        live = [True, True, True, step % 5 != 0]
        weights = random.dirichlet(np.ones(4)) * live
        weights /= weights.sum()
        scores = random.lognormal(0, 1, 4)
        for host in (0, 1):
            for unit in ((0, 1), (1, 2, 3))[host]:
                counts = {
                    language: int(random.integers(1, 4))
                    for language in random.choice(["en", "sw", "zh"], 2, replace=False)
                }
                rows.append(
                    {
                        "host": host,
                        "step": step,
                        "unit": unit,
                        "example_ids": ["x"] * sum(counts.values()),
                        "languages": list(counts.items()),
                        "num_tokens": int(random.integers(50, 100)),
                        "score": float(np.float32(scores[unit])) if live[unit] else float("nan"),
                        "weight": float(np.float32(weights[unit])),
                        "live": live[unit],
                        "temperature": 1.0,
                    }
                )
    (run_dir / DIRECTORY).mkdir()
    for host in (0, 1):
        own = [{k: v for k, v in row.items() if k != "host"} for row in rows if row["host"] == host]
        for part in (0, 1):
            half = own[part * len(own) // 2 : (part + 1) * len(own) // 2]
            path = run_dir / DIRECTORY / f"{half[-1]['step']:012d}.{host}.parquet"
            pq.write_table(pa.Table.from_pylist(half, SCHEMA), path)
    return rows
