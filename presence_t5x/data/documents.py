"""A document: the one currency between sources of text and the token store.

Also what every source shares: parts (the unit of parallel work and of a restart), problems (what
was left out, and where), and the hash of an id, from which splits and noise are derived.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

HELD_OUT_ONE_IN = 20
TRAIN, VALIDATION = "train", "validation"


class Document(NamedTuple):
    """A text with where it comes from; labels that are unknown are empty strings.

    With `inputs` it is a pair: what a model reads, and as `text` what it shall answer. Without,
    it is text to be corrupted.
    """

    text: str
    id: str
    language: str = ""
    source: str = ""
    noise: str = ""
    inputs: str = ""


class LocatedDocument(NamedTuple):
    """A document and the line of its file where it starts (or the number of its row or example)."""

    document: Document
    line: int


class Problem(NamedTuple):
    """Something of the input that is not in the store.

    Attributes:
      file: as ids name it.
      line: counted from 1; 0 is the whole file.
      kind: one word for counting, e.g. "encoding".
      message: what is wrong and what to do.
    """

    file: str
    line: int
    kind: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


Report = Callable[[Problem], None]
# A file of a kind that holds no text: worth saying, but no reason to stop.
UNKNOWN_KIND = "unknown_kind"


def raise_problem(problem: Problem) -> None:
    """The strict report: the first problem is an error, unless it is a file of an unknown kind."""
    if problem.kind != UNKNOWN_KIND:
        raise ValueError(str(problem))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a source that is read, written and repeated as a whole; always the same documents.

    Attributes:
      name: unique within the source.
      file: what problems name; empty is `name`.
      task: the documents of one task follow one another in a store.
      split: of all its documents; None is by the hash of each id.
      num_bytes: what reading it takes from disk; 0 is unknown.
    """

    name: str
    task: str
    file: str = ""
    split: str | None = None
    num_bytes: int = 0


class Listing(Protocol):
    """What a store is made of, whatever its parts are read as."""

    def parts(self) -> Sequence[Part]:
        """Returns the parts in the order of the store; the same for the same input."""
        ...

    def task_rates(self) -> dict[str, float]:
        """Returns the tasks in the order of their parts, with their rates in a mixture."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Returns what the content depends on, for JSON."""
        ...


class Source(Listing, Protocol):
    """Where documents come from; crosses to other processes, so it must be picklable."""

    def read(self, part: Part, report: Report) -> Iterator[LocatedDocument]:
        """Yields the documents of a part in order; what cannot be read is reported."""
        ...


def id_hash(identity: str) -> int:
    """Returns a 64-bit hash of an id, equal on every machine (Python's own is not).

    >>> id_hash("a.txt:1") % HELD_OUT_ONE_IN
    0
    """
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "little")


def split_of(identity_hash: int) -> str:
    """Returns "validation" for one id in 20, else "train"."""
    return VALIDATION if identity_hash % HELD_OUT_ONE_IN == 0 else TRAIN
