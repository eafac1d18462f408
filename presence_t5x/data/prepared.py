"""The token stores of a run: opened where they are, or written on first use."""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import Source
from presence_t5x.data.providers import LOCAL_TEXT, PREPARED
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.store_writer import ReportTotal, prepare_store
from presence_t5x.data.task_source import TaskSource
from presence_t5x.data.text_files import FilesSource
from presence_t5x.data.token_store import (
    MANIFEST_NAME,
    VOCABULARY_NAME,
    TokenStore,
    open_store,
    read_manifest,
)
from presence_t5x.data.tokenizers import Tokenizer
from presence_t5x.data.vocabularies import (
    BYTES,
    load_vocabulary,
    read_model,
    specification_of,
    vocabulary_sha256,
)

# Of a task these are prepared, where it has them; the last one is labelled noise to judge scores.
SPLITS = ("train", "validation", "noisy_validation")


def find_store_directories(data_config: DataConfig) -> list[Path]:
    """Returns the directories that `prepared_stores` names, sorted within each pattern.

    Raises:
      ValueError: a pattern matches no store.
    """
    found = []
    for pattern in data_config.store_patterns():
        stores = [p for p in sorted(glob.glob(pattern)) if Path(p, MANIFEST_NAME).is_file()]
        if not stores:
            raise ValueError(
                f"prepared_stores={pattern!r} matches no token store (no {MANIFEST_NAME}); write "
                "one with python -m presence_t5x.prepare"
            )
        found += [Path(store) for store in stores]
    return found


def prepared_vocabulary(data_config: DataConfig) -> seqio.Vocabulary:
    """Returns the vocabulary of the stores that `prepared_stores` names; reads manifests only.

    Raises:
      ValueError: a store is missing, or two vocabularies differ (both are named).
    """
    directories = find_store_directories(data_config)
    copy = directories[0] / VOCABULARY_NAME
    spec = data_config.vocabulary_file or (str(copy) if copy.is_file() else BYTES)
    expected = vocabulary_sha256(spec)
    for directory in directories:
        found = read_manifest(directory)["vocabulary"]
        if found["sha256"] != expected:
            raise ValueError(
                f"{directory} was written with another vocabulary (SHA-256 "
                f"{found['sha256'][:12]}..., {found.get('num_ids')} ids) than {spec} "
                f"({expected[:12]}...); its token ids would mean other pieces: use that "
                "vocabulary, or prepare it again"
            )
    return load_vocabulary(spec)


def describe_vocabulary(vocabulary: seqio.Vocabulary) -> dict[str, Any]:
    """Returns what a manifest says of a vocabulary."""
    spec = specification_of(vocabulary)
    return {
        "kind": BYTES if spec == BYTES else "sentencepiece",
        "num_ids": int(vocabulary.vocab_size),
        "sha256": vocabulary_sha256(spec),
    }


def write_store(
    source: Source,
    directory: str | os.PathLike,
    vocabulary: seqio.Vocabulary,
    **settings: Any,
) -> TokenStore:
    """Writes or opens the store of a source; `settings` are those of `prepare_store`."""
    spec = specification_of(vocabulary)
    return prepare_store(
        source,
        directory,
        Tokenizer.from_vocabulary(vocabulary),
        vocabulary=describe_vocabulary(vocabulary),
        vocabulary_model=None if spec == BYTES else read_model(spec),
        **settings,
    )


def open_stores(
    data_config: DataConfig,
    vocabulary: seqio.Vocabulary,
    *,
    prepared_root: str | os.PathLike,
    progress: ReportTotal | None = None,
) -> list[TokenStore]:
    """Opens the stores of a run; that of a task or of local files is written on first use.

    Args:
      data_config: names the stores, the task or the files.
      vocabulary: of the run; for "prepared" it is `prepared_vocabulary`'s.
      prepared_root: a task's store lives in the sub-directory of its name.
      progress: called with the totals while writing.

    Raises:
      ValueError: a store was made with other settings (named), is damaged, or the source has an
        error: on first use nothing of the input is left out.
    """
    if data_config.mixture_or_task_name == PREPARED:
        return [open_store(directory) for directory in find_store_directories(data_config)]
    settings: dict[str, Callable] = {} if progress is None else {"progress": progress}
    directory = Path(prepared_root) / data_config.mixture_or_task_name
    source = source_of(data_config)
    return [write_store(source, directory, vocabulary, strict=True, **settings)]


def source_of(data_config: DataConfig) -> Source:
    """Returns what the store of a task or of local files is made of."""
    if data_config.mixture_or_task_name == LOCAL_TEXT:
        assert data_config.local_text_files is not None
        return FilesSource(data_config.local_text_files)
    return TaskSource(data_config, SPLITS)
