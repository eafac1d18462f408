"""What `--input=GLOB_OR_TASK` of a command names: a registered task, a TFDS data set, or files."""

from collections.abc import Mapping, Sequence

from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import Source
from presence_t5x.data.task_source import TaskSource, is_task
from presence_t5x.data.text_files import FilesSource


def find_source(
    name: str,
    *,
    splits: Sequence[str],
    modules: Sequence[str] = (),
    task_files: str | Mapping[str, str] | None = None,
    text_field: str = "text",
    language: str = "",
    max_document_bytes: int = 10_000_000,
    mc4_version: str = "3.1.0",
    tydi_qa_version: str = "3.0.0",
) -> Source:
    """Returns the task of this name, or the files of this pattern.

    Args:
      name: a task or mixture, "tfds:NAME", or a folder, glob or URL of files.
      splits: of a task.
      modules: that register tasks: imported already, and by processes that read.
      task_files: of tasks like "local_nli_zeroshot"; see `DataConfig.local_task_files`.
      text_field: of JSON lines, parquet and TFDS.
      language: of files that do not say.
      max_document_bytes: documents of files that are longer are left out.
      mc4_version: of TFDS c4/multilingual.
      tydi_qa_version: of TFDS tydi_qa/goldp.
    """
    if not is_task(name):
        return FilesSource(
            name, text_field=text_field, max_document_bytes=max_document_bytes, language=language
        )
    # Only what registers the task is used of it.
    config = DataConfig(
        mixture_or_task_name=name,
        task_feature_lengths={"inputs": 1024, "targets": 229},
        mc4_version=mc4_version,
        tydi_qa_version=tydi_qa_version,
        local_task_files=task_files,
        vocabulary_file=None if task_files is None else "bytes",
    )
    return TaskSource(config, tuple(splits), tuple(modules), text_field)
