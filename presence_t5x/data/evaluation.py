"""Which held-out rows a run is judged on: a fixed sample of every language and noise label."""

import dataclasses
import itertools
import os
from pathlib import Path

from presence_t5x.config_types import DataConfig
from presence_t5x.data.batches import Batch, evaluation_rows
from presence_t5x.data.sources import (
    find_provider,
    open_batches,
    open_store_for,
    resolve_vocabulary,
)

# Tasks that plant labelled noise offer it held out under this name.
_NOISY_SPLIT = "noisy_validation"


def evaluation_batches(
    data_config: DataConfig, *, rows_per_group: int, prepared_root: str | os.PathLike
) -> list[Batch]:
    """Returns the held-out batches of a run, the same on every call; [] without a validation split.

    A prepared task gives up to `rows_per_group` rows of every (language, noise label), where noise
    is planted from the labelled held-out split. A streamed mixture gives that many rows of every
    member task.

    Args:
      data_config: of the run.
      rows_per_group: at most.
      prepared_root: where stores live unless `data_config.prepared_dir` says.
    """
    provider = find_provider(data_config)
    splits = set(provider.splits)
    if "validation" not in splits:
        return []
    if data_config.reader == "streaming":
        return _streamed(data_config, rows_per_group, prepared_root)
    split = _NOISY_SPLIT if splits >= {_NOISY_SPLIT} else "validation"
    root = Path(data_config.prepared_dir or prepared_root)
    store = open_store_for(data_config, split, prepared_root=root)
    vocabulary = resolve_vocabulary(data_config)
    groups = itertools.product(store.manifest["languages"], store.manifest["noises"])
    return [
        batch
        for language, noise in groups
        if store.documents_with(language, noise).size
        for batch in evaluation_rows(
            store, data_config, vocabulary, max_rows=rows_per_group, select=(language, noise)
        )
    ]


def _streamed(data_config: DataConfig, rows: int, prepared_root) -> list[Batch]:
    """Returns the first rows of every member task's validation split."""
    provider = find_provider(data_config)
    names = [task.name for task in getattr(provider, "tasks", [provider])]
    batches = []
    for name in names:
        one = dataclasses.replace(data_config, mixture_or_task_name=name)
        source = open_batches(one, "validation", prepared_root=prepared_root)
        count = -(-rows // data_config.batch_size)
        batches += itertools.islice(source.iterate(), count)
    return batches
