"""Task `local_text`: text files of your own (see presence_t5x.data.text_files for the formats).

Splits: train, and validation = the documents whose BLAKE2 hash of the id is divisible by 20, about
5 %, at least one. One document a row (cut into segments) unless `pack` is set.
"""

from presence_t5x.data.preprocessors import add_labels, text_to_targets
from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.data.text_tasks import LocalTextSplits, add_text_task
from presence_t5x.data.vocabularies import load_vocabulary

NAME = "local_text"


def register_local_text(pattern: str, vocabulary: str) -> seqio.Task:
    """Registers `local_text` over the files of a glob or directory, in place of an earlier one.

    Args:
      pattern: glob, or a directory.
      vocabulary: a SentencePiece model or "bytes".

    Returns:
      the task.
    """
    splits = LocalTextSplits(pattern)
    return add_text_task(
        NAME,
        seqio.FunctionDataSource(splits.dataset, splits=splits.SPLITS),
        load_vocabulary(vocabulary),
        to_text=[text_to_targets, add_labels],
        concatenate=False,
    )
