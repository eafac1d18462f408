"""The bytes of one tokenised document: a 12-byte header, int32 tokens, then four UTF-8 strings.

All numbers are little-endian: uint32 number of tokens, four uint16 string lengths in bytes (id,
language, source, noise), the tokens, the strings.
"""

import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_HEADER = struct.Struct("<IHHHH")


class TokenizedDocument(NamedTuple):
    """Tokens without EOS, and the labels of `Document`.

    The tokens of a pair are those of its inputs, `num_inputs` of them, then those of its targets.
    A record does not hold that number: like the split it is in the index of the store.
    """

    tokens: Int[np.ndarray, " tokens"]
    id: str
    language: str = ""
    source: str = ""
    noise: str = ""
    num_inputs: int = 0

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """Id, language, source and noise."""
        return self.id, self.language, self.source, self.noise

    @property
    def pair(self) -> tuple[Int[np.ndarray, " inputs"], Int[np.ndarray, " targets"]]:
        """Inputs (none if it is no pair) and targets."""
        return self.tokens[: self.num_inputs], self.tokens[self.num_inputs :]


def encode_record(document: TokenizedDocument) -> bytes:
    """Returns the record of a document.

    Raises:
      ValueError: an id or label has more than 65 535 bytes.

    >>> decode_record(encode_record(TokenizedDocument(np.array([5, 6]), "a:1", "sw"))).language
    'sw'
    """
    labels = [label.encode("utf-8") for label in document.labels]
    for name, label in zip(TokenizedDocument._fields[1:], labels):
        if len(label) > 0xFFFF:
            raise ValueError(
                f"{name} of document {document.id[:80]!r} has {len(label)} bytes, at most 65535"
            )
    header = _HEADER.pack(len(document.tokens), *map(len, labels))
    return header + np.asarray(document.tokens, "<i4").tobytes() + b"".join(labels)


def decode_record(record: bytes) -> TokenizedDocument:
    """Returns the document of a record; its tokens are a read-only view of the record.

    Raises:
      ValueError: the record's length does not fit its header.
    """
    if len(record) < _HEADER.size:
        raise ValueError(f"record of {len(record)} bytes is shorter than its header")
    num_tokens, *sizes = _HEADER.unpack_from(record)
    position = _HEADER.size + 4 * num_tokens
    if position + sum(sizes) != len(record):
        raise ValueError(f"record has {len(record)} bytes, its header says {position + sum(sizes)}")
    labels = []
    for size in sizes:
        labels.append(record[position : position + size].decode("utf-8"))
        position += size
    return TokenizedDocument(np.frombuffer(record, "<i4", num_tokens, _HEADER.size), *labels)
