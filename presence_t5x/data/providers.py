"""The seqio task or mixture that a run names, registered first where it is ours."""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import os
import re

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import DataConfig
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.vocabularies import MT5_VOCABULARY_FILE

# What is no seqio task: files of one's own, and stores written by `python -m presence_t5x.prepare`.
LOCAL_TEXT, PREPARED = "local_text", "prepared"


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


def tasks_of(provider: seqio.Task | seqio.Mixture) -> list[seqio.Task]:
    """Returns the tasks of a mixture, or the task itself."""
    return list(provider.tasks) if isinstance(provider, seqio.Mixture) else [provider]


def check_tfds_directory(task: seqio.Task) -> None:
    """Refuses a task whose TFDS data set is not there.

    TFDS would download it, or fail deep inside.

    Raises:
      ValueError: says where it was looked for and how to get it.
    """
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
            "install apache-beam mlcroissant importlib_resources; tfds build c4/multilingual "
            "--data_dir=$TFDS_DATA_DIR --beam_pipeline_options=runner=..."
        )
    return (
        f"{other}. TFDS builds 3.1.0 alone, {version} can only be read where it is prepared "
        "already: set MC4_VERSION = '3.1.0', or prepare the published JSON shards with "
        "python -m presence_t5x.prepare"
    )
