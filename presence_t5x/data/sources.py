"""One entry point: a DataConfig in, checked batches out.

seqio tasks are the single definition of data: the prepared writer reads the source and the text
preprocessors of the registered task (everything before `tokenize`), the streaming reader runs all
of it. `check_data` finds every mistake that can be found before anything is written or compiled.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import os
import re

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import DataConfig
from presence_t5x.data import text_files
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.prepared import LOCAL_TEXT, PREPARED, open_prepared, open_stores
from presence_t5x.data.preprocessors import MEAN_NOISE_SPAN_LENGTH, NOISE_DENSITY
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_lengths import check_span_corruption
from presence_t5x.data.store_writer import ReportTotal
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.task_source import tasks_of
from presence_t5x.data.vocabularies import (
    MT5_VOCABULARY_FILE,
    load_vocabulary,
    specification_of,
)


def find_provider(data_config: DataConfig) -> seqio.Task | seqio.Mixture:
    """Returns the task or mixture, after registering ours.

    Raises:
      ValueError: it is unknown (the nearest names are given), or settings of "local_text" are
        missing or given for another task.
    """
    from presence_t5x import tasks

    name = data_config.mixture_or_task_name
    if name == LOCAL_TEXT:
        if data_config.local_text_files is None or data_config.vocabulary_file is None:
            raise ValueError(
                "mixture_or_task_name='local_text' needs local_text_files (a glob) and "
                "vocabulary_file (a SentencePiece model or 'bytes')"
            )
        return tasks.register_local_text(data_config.local_text_files, data_config.vocabulary_file)
    tasks.register_all()
    is_mc4 = name.split(".")[0] == "mc4"
    if is_mc4:
        vocabulary_file = data_config.vocabulary_file or MT5_VOCABULARY_FILE
        tasks.register_mc4(data_config.mc4_version, vocabulary_file)
    for setting in ("local_text_files", "vocabulary_file"):
        if getattr(data_config, setting) is not None and not (is_mc4 and "vocab" in setting):
            raise ValueError(
                f"{setting}={getattr(data_config, setting)!r} belongs to the task 'local_text', "
                f"but mixture_or_task_name={name!r}; remove one of them"
            )
    names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    if name not in names:
        raise ValueError(
            f"mixture_or_task_name={name!r} is no registered seqio task or mixture"
            f"{did_you_mean(name, sorted(names)) or '; import the module that registers it'}"
        )
    return seqio.get_mixture_or_task(name)


def resolve_vocabulary(data_config: DataConfig) -> seqio.Vocabulary:
    """Returns the vocabulary of the targets of a run, checked as `load_vocabulary` does."""
    if data_config.mixture_or_task_name == PREPARED:
        return open_prepared(data_config)[1]
    vocabulary = find_provider(data_config).output_features["targets"].vocabulary
    return load_vocabulary(specification_of(vocabulary))


def check_data(data_config: DataConfig, vocab_size_of_model: int) -> seqio.Vocabulary:
    """Makes every check that needs neither a device nor a write; returns the vocabulary.

    Args:
      data_config: of the run.
      vocab_size_of_model: rows of the model's embedding table.

    Raises:
      ValueError: unknown task, vocabulary larger than the table or without sentinels, targets too
        short, local files missing, empty or broken, TFDS data or a store that is not there.
    """
    _check_settings_of_tasks(data_config)
    if data_config.mixture_or_task_name != PREPARED:
        for task in tasks_of(find_provider(data_config)):
            _check_tfds_directory(task)
    _check_streaming_noise(data_config)
    vocabulary = resolve_vocabulary(data_config)
    sentinels = sentinels_of(vocabulary)
    if vocabulary.vocab_size > vocab_size_of_model:
        raise ValueError(
            f"vocab_size={vocab_size_of_model} of the model is smaller than the vocabulary of "
            f"{data_config.mixture_or_task_name!r} with {vocabulary.vocab_size} ids; set "
            f"vocab_size >= {vocabulary.vocab_size}, best the next multiple of 128"
        )
    check_span_corruption(
        data_config.task_feature_lengths["inputs"],
        data_config.task_feature_lengths["targets"],
        sentinels.num_sentinels,
        data_config.noise_density,
        data_config.mean_noise_span_length,
    )
    if data_config.local_text_files is not None:
        text_files.find_text_files(data_config.local_text_files)
    return vocabulary


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


def _check_tfds_directory(task: seqio.Task) -> None:
    """A missing TFDS data set would otherwise be downloaded or fail deep inside TFDS."""
    if not isinstance(task.source, seqio.TfdsDataSource):
        return

    name, data_dir = task.source.tfds_dataset.get_split_params("train")
    roots = [data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"]
    path = os.path.join(os.path.expanduser(roots[0]), *str(name).replace(":", "/").split("/"))
    if not tf.io.gfile.exists(path):
        raise ValueError(
            f"task {task.name!r} reads the TFDS data set {name!r}, which is not at {path}; prepare "
            f"it there or set TFDS_DATA_DIR to where it is{_mc4_remedy(path)}"
        )


def _mc4_remedy(path: str) -> str:
    """What to do about a missing version of mC4: another one that is there, or how to get it."""
    folder, version = os.path.split(path)
    if not folder.endswith(os.path.join("c4", "multilingual")):
        return ""
    entries = tf.io.gfile.listdir(folder) if tf.io.gfile.exists(folder) else []
    names = sorted(entry.rstrip("/") for entry in entries)
    found = [entry for entry in names if re.fullmatch(r"\d+\.\d+\.\d+", entry)]
    other = f". Found {', '.join(found)} there: set MC4_VERSION" if found else ""
    if version == "3.1.0":
        return (
            f"{other}. TFDS builds 3.1.0 with Apache Beam on a cluster (tens of TiB): pip "
            "install mlcroissant apache-beam; tfds build c4/multilingual "
            "--data_dir=$TFDS_DATA_DIR --beam_pipeline_options=runner=..."
        )
    return (
        f"{other}. TFDS builds 3.1.0 alone, {version} can only be read where it is prepared "
        "already: set MC4_VERSION = '3.1.0', or prepare the published JSON shards with "
        "python -m presence_t5x.prepare"
    )


def open_batches(
    data_config: DataConfig,
    split: str = "train",
    *,
    prepared_root: str | os.PathLike,
    process_index: int = 0,
    process_count: int = 1,
    progress: ReportTotal | None = None,
) -> PreparedBatches | StreamingBatches:
    """Returns the batches of a run.

    Args:
      data_config: what to read and how; `prepared_dir` goes before `prepared_root`.
      split: of the task.
      prepared_root: where stores live, e.g. MODEL_DIR/data.
      process_index: of this process.
      process_count: how many there are.
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
    return PreparedBatches(groups, data_config, vocabulary, **processes)
