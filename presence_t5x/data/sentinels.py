"""Where a vocabulary keeps its sentinels (no seqio here: any object with these methods will do)."""

import re
from typing import Any, NamedTuple

_SENTINEL_PIECE = re.compile(r"^▁?<extra_id_(\d+)>$")


class Sentinels(NamedTuple):
    """`num_sentinels` ids counting down from `first_id`."""

    first_id: int
    num_sentinels: int


def sentinel_number(piece: str) -> int | None:
    """Returns k for the piece `<extra_id_k>` (with or without a leading space mark), else None.

    >>> sentinel_number("▁<extra_id_7>"), sentinel_number("extra")
    (7, None)
    """
    match = _SENTINEL_PIECE.match(piece)
    return int(match.group(1)) if match else None


def sentinels_of(vocabulary: Any) -> Sentinels:
    """Returns the sentinels at the top of a seqio vocabulary: ids vocab_size - 1 and downwards.

    A vocabulary with `extra_ids` says how many there are; otherwise (mT5, whose model file contains
    them) the pieces `<extra_id_0>`, `<extra_id_1>`, ... are counted from the top.

    Raises:
      ValueError: there are none.
    """
    first_id = vocabulary.vocab_size - 1
    num_sentinels = int(getattr(vocabulary, "extra_ids", 0) or 0)
    tokenizer = getattr(vocabulary, "tokenizer", None)
    if not num_sentinels and tokenizer is not None:
        while (
            num_sentinels <= first_id
            and sentinel_number(tokenizer.IdToPiece(first_id - num_sentinels)) == num_sentinels
        ):
            num_sentinels += 1
    if not num_sentinels:
        raise ValueError(
            f"the vocabulary of {first_id + 1} ids has no sentinels (<extra_id_0> ...) at its top; "
            "load it with extra ids, e.g. by presence_t5x.data.vocabularies.load_vocabulary"
        )
    return Sentinels(first_id, num_sentinels)
