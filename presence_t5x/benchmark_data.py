"""What preparing and reading data cost, against what users have today and against the step.

`python -m presence_t5x.benchmark_data [--documents=N] [--rounds=N] [--input=GLOB] [--vocabulary=
FILE]`. Two figures, each a ratio of medians over interleaved rounds of one run:

- preparing: documents/s of a token store over documents/s of seqio's own offline caching (the
  pipeline of `seqio_cache_tasks` on Beam's local runner), same texts, same vocabulary. seqio reads
  them as lines of text, its fastest source, and its tf.data uses all cores; the import of the
  libraries is in neither. Needs the extra `beam`.
- reading: tokens/s of batches from a store, on one core, over tokens/s at which the model of
  `configs/models/tiny.gin` trains on all cores.

Texts are the embedded encyclopedia's unless `--input` names JSON lines.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

_TASK = "benchmark_data_cache"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and prints one table."""
    parser = argparse.ArgumentParser(prog="python -m presence_t5x.benchmark_data")
    parser.add_argument("--documents", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--input", help="JSON lines; the encyclopedia if not given")
    parser.add_argument("--vocabulary", help="a SentencePiece model")
    settings = parser.parse_args(arguments)
    table = Table("measure", "this project, per second", "compared with", "per second", "ratio")
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts")
        texts.mkdir()
        vocabulary = _write_texts(settings, texts)
        counts = sorted({1, os.cpu_count() or 1})
        runs = {f"{n}": functools.partial(_prepare, texts, vocabulary, n) for n in counts}
        runs["seqio caching"] = functools.partial(_cache, texts, vocabulary)
        medians = _interleave(runs, settings.rounds)
        for n in counts:
            measure = f"documents prepared, {n} processes"
            _add_row(table, measure, medians, f"{n}", "seqio caching")
        runs = _reading_runs(texts, vocabulary, Path(folder, "store"))
        medians = _interleave(runs, settings.rounds)
        _add_row(table, "raw tokens read on one core", medians, "read", "tiny model trains")
    Console().print(table)
    return 0


def _interleave(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Returns the median of each run's rates; the order turns from round to round."""
    names = list(runs)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rates[name].append(runs[name]())
    return {name: float(np.median(values)) for name, values in rates.items()}


def _add_row(table: Table, measure: str, medians: dict[str, float], one: str, other: str) -> None:
    ratio = medians[one] / medians[other]
    table.add_row(measure, f"{medians[one]:,.0f}", other, f"{medians[other]:,.0f}", f"{ratio:.2f}")


def _write_texts(settings: argparse.Namespace, folder: Path) -> str:
    """Writes the same documents as JSON lines and as lines of text; returns the vocabulary."""
    from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig, generate_documents
    from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
    from presence_t5x.data.text_files import read_documents

    if settings.input:
        found = (document.text for document in read_documents(settings.input))
    else:
        config = EncyclopediaConfig(num_train_documents=settings.documents)
        found = (document.text for document in generate_documents(config, split="train"))
    # Several files, because seqio works file by file too; a line of text holds no newline.
    num_files = 2 * (os.cpu_count() or 1)
    texts = [" ".join(text.split()) for text in itertools.islice(found, settings.documents)]
    for number in range(num_files):
        own = texts[number::num_files]
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in own]
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        (folder / f"{number}.lines").write_text("\n".join(own) + "\n", "utf-8")
    return settings.vocabulary or vocabulary_file()


def _prepare(texts: Path, vocabulary_file: str, num_processes: int) -> float:
    """Documents/s of writing a store."""
    from presence_t5x.data.prepared import write_store
    from presence_t5x.data.store_writer import ProcessPool
    from presence_t5x.data.text_files import FilesSource
    from presence_t5x.data.vocabularies import load_vocabulary

    vocabulary = load_vocabulary(vocabulary_file)
    writer = ProcessPool(num_processes) if num_processes > 1 else None
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        source = FilesSource(f"{texts}/*.jsonl")
        store = write_store(source, Path(folder, "s"), vocabulary, write_parts=writer)
        return len(store) / (time.perf_counter() - start)


def _cache(texts: Path, vocabulary_file: str) -> float:
    """Documents/s of seqio's offline caching of the same texts."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from presence_t5x.data.quiet_tensorflow import seqio

    cache_tasks = _seqio_cache_script()
    _register_lines_task(texts, vocabulary_file)
    num_documents = sum(len(file.read_bytes().splitlines()) for file in texts.glob("*.lines"))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        start = time.perf_counter()
        with beam.Pipeline(options=PipelineOptions([])) as pipeline:
            cache_tasks.run_pipeline(pipeline, [_TASK], folder)
        seconds = time.perf_counter() - start
    seqio.TaskRegistry.remove(_TASK)
    return num_documents / seconds


def _seqio_cache_script() -> Any:
    """The module behind `seqio_cache_tasks`, with its flags at their defaults."""
    from absl import flags
    from seqio.scripts import cache_tasks_main

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["seqio_cache_tasks"], known_only=True)
    return cache_tasks_main


def _register_lines_task(texts: Path, vocabulary_file: str) -> None:
    from presence_t5x.data.preprocessors import text_to_targets
    from presence_t5x.data.quiet_tensorflow import seqio
    from presence_t5x.data.vocabularies import load_vocabulary

    source: Any = seqio.TextLineDataSource({"train": f"{texts}/*.lines"})
    features = {
        "inputs": seqio.Feature(load_vocabulary(vocabulary_file), required=False),
        "targets": seqio.Feature(load_vocabulary(vocabulary_file)),
    }
    seqio.TaskRegistry.add(
        _TASK,
        source=source,
        preprocessors=[
            _line_to_text,
            text_to_targets,
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
        ],
        output_features=features,
    )


def _line_to_text(dataset: Any) -> Any:
    return dataset.map(lambda line: {"text": line})


def _reading_runs(texts: Path, vocabulary_file: str, store: Path) -> dict[str, Callable[[], float]]:
    """Reading on one core, and training on all; both as raw tokens a second."""
    import jax

    from presence_t5x.config import load_config
    from presence_t5x.data.batches import PreparedBatches
    from presence_t5x.data.mixing import make_groups
    from presence_t5x.data.prepared import write_store
    from presence_t5x.data.span_lengths import span_corruption_lengths
    from presence_t5x.data.text_files import FilesSource
    from presence_t5x.data.vocabularies import load_vocabulary
    from presence_t5x.models.families import init_params
    from presence_t5x.objective import make_mesh, make_objective
    from presence_t5x.train_step import init_train_state, train_step

    vocabulary = load_vocabulary(vocabulary_file)
    stored = write_store(FilesSource(f"{texts}/*.jsonl"), store, vocabulary)
    config = load_config(
        ["configs/runs/pretrain_prepared.gin"],
        [
            f'PREPARED_STORES = "{store}"',
            f'MODEL_DIR = "{store}"',
            'MIX_BY = "task"',
            "PACK = True",
            'TEMPERATURE_SCHEDULE = "unweighted"',
            f"T5Config.vocab_size = {-(-vocabulary.vocab_size // 128) * 128}",
        ],
    )
    batches = PreparedBatches(make_groups([stored], "train"), config.data, vocabulary)
    objective = make_objective(config, make_mesh(config))
    key = jax.random.key(0)
    state = jax.jit(lambda: init_train_state(objective, init_params(config.model, key)))()
    step = jax.jit(functools.partial(train_step, objective), donate_argnums=0)
    batch = batches.batch_at(0)
    # A packed row is full: every one stands for the same number of raw tokens.
    inputs_length = config.data.task_feature_lengths["inputs"]
    tokens_per_batch = config.data.batch_size * span_corruption_lengths(inputs_length).raw_length
    states = [step(state, batch.features)[0]]

    def train(num_steps: int = 10) -> float:
        start = time.perf_counter()
        for _ in range(num_steps):
            states[0], metrics = step(states[0], batch.features)
        jax.block_until_ready((states[0], metrics))
        return num_steps * tokens_per_batch / (time.perf_counter() - start)

    numbers = itertools.count(1)

    def read(num_batches: int = 40) -> float:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        start = time.perf_counter()
        for _ in range(num_batches):
            batches.batch_at(next(numbers))
        seconds = time.perf_counter() - start
        os.sched_setaffinity(0, before)
        return num_batches * tokens_per_batch / seconds

    return {"read": read, "tiny model trains": train}


if __name__ == "__main__":
    sys.exit(main())
