"""Whether the TFDS data of a task are there, and what to do if not."""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import os
import re

from presence_t5x.data.quiet_tensorflow import seqio, tf

# Data sets of which TFDS builds one version only: that version, and the setting that names another.
_ONLY_BUILDS = {
    "c4/multilingual": ("3.1.0", "MC4_VERSION"),
    "tydi_qa/goldp": ("3.0.0", "TYDI_QA_VERSION"),
}


def check_tfds_directory(task: seqio.Task) -> None:
    """Refuses a task whose TFDS data sets are not there.

    TFDS would download them, or fail deep inside.

    Raises:
      ValueError: says where one was looked for and how to get it.
    """
    for source in getattr(task.source, "members", [task.source]):
        if isinstance(source, seqio.TfdsDataSource):
            name, data_dir = source.tfds_dataset.get_split_params("train")
            _check_directory(task.name, str(name), data_dir)


def _check_directory(task_name: str, name: str, data_dir: str | None) -> None:
    root = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    path = os.path.join(os.path.expanduser(root), *name.replace(":", "/").split("/"))
    if not tf.io.gfile.exists(path):
        raise ValueError(
            f"task {task_name!r} reads the TFDS data set {name!r}, which is not at {path}; prepare "
            f"it there or set TFDS_DATA_DIR to where it is{_remedy(name, path)}"
        )


def _remedy(name: str, path: str) -> str:
    """What to do about a missing data set: another version that is there, or how to get it."""
    data_set, _, version = name.partition(":")
    if data_set not in _ONLY_BUILDS:
        return f": tfds build {name} --data_dir=$TFDS_DATA_DIR"
    built, setting = _ONLY_BUILDS[data_set]
    folder = os.path.dirname(path)
    entries = tf.io.gfile.listdir(folder) if tf.io.gfile.exists(folder) else []
    names = sorted(entry.rstrip("/") for entry in entries)
    found = [entry for entry in names if re.fullmatch(r"\d+\.\d+\.\d+", entry)]
    other = f". Found {', '.join(found)} there: set {setting}" if found else ""
    is_mc4 = data_set == "c4/multilingual"
    if version == built:
        if not is_mc4:
            return f"{other}. TFDS builds it: tfds build {data_set} --data_dir=$TFDS_DATA_DIR"
        return (
            f"{other}. TFDS builds {built} with Apache Beam on a cluster (tens of TiB): pip "
            f"install apache-beam mlcroissant importlib_resources; tfds build {data_set} "
            "--data_dir=$TFDS_DATA_DIR --beam_pipeline_options=runner=..."
        )
    alternative = (
        ", or prepare the published JSON shards with python -m presence_t5x.prepare"
        if is_mc4
        else ""
    )
    return (
        f"{other}. TFDS builds {built} alone, {version} can only be read where it is prepared "
        f"already: set {setting} = {built!r}{alternative}"
    )
