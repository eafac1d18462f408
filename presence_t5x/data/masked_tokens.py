"""Masked tokens: some of a row's tokens hidden, which the model must tell from the others.

The one definition of the objective, as `span_corruption` is of the other one: both readers call
`mask_rows`, a pure function of a row's tokens and one 64-bit key.

Of a row's tokens 15 % are chosen, exactly so many but for rounding, at least one; of those each is
replaced by the mask (80 %), by a random token (10 %), or left (10 %), drawn one by one (Devlin et
al. 2019, section 3.1; XLM-R, Conneau et al. 2020, section 3, has the same).

Special tokens. The project's vocabularies (mT5's among them) have padding, EOS, unknown and a
hundred sentinels, but neither a mask nor a begin token. The two highest sentinels, which no text
contains, stand for them: `<extra_id_0>` is the mask and `<extra_id_1>` begins a document, as
XLM-R's `<s>` and BERT's [CLS] do: a classifier reads it. A document ends in EOS, as in XLM-R in
`</s>`. Neither is ever chosen, and random tokens are neither special nor sentinels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from presence_t5x.data.seeded_rows import (
    RaggedRows,
    draw_numbers,
    mix_bits,
    rows_of,
    smallest_of_rows,
)
from presence_t5x.data.sentinels import sentinels_of

_HIDDEN, _REPLACED = 0.8, 0.1  # shares of the chosen tokens; the rest stays
_UNIT = 2.0**-53  # a 53-bit integer to [0, 1)


class EncoderIds(NamedTuple):
    """Special ids of encoder-only models.

    Attributes:
      mask: hides a token.
      begin: in front of every document, and of every row.
      eos: behind every document.
      ordinary: all ids that are neither special nor sentinels, ascending.
    """

    mask: int
    begin: int
    eos: int
    ordinary: Int[np.ndarray, " ids"]


class MaskedRows(NamedTuple):
    """What the model reads, and which of its tokens it must tell."""

    inputs: RaggedRows
    is_chosen: Bool[np.ndarray, " tokens"]


def encoder_ids(vocabulary: Any) -> EncoderIds:
    """Returns the special ids of a seqio vocabulary.

    Raises:
      ValueError: fewer than two sentinels, or no id that is not special.

    >>> from presence_t5x.data.vocabularies import load_vocabulary
    >>> found = encoder_ids(load_vocabulary("bytes"))
    >>> found.mask, found.begin, found.eos, found.ordinary[[0, -1]].tolist()
    (358, 357, 1, [3, 258])
    """
    sentinels = sentinels_of(vocabulary)
    if sentinels.num_sentinels < 2:
        raise ValueError(
            f"the vocabulary of {vocabulary.vocab_size} ids has one sentinel, but two are needed: "
            "<extra_id_0> as the mask and <extra_id_1> to begin a document; load it with extra ids"
        )
    num_others = sentinels.first_id + 1 - sentinels.num_sentinels
    special = [getattr(vocabulary, name, None) for name in ("pad_id", "eos_id", "unk_id", "bos_id")]
    ordinary = np.setdiff1d(np.arange(1, num_others), [one for one in special if one is not None])
    if not ordinary.size:
        raise ValueError(
            f"the vocabulary of {vocabulary.vocab_size} ids has no id beside special ones and "
            "sentinels, so none can stand for a random token"
        )
    first = sentinels.first_id
    return EncoderIds(first, first - 1, vocabulary.eos_id, ordinary.astype(np.int32))


def with_begin(row: Int[np.ndarray, " tokens"], ids: EncoderIds) -> Int[np.ndarray, " longer"]:
    """Returns a row that begins with the begin token, one longer unless it does already.

    A row may start in the middle of a document.
    """
    return row if row[0] == ids.begin else np.insert(row, 0, ids.begin)


def mask_rows(
    rows: RaggedRows, keys: Sequence[int], ids: EncoderIds, *, noise_density: float = 0.15
) -> MaskedRows:
    """Returns rows with some of their tokens hidden.

    Of n tokens that are neither begin nor EOS, max(1, round(n * noise_density)) are chosen; none in
    a row without such tokens. `round` is Python's (half to even).

    Args:
      rows: at most 2**20, special tokens included.
      keys: of each row, from `mask_key`; its only source of randomness.
      ids: of the vocabulary.
      noise_density: share of the tokens that are chosen.
    """
    tokens, lengths = rows
    places = np.flatnonzero((tokens != ids.begin) & (tokens != ids.eos))
    counts = np.bincount(rows_of(lengths)[places], minlength=lengths.size)
    num_chosen = np.minimum(np.maximum(np.rint(counts * noise_density), 1), counts).astype(int)
    order = draw_numbers(counts, np.asarray(keys, np.uint64))
    found = smallest_of_rows(counts, order, num_chosen)
    chosen, kinds = places[found], mix_bits(~order[found])
    kind = (kinds >> np.uint64(11)) * _UNIT
    drawn = ids.ordinary[mix_bits(~kinds) % np.uint64(ids.ordinary.size)]
    replaced = np.where(kind < _HIDDEN + _REPLACED, drawn, tokens[chosen])
    inputs, is_chosen = tokens.copy(), np.zeros(tokens.size, bool)
    inputs[chosen] = np.where(kind < _HIDDEN, ids.mask, replaced)
    is_chosen[chosen] = True
    return MaskedRows(RaggedRows(inputs, lengths), is_chosen)
