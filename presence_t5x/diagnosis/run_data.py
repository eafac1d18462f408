"""Vocabulary and data of a run: what reading would stumble over, without reading all of it.

Imports TensorFlow by way of seqio.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from presence_t5x.config_types import ModelConfig, RunConfig
from presence_t5x.data.prepared import find_store_directories
from presence_t5x.data.providers import PREPARED, find_provider, tasks_of
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.sources import check_data, resolve_vocabulary
from presence_t5x.data.text_files.listing import list_files
from presence_t5x.data.token_store import MANIFEST_NAME, TokenStore, open_store
from presence_t5x.diagnosis.findings import Finding, from_error
from presence_t5x.vocabulary_table import (
    check_table_holds,
    check_table_is_used,
    table_rows,
    table_setting,
)


def check_vocabulary(config: RunConfig) -> Iterable[Finding]:
    """Yields whether vocabulary, sentinels and the model's table fit each other."""
    vocabulary = resolve_vocabulary(config.data)
    yield judge_vocabulary(config.data.mixture_or_task_name, vocabulary, config.model)


def judge_vocabulary(name: str, vocabulary: Any, model: ModelConfig) -> Finding:
    """Judges a vocabulary against a model's table of tokens.

    Args:
      name: of the task.
      vocabulary: with its size and sentinels.
      model: whose table has as many rows as it needs where vocab_size is None.
    """
    size, rows = vocabulary.vocab_size, model.vocab_size
    try:
        number = sentinels_of(vocabulary).num_sentinels
        if rows is not None:
            check_table_holds(name, size, rows)
            check_table_is_used(name, size, rows, table_setting(model))
    except ValueError as error:
        return from_error("vocabulary", error)
    shown = f"a table of {table_rows(size) if rows is None else rows:,} rows"
    return Finding("vocabulary", "ok", f"{size:,} ids, {number} sentinels at the top, {shown}")


def check_run_data(config: RunConfig, *, thorough: bool) -> Iterable[Finding]:
    """Yields whether the data are there and whole.

    Args:
      thorough: reads all of every store, and compares SHA-256.
    """
    check_data(config.data, 2**31)  # the table is judged by `check_vocabulary`
    if config.data.local_text_files is not None:
        yield judge_files(config.data.local_text_files, *list_files(config.data.local_text_files))
    directories = store_directories(config)
    if not directories and config.data.reader == "prepared":
        yield Finding("data", "ok", f"{_described(config)}: prepared when the run first starts")
    elif not directories:
        yield Finding("data", "ok", f"{_described(config)}: streamed")
    for directory in directories:
        yield check_store(directory, thorough=thorough)


def judge_files(pattern: str, files: Any, skipped: tuple[str, ...]) -> Finding:
    """Judges the files of a pattern: their number, and what is left out."""
    empty = [file.name for file in files if not file.num_bytes]
    total = sum(file.num_bytes for file in files) / 2**20
    what = f"{pattern!r}: {len(files):,} files, {total:,.1f} MiB"
    if empty or skipped:
        first = (*empty, *skipped)[0]
        what += f"; {len(empty)} are empty and {len(skipped)} of an unknown kind, e.g. {first}"
        return Finding("data files", "warning", what, "remove or rename them")
    return Finding("data files", "ok", what)


def store_directories(config: RunConfig) -> list[Path]:
    """Returns the token stores that a run will open; none where it will write one.

    Raises:
      ValueError: `prepared_stores` names none.
    """
    if config.data.reader != "prepared":
        return []
    if config.data.mixture_or_task_name == PREPARED:
        return find_store_directories(config.data)
    root = Path(config.data.prepared_dir or Path(config.model_dir) / "data")
    directory = root / config.data.mixture_or_task_name
    return [directory] if (directory / MANIFEST_NAME).is_file() else []


def check_store(directory: Path, *, thorough: bool) -> Finding:
    """Opens a store (sizes, counts, SHA-256 of its index) and, thoroughly, reads all of it."""
    try:
        store = open_store(directory)
        if thorough:
            store.verify()
    except ValueError as error:
        return from_error("data", error)
    return judge_store(store, thorough=thorough)


def judge_store(store: TokenStore, *, thorough: bool) -> Finding:
    """Judges a store that could be opened."""
    how = "all SHA-256 compared" if thorough else "sizes, counts and index; --thorough reads all"
    what = f"{store.directory}: {len(store):,} documents, {store.num_tokens:,} tokens ({how})"
    problems = sum(store.manifest["problems"].values())
    if problems > len(store) / 100:
        what += f"; {problems:,} problems of its input were left out"
        return Finding("data", "warning", what, f"read {store.directory / 'problems.jsonl'}")
    return Finding("data", "ok", what)


def sized(config: RunConfig) -> RunConfig:
    """Returns a run whose table has the rows that training would give it."""
    if config.model.vocab_size is not None:
        return config
    rows = table_rows(resolve_vocabulary(config.data).vocab_size)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, vocab_size=rows))


def _described(config: RunConfig) -> str:
    """Names the task, and how many it mixes."""
    name = config.data.mixture_or_task_name
    number = len(tasks_of(find_provider(config.data)))
    return f"{name!r}" if number == 1 else f"{name!r}, {number} tasks"
