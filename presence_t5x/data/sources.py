"""One entry point: a DataConfig in, checked batches out.

seqio tasks are the single definition of data: the prepared writer reads the source and the text
preprocessors of the registered task (everything before `tokenize`), the streaming reader runs all
of it. `check_data` finds every mistake that can be found before anything is written or compiled.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import DataConfig
from presence_t5x.data import text_files
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.documents import Document, DocumentGroup
from presence_t5x.data.preprocessors import MEAN_NOISE_SPAN_LENGTH, NOISE_DENSITY
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_corruption import check_span_corruption
from presence_t5x.data.store_writer import write_store
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.token_store import (
    MANIFEST_NAME,
    TokenStore,
    file_sha256,
    open_store,
    read_manifest,
)
from presence_t5x.data.vocabularies import (
    load_vocabulary,
    specification_of,
    vocabulary_sha256,
)

LOCAL_TEXT = "local_text"
Progress = Callable[[int, int], None]
_DOCUMENT_FEATURES = ("targets", "id", "language", "source", "noise")
_EXAMPLES_PER_BLOCK = 256


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
    if name.split(".")[0] == "mc4" and data_config.vocabulary_file is not None:
        tasks.register_mc4(vocabulary_file=data_config.vocabulary_file)
        return seqio.get_mixture_or_task(name)
    for setting in ("local_text_files", "vocabulary_file"):
        if getattr(data_config, setting) is not None:
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
    vocabulary = find_provider(data_config).output_features["targets"].vocabulary
    return load_vocabulary(specification_of(vocabulary))


def check_data(data_config: DataConfig, vocab_size_of_model: int) -> seqio.Vocabulary:
    """Makes every check that needs neither a device nor a write; returns the vocabulary.

    Args:
      data_config: of the run.
      vocab_size_of_model: rows of the model's embedding table.

    Raises:
      ValueError: unknown task, vocabulary larger than the table or without sentinels, targets too
        short, local files missing, empty or broken, TFDS data that is not there.
    """
    for task in _tasks_of(find_provider(data_config)):
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


def _check_streaming_noise(data_config: DataConfig) -> None:
    """A streamed task corrupts by its own preprocessor, so these settings would be ignored."""
    found = (data_config.noise_density, data_config.mean_noise_span_length)
    if data_config.reader == "streaming" and found != (NOISE_DENSITY, MEAN_NOISE_SPAN_LENGTH):
        raise ValueError(
            f"noise_density={found[0]} and mean_noise_span_length={found[1]} are fixed by the "
            f"task's preprocessors with reader='streaming'; leave them at {NOISE_DENSITY} and "
            f"{MEAN_NOISE_SPAN_LENGTH}, or use reader='prepared'"
        )


def _tasks_of(provider: seqio.Task | seqio.Mixture) -> list[seqio.Task]:
    return list(provider.tasks) if isinstance(provider, seqio.Mixture) else [provider]


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
            "it there or set TFDS_DATA_DIR to where it is"
        )


def read_task_documents(task: seqio.Task, split: str) -> Iterator[Document]:
    """Yields a task's documents: its source and its preprocessors up to `tokenize`, unshuffled.

    Raises:
      ValueError: no such split, or no `seqio.preprocessors.tokenize` among the preprocessors.
    """
    if split not in task.splits:
        raise ValueError(f"task {task.name!r} has no split {split!r}; it has {sorted(task.splits)}")
    functions = [getattr(step, "func", step) for step in task.preprocessors]
    if seqio.preprocessors.tokenize not in functions:
        raise ValueError(
            f"task {task.name!r} has no seqio.preprocessors.tokenize, so its text cannot be "
            "prepared; use reader='streaming'"
        )
    dataset = task.source.get_dataset(split=split, shuffle=False)
    for step in task.preprocessors[: functions.index(seqio.preprocessors.tokenize)]:
        dataset = seqio.utils.add_kwargs_to_transform(
            step, output_features=task.output_features, sequence_length=None
        )(dataset)
    for number, example in enumerate(_examples(dataset)):
        labels = {
            name: example[name].decode("utf-8", "replace")
            for name in ("language", "source", "noise")
            if name in example
        }
        identity = example.get("id", b"").decode("utf-8", "replace") or f"{task.name}:{number}"
        yield Document(example["targets"].decode("utf-8", "replace"), identity, **labels)


def _examples(dataset: Any) -> Iterator[dict[str, Any]]:
    """Yields a dataset's string examples, fetched in blocks (one at a time costs a millisecond)."""
    names = [name for name in _DOCUMENT_FEATURES if name in dataset.element_spec]
    kept = dataset.map(lambda example: {name: example[name] for name in names})
    for block in kept.batch(_EXAMPLES_PER_BLOCK).as_numpy_iterator():
        for values in zip(*(block[name] for name in names)):
            yield dict(zip(names, values))


def _store_parameters(
    data_config: DataConfig, tasks: list[seqio.Task], split: str
) -> dict[str, Any]:
    """What the content of a store depends on besides the vocabulary."""
    parameters: dict[str, Any] = {
        "mixture_or_task_name": data_config.mixture_or_task_name,
        "split": split,
        "tasks": [task.name for task in tasks],
    }
    contents = [getattr(task.source, "content", None) for task in tasks]
    if any(contents):
        parameters["contents"] = contents
    if data_config.local_text_files is not None:
        parameters["local_text_files"] = [
            [file.name, file_sha256(Path(file.path))]
            for file in text_files.find_text_files(data_config.local_text_files)
        ]
    return parameters


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    return ", ".join(
        f"{name} (store {_short(found.get(name))}, run {_short(expected.get(name))})"
        for name in names
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def open_store_for(
    data_config: DataConfig,
    split: str,
    *,
    prepared_root: str | os.PathLike,
    progress: Progress | None = None,
) -> TokenStore:
    """Opens the store of (task, split) under `prepared_root`, writing it on first use.

    Args:
      data_config: names the task.
      split: of the task.
      prepared_root: stores live in its sub-directories `task-split`.
      progress: called with (documents, tokens) while writing.

    Raises:
      ValueError: the store there was made with other settings (named), is damaged, or the source
        has an error.
    """
    provider = find_provider(data_config)
    tasks = [task for task in _tasks_of(provider) if split in task.splits]
    if not tasks:
        raise ValueError(
            f"{provider.name!r} has no split {split!r}; it has {sorted(provider.splits)}"
        )
    vocabulary = resolve_vocabulary(data_config)
    digest = vocabulary_sha256(specification_of(vocabulary))
    parameters = _store_parameters(data_config, tasks, split)
    directory = Path(prepared_root) / f"{provider.name}-{split}"
    if (directory / MANIFEST_NAME).is_file():
        _check_same(directory, parameters | {"vocabulary_sha256": digest})
        return open_store(directory)
    if data_config.local_text_files is not None:
        text_files.check_text_files(data_config.local_text_files)
    return write_store(
        [_group(provider, task, split) for task in tasks],
        directory,
        vocabulary,
        vocabulary_sha256=digest,
        parameters=parameters,
        progress=progress,
    )


def _group(provider, task, split) -> DocumentGroup:
    is_mixture = isinstance(provider, seqio.Mixture)
    rate = provider.get_rate(task) if is_mixture else 1.0
    return DocumentGroup(task.name, rate, read_task_documents(task, split))


def _check_same(directory: Path, expected: Mapping[str, Any]) -> None:
    manifest = read_manifest(directory)
    found = {**manifest["parameters"], "vocabulary_sha256": manifest["vocabulary_sha256"]}
    if differences := _differences(expected, found):
        raise ValueError(
            f"{directory} was prepared with other settings: {differences}; delete it or choose "
            "another prepared_dir"
        )


def open_batches(
    data_config: DataConfig,
    split: str = "train",
    *,
    prepared_root: str | os.PathLike,
    process_index: int = 0,
    process_count: int = 1,
    progress: Progress | None = None,
) -> PreparedBatches | StreamingBatches:
    """Returns the batches of a run.

    Args:
      data_config: what to read and how; `prepared_dir` goes before `prepared_root`.
      split: of the task.
      prepared_root: where stores live, e.g. MODEL_DIR/data.
      process_index: of this process.
      process_count: how many there are.
      progress: called with (documents, tokens) while a store is written.

    Raises:
      ValueError: as `check_data`, `open_store_for` and the readers say.
    """
    processes = {"process_index": process_index, "process_count": process_count}
    if data_config.reader == "streaming":
        find_provider(data_config)
        _check_streaming_noise(data_config)
        return StreamingBatches(data_config, split, **processes)
    root = data_config.prepared_dir or prepared_root
    store = open_store_for(data_config, split, prepared_root=root, progress=progress)
    return PreparedBatches(store, data_config, resolve_vocabulary(data_config), **processes)
