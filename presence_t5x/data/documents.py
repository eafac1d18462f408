"""A document: the one currency between sources of text and the token store."""

from collections.abc import Iterable
from typing import NamedTuple


class Document(NamedTuple):
    """A text with where it comes from; labels that are unknown are empty strings."""

    text: str
    id: str
    language: str = ""
    source: str = ""
    noise: str = ""


class DocumentGroup(NamedTuple):
    """The documents of one task, and the rate at which its rows are drawn in a mixture."""

    name: str
    rate: float
    documents: Iterable[Document]
