"""Whether a vocabulary is the one that a checkpoint was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING

from presence_t5x.config_types import DataConfig
from presence_t5x.convert.huggingface_files import is_huggingface
from presence_t5x.evaluation.checkpoints import Checkpoint
from presence_t5x.vocabulary_table import check_table_holds, check_table_is_used, table_setting

if TYPE_CHECKING:  # it imports TensorFlow
    import seqio


def trained_vocabulary(
    checkpoint: Checkpoint, trained: DataConfig | None, named: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """Returns the vocabulary of a checkpoint, None where nothing tells; and what is to be said.

    Args:
      checkpoint: of any format.
      trained: the data of its run.
      named: the vocabulary that is asked for.

    Raises:
      ValueError: that of its run cannot be found, and none is named.
    """
    from presence_t5x.data.vocabularies import BYTES, holds_model

    if trained is None:
        folder = checkpoint.location
        has_model = is_huggingface(folder) and holds_model(folder)
        return (str(folder) if has_model else None), ()
    try:
        found = vocabulary_of(trained)
    except ValueError as error:
        if named is None:
            raise ValueError(f"{error}; or name it with --vocabulary") from error
        return None, (_not_compared(str(error)),)
    if found == BYTES or "://" in found or Path(found).exists():
        return found, ()
    return None, (_not_compared(f"{found} is not there any more"),)


def _not_compared(why: str) -> str:
    return f"not compared with the vocabulary of the checkpoint's run: {why}"


def vocabulary_of(data: DataConfig) -> str:
    """Returns the vocabulary of a run; one that is named is not read."""
    if data.vocabulary_file is not None:
        return data.vocabulary_file
    from presence_t5x.data.sources import resolve_vocabulary
    from presence_t5x.data.vocabularies import specification_of

    return specification_of(resolve_vocabulary(data))


def check_fits(
    vocabulary: "seqio.Vocabulary", trained: str | None, checkpoint: Checkpoint, user: str
) -> None:
    """Raises ValueError if a vocabulary is not a checkpoint's, or its table another's.

    Args:
      vocabulary: to be used.
      trained: the checkpoint's own; None is not known.
      checkpoint: of the model.
      user: what has the vocabulary, for messages.
    """
    from presence_t5x.data.vocabularies import specification_of

    spec = specification_of(vocabulary)
    check_is_trained(spec, trained, str(checkpoint.location), user)
    size, rows = vocabulary.vocab_size, checkpoint.model.vocab_size or 0
    check_table_holds(spec, size, rows)
    check_table_is_used(spec, size, rows, table_setting(checkpoint.model))


def check_is_trained(found: str, trained: str | None, model: str, user: str) -> None:
    """Raises ValueError if a vocabulary is not the one that a model was trained with."""
    from presence_t5x.data.vocabularies import vocabulary_sha256

    if trained is None or found == trained:
        return
    if vocabulary_sha256(found) != vocabulary_sha256(trained):
        raise ValueError(
            f"{model} has the vocabulary {trained!r}, but {user} has {found!r}: its token ids "
            "would mean other pieces; use the model's vocabulary, or another model"
        )
