"""The seqio task or mixture that a run names, registered first where it is ours."""

# seqio declares no usable types here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import re

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import DataConfig
from presence_t5x.data.finetuning.families import local_family
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.vocabularies import MT5_VOCABULARY_FILE

# What is no seqio task: files of one's own, and stores written by `python -m presence_t5x.prepare`.
LOCAL_TEXT, PREPARED = "local_text", "prepared"
_ENCYCLOPEDIA_EXAMPLES = re.compile(r"encyclopedia_(nli|qa|ner|multitask)_")
# GLUE and SuperGLUE, named as mT5 names them or as T5 does.
_BENCHMARKS = re.compile(r"(mt5_|)(glue|super_glue|dpr)_\w*v(?:002|102|001)\w*")
# Settings that not every task takes, with those that do.
_OWNERS = {
    "local_text_files": "the task 'local_text'",
    "local_task_files": "the tasks over files, e.g. 'local_nli_zeroshot'",
    "vocabulary_file": "the task 'local_text', other tasks over files, mc4 and fine-tuning tasks",
}


def find_provider(data_config: DataConfig) -> seqio.Task | seqio.Mixture:
    """Returns the task or mixture, after registering ours.

    Raises:
      ValueError: it is unknown (the nearest names are given), or settings are missing, or given
        for a task that does not take them.
    """
    name = data_config.mixture_or_task_name
    settings = _register(name, data_config)
    for setting, owner in _OWNERS.items():
        value = getattr(data_config, setting)
        if value is not None and setting not in settings:
            raise ValueError(
                f"{setting}={value!r} belongs to {owner}, but mixture_or_task_name={name!r}; "
                "remove one of them"
            )
    names = _registered()
    if name not in names:
        raise ValueError(
            f"mixture_or_task_name={name!r} is no registered seqio task or mixture"
            f"{did_you_mean(name, sorted(names)) or '; import the module that registers it'}"
        )
    return seqio.get_mixture_or_task(name)


def takes_vocabulary_file(name: str) -> bool:
    """Returns whether the vocabulary of a task or mixture is a setting: ours, not another's."""
    is_local = name == LOCAL_TEXT or local_family(name) is not None
    is_mt5 = name.startswith("mt5_") or name.split(".")[0] == "mc4"
    is_benchmark = _BENCHMARKS.fullmatch(name) is not None
    return is_local or is_mt5 or is_benchmark or _ENCYCLOPEDIA_EXAMPLES.match(name) is not None


def is_provider(name: str) -> bool:
    """Returns whether a name is a task or mixture that is registered, or will be when asked for."""
    from presence_t5x import tasks

    tasks.register_all()
    return name in _registered() or _BENCHMARKS.fullmatch(name) is not None


def _registered() -> set[str]:
    return {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}


def _register(name: str, data_config: DataConfig) -> tuple[str, ...]:
    """Registers what a name may mean; returns which of the settings of `_OWNERS` it takes."""
    from presence_t5x import tasks

    vocabulary_file = data_config.vocabulary_file
    if name == LOCAL_TEXT:
        if data_config.local_text_files is None or vocabulary_file is None:
            raise ValueError(
                "mixture_or_task_name='local_text' needs local_text_files (a glob) and "
                "vocabulary_file (a SentencePiece model or 'bytes')"
            )
        tasks.register_local_text(data_config.local_text_files, vocabulary_file)
        return "local_text_files", "vocabulary_file"
    if (family := local_family(name)) is not None:
        if data_config.local_task_files is None or vocabulary_file is None:
            raise ValueError(
                f"mixture_or_task_name={name!r} needs local_task_files (a glob, or one for each "
                "split) and vocabulary_file (a SentencePiece model or 'bytes')"
            )
        tasks.register_local_examples(family, data_config.local_task_files, vocabulary_file)
        return "local_task_files", "vocabulary_file"
    tasks.register_all()
    if name.split(".")[0] == "mc4":
        tasks.register_mc4(data_config.mc4_version, vocabulary_file or MT5_VOCABULARY_FILE)
    elif (benchmark := _BENCHMARKS.fullmatch(name)) is not None:
        _register_benchmark(name, vocabulary_file, *benchmark.groups())
    elif name.startswith("mt5_"):
        version = data_config.tydi_qa_version
        tasks.register_xtreme(vocabulary_file or MT5_VOCABULARY_FILE, version)
    elif _ENCYCLOPEDIA_EXAMPLES.match(name):
        tasks.register_encyclopedia_examples(vocabulary_file)
    return ("vocabulary_file",) if takes_vocabulary_file(name) else ()


def _register_benchmark(name: str, vocabulary_file: str | None, prefix: str, kind: str) -> None:
    """Registers GLUE or SuperGLUE; T5's names only with a vocabulary: their own is none of ours."""
    from presence_t5x import tasks

    if not prefix and vocabulary_file is None:
        if name in _registered():
            return  # by T5's own code
        raise ValueError(
            f"mixture_or_task_name={name!r} needs vocabulary_file (a SentencePiece model or "
            f"'bytes'); 'mt5_{name}' has mT5's"
        )
    register = tasks.register_glue if kind == "glue" else tasks.register_super_glue
    register(vocabulary_file or MT5_VOCABULARY_FILE, prefix)


def tasks_of(provider: seqio.Task | seqio.Mixture) -> list[seqio.Task]:
    """Returns the tasks of a mixture, or the task itself."""
    return list(provider.tasks) if isinstance(provider, seqio.Mixture) else [provider]
