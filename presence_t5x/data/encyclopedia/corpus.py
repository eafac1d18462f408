"""The corpus: documents of both splits with languages in turn and noise planted at a rate.

Document i of a split is a pure function of (config, split, i): nothing is stored, any document can
be asked for at once, and a resumed run needs to know its position only.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from presence_t5x._validate import check_choice, check_float, check_int
from presence_t5x.data.encyclopedia.documents import (
    NOISE_STREAM,
    SPLITS,
    Document,
    check_seed,
    generate_document,
    make_rng,
)
from presence_t5x.data.encyclopedia.knowledge import WorldConfig, build_world
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES, check_language
from presence_t5x.data.encyclopedia.noise import NOISE_KINDS, check_noise_kind, plant_noise

Item = TypeVar("Item")


class LazySequence(Sequence[Item], Generic[Item]):
    """A sequence whose items are computed from their index when asked for.

    Args:
      num_items: its length.
      make_item: index -> item; must be pure.
    """

    def __init__(self, num_items: int, make_item: Callable[[int], Item]):
        """Stores both."""
        self._num_items = num_items
        self._make_item = make_item

    def __len__(self) -> int:
        """The number of items."""
        return self._num_items

    def __getitem__(self, index):
        """One item, or a lazy sequence of a slice."""
        if isinstance(index, slice):
            indices = range(self._num_items)[index]
            return LazySequence(len(indices), lambda i: self._make_item(indices[i]))
        return self._make_item(range(self._num_items)[index])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncyclopediaConfig:
    """What the corpus consists of.

    Attributes:
      seed: below 2**32; the world has a seed of its own.
      num_train_documents: length of the train split.
      num_validation_documents: length of the validation split.
      languages: take turns in this order.
      noise_rate: share of the train documents with noise, in expectation.
      validation_noise_rate: the same for the validation split, by default clean.
      noise_kinds: share the noise evenly, in expectation.
      world: sizes of the knowledge base.

    Raises:
      ValueError: unknown or repeated language or kind, a rate outside [0, 1], or no documents.

    >>> EncyclopediaConfig(noise_rate=1.5)
    Traceback (most recent call last):
    ValueError: noise_rate=1.5 must lie in [0.0, 1.0]
    """

    seed: int = 0
    num_train_documents: int = 60_000
    num_validation_documents: int = 4_000
    languages: tuple[str, ...] = LANGUAGES
    noise_rate: float = 0.3
    validation_noise_rate: float = 0.0
    noise_kinds: tuple[str, ...] = NOISE_KINDS
    world: WorldConfig = dataclasses.field(default_factory=WorldConfig)

    def __post_init__(self):
        """Validates; runs once at construction."""
        check_seed("seed", self.seed)
        for name in ("num_train_documents", "num_validation_documents"):
            check_int(name, getattr(self, name), minimum=1)
        for name in ("noise_rate", "validation_noise_rate"):
            check_float(name, getattr(self, name), minimum=0.0, maximum=1.0)
        for name, check in (("languages", check_language), ("noise_kinds", check_noise_kind)):
            values = getattr(self, name)
            if isinstance(values, str) or not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name}={values!r} must be a non-empty tuple of distinct names; correct it"
                )
            for value in values:
                check(value)


def num_documents(config: EncyclopediaConfig, split: str) -> int:
    """The length of a split.

    Raises:
      ValueError: unknown split.
    """
    check_choice("split", split, SPLITS)
    return config.num_train_documents if split == "train" else config.num_validation_documents


def _corpus_document(config: EncyclopediaConfig, split: str, index: int) -> Document:
    """Document `index` of a split, with noise or without."""
    world = build_world(config.world)
    language = config.languages[index % len(config.languages)]
    document = generate_document(
        world, seed=config.seed, index=index, language=language, split=split
    )
    rate = config.noise_rate if split == "train" else config.validation_noise_rate
    if rate == 0:
        return document
    rng = make_rng(config.seed, split, index, NOISE_STREAM)
    draw = rng.random()
    if draw >= rate:
        return document
    kind = config.noise_kinds[int(draw / rate * len(config.noise_kinds))]
    return plant_noise(document, kind, rng, world)


def generate_documents(config: EncyclopediaConfig, *, split: str) -> LazySequence[Document]:
    """The documents of a split, computed when asked for.

    Guarantees: equal arguments give equal documents on every machine; languages differ in number by
    at most one; no seed is shared between splits; which documents are noised and what the others
    say does not depend on `noise_kinds`, and the clean documents at a lower `noise_rate` include
    those at a higher one unchanged.

    Args:
      config: what the corpus consists of.
      split: "train" or "validation".

    Returns:
      A sequence with length, iteration, random access and slices.

    Raises:
      ValueError: unknown split.

    >>> documents = generate_documents(EncyclopediaConfig(), split="train")
    >>> len(documents), documents[7].language
    (60000, 'ar')
    """
    return LazySequence(
        num_documents(config, split), functools.partial(_corpus_document, config, split)
    )
