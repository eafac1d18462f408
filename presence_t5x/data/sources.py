"""One entry point: a DataConfig in, checked batches out.

seqio tasks are the single definition of data: the prepared writer reads the source and the text
preprocessors of the registered task (everything before `tokenize`), the streaming reader runs all
of it. `check_data` finds every mistake that can be found before anything is written or compiled.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import os

import numpy as np
from jaxtyping import Int

from presence_t5x.config_types import DataConfig
from presence_t5x.data import text_files
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.finetuning.families import local_family
from presence_t5x.data.finetuning.files import find_examples
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.prepared import find_store_directories, open_stores, prepared_vocabulary
from presence_t5x.data.providers import PREPARED, find_provider, tasks_of
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.row_features import RowFeatures
from presence_t5x.data.store_writer import ReportTotal
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.text_plans import MEAN_NOISE_SPAN_LENGTH, NOISE_DENSITY
from presence_t5x.data.text_tasks import gives_pairs
from presence_t5x.data.tfds_directories import check_tfds_directory
from presence_t5x.data.token_store import num_pairs, read_manifest
from presence_t5x.data.vocabularies import (
    check_mt5_vocabulary,
    load_vocabulary,
    specification_of,
)
from presence_t5x.vocabulary_table import check_table_holds


def resolve_vocabulary(data_config: DataConfig) -> seqio.Vocabulary:
    """Returns the vocabulary of the targets of a run, checked as `load_vocabulary` does."""
    if data_config.mixture_or_task_name == PREPARED:
        return prepared_vocabulary(data_config)
    vocabulary = find_provider(data_config).output_features["targets"].vocabulary
    return load_vocabulary(specification_of(vocabulary))


def describe_mt5_vocabulary(data_config: DataConfig) -> str:
    """Says in one line whether the vocabulary of a run is mT5's, by its SHA-256."""
    return check_mt5_vocabulary(specification_of(resolve_vocabulary(data_config)))


def check_data(data_config: DataConfig, vocab_size_of_model: int) -> seqio.Vocabulary:
    """Makes every check that needs neither a device nor a write; returns the vocabulary.

    Args:
      data_config: of the run.
      vocab_size_of_model: rows of the model's embedding table.

    Raises:
      ValueError: unknown task, vocabulary larger than the table or without sentinels, rows that do
        not fit the objective, local files missing, empty or broken, TFDS data or a store that is
        not there.
    """
    _check_settings_of_tasks(data_config)
    if data_config.mixture_or_task_name != PREPARED:
        for task in tasks_of(find_provider(data_config)):
            check_tfds_directory(task)
    _check_streaming_noise(data_config)
    vocabulary = resolve_vocabulary(data_config)
    name = data_config.mixture_or_task_name
    check_table_holds(name, vocabulary.vocab_size, vocab_size_of_model)
    RowFeatures(data_config, vocabulary, **_kinds(data_config))
    if data_config.local_text_files is not None:
        text_files.find_text_files(data_config.local_text_files)
    if data_config.local_task_files is not None:
        family = str(local_family(data_config.mixture_or_task_name))
        find_examples(family, data_config.local_task_files).check()
    return vocabulary


def _kinds(data_config: DataConfig) -> dict[str, bool]:
    """Which kinds of rows a run has: one of pairs alone needs no sentinels and no long targets."""
    if data_config.mixture_or_task_name == PREPARED:
        manifests = [read_manifest(found) for found in find_store_directories(data_config)]
        numbers = [(num_pairs(found), found["num_documents"]) for found in manifests]
        has_text = any(pairs < documents for pairs, documents in numbers)
        return {"has_text": has_text, "has_pairs": any(pairs for pairs, _ in numbers)}
    are_pairs = [gives_pairs(task) for task in tasks_of(find_provider(data_config))]
    return {"has_text": not all(are_pairs), "has_pairs": any(are_pairs)}


def _check_settings_of_tasks(data_config: DataConfig) -> None:
    """Refuses settings of "prepared" beside another task, and the other way round."""
    is_prepared = data_config.mixture_or_task_name == PREPARED
    if is_prepared != (data_config.prepared_stores is not None):
        raise ValueError(
            f"mixture_or_task_name={data_config.mixture_or_task_name!r} and prepared_stores="
            f"{data_config.prepared_stores!r} do not go together: 'prepared' needs the stores that "
            "python -m presence_t5x.prepare wrote, no other task takes them"
        )
    if is_prepared and data_config.reader == "streaming":
        raise ValueError("mixture_or_task_name='prepared' needs reader='prepared'")


def _check_streaming_noise(data_config: DataConfig) -> None:
    """A streamed task corrupts by its own preprocessor, so these settings would be ignored."""
    found = (data_config.noise_density, data_config.mean_noise_span_length)
    if data_config.reader == "streaming" and found != (NOISE_DENSITY, MEAN_NOISE_SPAN_LENGTH):
        raise ValueError(
            f"noise_density={found[0]} and mean_noise_span_length={found[1]} are fixed by the "
            f"task's preprocessors with reader='streaming'; leave them at {NOISE_DENSITY} and "
            f"{MEAN_NOISE_SPAN_LENGTH}, or use reader='prepared'"
        )


def open_batches(
    data_config: DataConfig,
    split: str = "train",
    *,
    prepared_root: str | os.PathLike,
    process_index: int = 0,
    process_count: int = 1,
    units: Int[np.ndarray, "units rows_each"] | None = None,
    progress: ReportTotal | None = None,
) -> PreparedBatches | StreamingBatches:
    """Returns the batches of a run.

    Args:
      data_config: what to read and how; `prepared_dir` goes before `prepared_root`.
      split: of the task.
      prepared_root: where stores live, e.g. MODEL_DIR/data.
      process_index: of this process.
      process_count: how many there are.
      units: as `PreparedBatches` takes them.
      progress: called with the totals while a store is written.

    Raises:
      ValueError: as `check_data`, `open_stores`, `make_groups` and the readers say.
    """
    processes = {"process_index": process_index, "process_count": process_count}
    if data_config.reader == "streaming":
        find_provider(data_config)
        _check_streaming_noise(data_config)
        return StreamingBatches(data_config, split, **processes)
    vocabulary = resolve_vocabulary(data_config)
    root = data_config.prepared_dir or prepared_root
    stores = open_stores(data_config, vocabulary, prepared_root=root, progress=progress)
    groups = make_groups(
        stores,
        split,
        mix_by=data_config.mix_by,
        exponent=data_config.mixing_exponent,
        rates=data_config.mixing_rates,
    )
    return PreparedBatches(groups, data_config, vocabulary, units=units, **processes)
