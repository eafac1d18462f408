"""Clean documents: entries of the encyclopedia, rendered from the knowledge base.

A document tells about one entity: what it is, several of its facts and sometimes facts of a
related entity, each in one of the paraphrases of its language. Which entity, facts and paraphrases
is a pure function of (seed, split, index, stream). `corpus` adds languages, splits and noise.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from presence_t5x._validate import check_choice, check_int
from presence_t5x.data.encyclopedia.knowledge import (
    ATTRIBUTES,
    NUMBERS,
    SOURCES,
    World,
    kind_of,
    values_of,
)
from presence_t5x.data.encyclopedia.lexicons import Template, get_lexicon
from presence_t5x.data.encyclopedia.names import spell
from presence_t5x.data.encyclopedia.punctuation import split_punctuation

SPLITS = {"train": 1, "validation": 2}
CLEAN = "clean"
MINIMUM_WORDS = 30

# Streams: the fourth word of a seed; 0 belongs to the world.
DOCUMENT_STREAM = 1
NOISE_STREAM = 2
FOREIGN_STREAM = 3

_NUM_DRAWS = 64
_NAME_JOINERS = {"han": "·"}


class Fact(NamedTuple):
    """One stated fact and where it stands in the text; spans are (start, end) in characters."""

    entity: str
    attribute: str
    value: str
    entity_span: tuple[int, int]
    value_span: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Document:
    """One document with its labels.

    `text == separator.join(words)` always holds. Punctuation is attached to words.

    Attributes:
      text: what a model reads.
      language: one of `lexicons.LANGUAGES`; of a noised document, that of the clean one.
      source: the topic, one of `knowledge.SOURCES`.
      id: unique in a corpus, `split-seed-index`.
      noise: "clean" or a kind of `noise.NOISE_KINDS`.
      words: the segmentation of the text.
      separator: what joins the words; "" in Chinese.
      facts: the stated facts; empty in a noised document, whose spans would be wrong.
      sentences: (first, last + 1) word indices of each sentence.
    """

    text: str
    language: str
    source: str
    id: str
    noise: str
    words: tuple[str, ...]
    separator: str
    facts: tuple[Fact, ...]
    sentences: tuple[tuple[int, int], ...]


class Surface(NamedTuple):
    """The words of an entity or value in one language, and their joined length."""

    words: tuple[str, ...]
    num_characters: int


def check_seed(name: str, value: int) -> None:
    """Refuses a seed or index that would not be one word of a `SeedSequence`.

    Raises:
      ValueError: the value is no integer, negative or needs more than 32 bits.
    """
    check_int(name, value, minimum=0, maximum=2**32 - 1)


def make_rng(seed: int, split: str, index: int, stream: int) -> np.random.Generator:
    """The generator of one document; different arguments give independent generators.

    Args:
      seed: seed of the corpus, below 2**32.
      split: one of `SPLITS`.
      index: position in the split, below 2**32.
      stream: what the numbers are for.

    Returns:
      A Philox generator.

    Raises:
      ValueError: unknown split, or seed or index out of range.
    """
    check_choice("split", split, SPLITS)
    check_seed("seed", seed)
    check_seed("index", index)
    # Always four words: SeedSequence pads shorter entropy with zeros.
    entropy = np.random.SeedSequence([seed, SPLITS[split], index, stream])
    return np.random.Generator(np.random.Philox(entropy))


@functools.lru_cache(maxsize=64)
def surfaces(world: World, language: str) -> Mapping[str, Surface]:
    """How every entity and value of the world is written in a language.

    Args:
      world: the world.
      language: one of `lexicons.LANGUAGES`.

    Returns:
      Entity or value id -> surface.
    """
    lexicon = get_lexicon(language)
    texts: dict[str, str] = {}
    for entity, name in world.names.items():
        joiner = _NAME_JOINERS.get(lexicon.script, " ")
        texts[entity] = joiner.join(spell(part, lexicon.script) for part in name)
    for category, values in lexicon.values.items():
        texts.update({f"{category}:{value}": text for value, text in values.items()})
    for kind in NUMBERS:
        texts.update({value: _digits(value) for value in values_of(world, kind)})
    return {key: Surface(tuple(text.split(" ")), len(text)) for key, text in texts.items()}


def _digits(value: str) -> str:
    """The digits in the id of a number."""
    return value.partition(":")[2]


@functools.lru_cache(maxsize=64)
def word_forms(world: World, language: str) -> tuple[str, ...]:
    """Every distinct word form that clean documents of a language can contain.

    Punctuation is stripped, case is kept.

    Args:
      world: the world.
      language: one of `lexicons.LANGUAGES`.

    Returns:
      The forms, sorted.

    >>> from presence_t5x.data.encyclopedia.knowledge import build_world
    >>> "inhabitants" in word_forms(build_world(), "en")
    True
    """
    words = {word for surface in surfaces(world, language).values() for word in surface.words}
    for templates in get_lexicon(language).statements.values():
        words.update(word for template in templates for word in template if isinstance(word, str))
    return tuple(sorted({split_punctuation(word)[1] for word in words} - {""}))


def realize(
    template: Template, subject: Surface, value: Surface, separator: str, position: int = 0
) -> tuple[list[str], tuple[int, int], tuple[int, int]]:
    """Fills one template.

    Args:
      template: words and slots.
      subject: surface for `{s}`.
      value: surface for `{v}`.
      separator: what will join the words.
      position: offset of the first word in the text.

    Returns:
      The words, and the character spans of the subject and the value. A template without a slot
      has the span (0, 0) for it.
    """
    words: list[str] = []
    spans = [(0, 0), (0, 0)]
    gap = len(separator)
    for word in template:
        if isinstance(word, str):
            words.append(word)
            position += len(word) + gap
            continue
        surface = subject if word.is_subject else value
        start = position + len(word.prefix)
        end = start + surface.num_characters
        spans[0 if word.is_subject else 1] = (start, end)
        if len(surface.words) == 1:
            words.append(word.prefix + surface.words[0] + word.suffix)
        else:
            first, *middle, last = surface.words
            words.extend((word.prefix + first, *middle, last + word.suffix))
        position = end + len(word.suffix) + gap
    return words, spans[0], spans[1]


def _shuffled(items: list[str], keys: list[float]) -> list[str]:
    """Orders items by random keys."""
    return [item for _, item in sorted(zip(keys, items, strict=False))]


def _plan(world: World, source: str, draws: list[float]) -> tuple[list[tuple[str, str]], int]:
    """Chooses (entity, attribute) pairs in order, and how many of them to state.

    The pairs after that number are there for documents that turn out too short.
    """
    entities = world.entities[source]
    entity = entities[int(draws[1] * len(entities))]
    lead, *rest = ATTRIBUTES[source]
    own = [(entity, a) for a in (lead, *_shuffled(rest, draws[8:16]))]
    num_own = 4 + int(draws[2] * 4)
    others = world.neighbours[entity]
    if not others:
        return own, num_own
    other = others[int(draws[3] * len(others))]
    lead, *rest = ATTRIBUTES[kind_of(other)]
    related = [(other, a) for a in (lead, *_shuffled(rest, draws[16:24]))]
    num_related = int(draws[4] * 3)
    chosen = own[:num_own] + related[:num_related]
    return chosen + own[num_own:] + related[num_related:], len(chosen)


def generate_document(
    world: World,
    *,
    seed: int,
    index: int,
    language: str,
    split: str = "train",
    stream: int = DOCUMENT_STREAM,
) -> Document:
    """Generates one clean document, a pure function of the arguments.

    Guarantees: 4 to 9 sentences (more only where 9 have fewer than 30 words), at least 30 words;
    the same arguments with another language give the same facts in the same order, of which a
    language of short sentences may need more to reach 30 words. Every span in `facts` covers
    exactly the surface of the entity or the value.

    Args:
      world: the knowledge base.
      seed: seed of the corpus.
      index: which document.
      language: one of `lexicons.LANGUAGES`.
      split: one of `SPLITS`; documents of different splits never share a seed.
      stream: keeps documents for other purposes apart.

    Returns:
      The document.

    Raises:
      ValueError: unknown language or split, or seed or index out of range.

    >>> from presence_t5x.data.encyclopedia.knowledge import build_world
    >>> document = generate_document(build_world(), seed=0, index=0, language="en")
    >>> document.text == document.separator.join(document.words)
    True
    """
    lexicon, table = get_lexicon(language), surfaces(world, language)
    draws = make_rng(seed, split, index, stream).random(_NUM_DRAWS).tolist()
    source = SOURCES[int(draws[0] * len(SOURCES))]
    plan, num_planned = _plan(world, source, draws)
    words: list[str] = []
    facts: list[Fact] = []
    sentences: list[tuple[int, int]] = []
    position = 0
    for number, (entity, attribute) in enumerate(plan):
        if number >= num_planned and len(words) >= MINIMUM_WORDS:
            break
        templates = lexicon.statements[attribute]
        template = templates[int(draws[32 + number] * len(templates))]
        value = world.facts[entity][attribute]
        sentence, entity_span, value_span = realize(
            template, table[entity], table[value], lexicon.separator, position
        )
        facts.append(Fact(entity, attribute, value, entity_span, value_span))
        sentences.append((len(words), len(words) + len(sentence)))
        words += sentence
        position += sum(map(len, sentence)) + len(lexicon.separator) * len(sentence)
    return Document(
        text=lexicon.separator.join(words),
        language=language,
        source=source,
        id=f"{split}-{seed}-{index}",
        noise=CLEAN,
        words=tuple(words),
        separator=lexicon.separator,
        facts=tuple(facts),
        sentences=tuple(sentences),
    )
