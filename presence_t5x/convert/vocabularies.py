"""Rows of the token table against pieces of a vocabulary: said, and changed where asked for.

Tables have more rows than there are pieces, rounded up to a multiple of 128 (mT5: 250,112 for
250,100). The rows at the end are padding: no text uses them, and they are kept as they are.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

from presence_t5x.convert import tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.moments import Moments
from presence_t5x.convert.tensors import Tensors
from presence_t5x.convert.zarr_arrays import first_line

_VOCABULARY_AXES = {
    "token_embedder/embedding": 0,
    "decoder/logits_dense/kernel": 1,
    "lm_head/bias": 0,
}
_MT5_ROWS, _MT5_PIECES = 250_112, 250_100


def describe_vocabulary(num_rows: int, source: Path) -> str:
    """Returns what there is to say about a table's rows.

    Args:
      source: a folder that may hold Hugging Face's spiece.model.
    """
    model = source / "spiece.model"
    if model.is_file():
        try:
            pieces = SentencePieceProcessor(model_file=str(model)).get_piece_size()
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{model} is no SentencePiece model ({first_line(error)}); copy it again "
                "or remove it"
            ) from error
        origin = f"of {model}"
    elif num_rows == _MT5_ROWS:
        pieces, origin = _MT5_PIECES, "of mT5's vocabulary"
    else:
        return f"vocabulary: {num_rows:,} rows, kept; those beyond your vocabulary are padding"
    if pieces > num_rows:
        return f"vocabulary: {num_rows:,} rows, fewer than the {pieces:,} pieces {origin}"
    return (
        f"vocabulary: {num_rows:,} rows for the {pieces:,} pieces {origin}: {num_rows - pieces} "
        "rows of padding, kept"
    )


def resize_vocabulary(found: Content, num_rows: int) -> Content:
    """Returns a checkpoint whose token table has another number of rows.

    New rows, and columns of the logits, are copies of those of padding (id 0), which training made
    improbable: zeros would be improbable only where other logits are positive.
    """
    present = found.config.vocab_size or 0
    indices = np.concatenate(
        [np.arange(min(present, num_rows)), np.zeros(max(0, num_rows - present), int)]
    )
    params: Tensors = dict(found.params)
    moments: Mapping[str, Moments] | None = found.moments
    for path, axis in _VOCABULARY_AXES.items():
        if path not in params:
            continue
        params[path] = tensors.taken(params[path], indices, axis)
        if moments is not None:
            moments = {**moments, path: _resized(moments[path], indices, axis)}
    change = "cut off" if num_rows < present else "added as copies of row 0 (padding)"
    note = f"vocabulary: {abs(num_rows - present):,} rows were {change}: {num_rows:,} now"
    config = dataclasses.replace(found.config, vocab_size=num_rows)
    return found._replace(config=config, params=params, moments=moments, notes=(*found.notes, note))


def _resized(moments: Moments, indices: np.ndarray, axis: int) -> Moments:
    if moments.whole is not None:
        return Moments(whole=tensors.taken(moments.whole, indices, axis))
    assert moments.along is not None
    first, second = moments.along
    if axis == 0:
        return Moments(along=(tensors.taken(first, indices, 0), second))
    return Moments(along=(first, tensors.taken(second, indices, 0)))
