"""Rows before an objective: what a store holds of them, with their labels.

Objectives may count special tokens into a document (`Frame`), e.g. one that ends it. A document is
then cut into rows together with them: pieces are of the framed document.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from presence_t5x.data.token_records import TokenizedDocument
from presence_t5x.data.token_store import TokenStore

MIXED_LABEL = "mixed"


class Part(NamedTuple):
    """What a row has of one document.

    Attributes:
      num_tokens: of the document, without its frame.
      has_begin, has_end: whether the frame's tokens stand in front of them and behind them.
    """

    num_tokens: int
    has_begin: bool
    has_end: bool


class Frame(NamedTuple):
    """Special tokens that are counted into every document of text."""

    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.begin) + len(self.end)

    def part(self, num_tokens: int, start: int, stop: int) -> tuple[slice, Part]:
        """Returns which of a document's tokens a piece has, and what it is as a part of a row.

        Args:
          num_tokens: of the document, without its frame.
          start: of the piece, in tokens of the framed document.
          stop: of the piece.

        >>> Frame((), (1,)).part(5, 4, 6)
        (slice(4, 5, None), Part(num_tokens=1, has_begin=False, has_end=True))
        """
        shift = len(self.begin)
        first, last = max(start - shift, 0), min(stop - shift, num_tokens)
        part = Part(last - first, start < shift, stop > num_tokens + shift)
        return slice(first, last), part

    def segments(self, row: "TextRow") -> list[Int[np.ndarray, " tokens"]]:
        """Returns a row's parts with the frame's tokens, as int32."""
        parts = row.parts or (Part(len(row.tokens), True, True),)
        ends = np.cumsum([part.num_tokens for part in parts])
        return [
            np.concatenate(
                [
                    np.asarray(self.begin if part.has_begin else (), np.int32),
                    tokens.astype(np.int32, copy=False),
                    np.asarray(self.end if part.has_end else (), np.int32),
                ]
            )
            for part, tokens in zip(parts, np.split(row.tokens, ends[:-1]))
        ]


NO_FRAME = Frame()


class TextRow(NamedTuple):
    """Tokens before the objective, without special ones, and the labels of the row.

    Attributes:
      parts: of the documents in the row; none is one document, whole.
    """

    tokens: Int[np.ndarray, " tokens"]
    example_id: str
    language: str
    source: str
    noise: str
    parts: tuple[Part, ...] = ()

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """Its id, language, source and noise."""
        return self[1:5]


class PairRow(NamedTuple):
    """Inputs and targets without EOS, of several pairs where they share a row, and its labels."""

    pairs: list[tuple[Int[np.ndarray, " inputs"], Int[np.ndarray, " targets"]]]
    example_id: str
    language: str
    source: str
    noise: str

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """Its id, language, source and noise."""
        return self[1:5]


def read_text_row(
    store: TokenStore,
    pieces: Sequence[tuple[int, int, int]],
    segment_length: int | None = None,
    frame: Frame = NO_FRAME,
) -> TextRow:
    """Reads and concatenates (document, start, stop) pieces.

    Args:
      store: the tokens.
      pieces: at least one, of framed documents.
      segment_length: of the segments that rows are numbered by; None where rows are packed.
      frame: of the documents.
    """
    read = [(store[document], start, stop) for document, start, stop in pieces]
    return text_row(read, segment_length, frame)


def text_row(
    pieces: Sequence[tuple[TokenizedDocument, int, int]],
    segment_length: int | None = None,
    frame: Frame = NO_FRAME,
) -> TextRow:
    """Concatenates pieces of documents that were read; arguments as those of `read_text_row`."""
    documents = [document for document, _, _ in pieces]
    ids = [document.id for document in documents]
    if segment_length and pieces[0][1]:
        ids = [f"{ids[0]}#{pieces[0][1] // segment_length}"]
    cuts = [frame.part(len(document.tokens), start, stop) for document, start, stop in pieces]
    tokens = [document.tokens[where] for document, (where, _) in zip(documents, cuts)]
    return TextRow(
        np.concatenate(tokens),
        "|".join(ids),
        *_common_labels(documents),
        parts=tuple(part for _, part in cuts),
    )


def trim_tokens(
    tokens: Int[np.ndarray, " tokens"], length: int, eos_id: int
) -> Int[np.ndarray, " trimmed"]:
    """Returns at most `length` tokens, EOS at the end, as seqio's `append_eos_after_trim`."""
    return np.append(tokens[: length - 1], np.int32(eos_id))


def read_pair_row(store: TokenStore, documents: Sequence[int]) -> PairRow:
    """Reads pairs that share a row."""
    found = [store[document] for document in documents]
    ids = "|".join(document.id for document in found)
    return PairRow([document.pair for document in found], ids, *_common_labels(found))


def _common_labels(documents: Sequence[Any]) -> tuple[str, ...]:
    """Language, source and noise of a row."""
    columns = zip(*(document.labels[1:] for document in documents))
    return tuple(labels[0] if len(set(labels)) == 1 else MIXED_LABEL for labels in columns)
