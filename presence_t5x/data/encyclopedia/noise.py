"""Planted noise: five ways to spoil a clean document, each with its label.

A kind takes the clean document and a generator and returns a document of about the same length. Id,
language and source stay those of the clean document, so that kinds can be compared within them;
`facts` become empty, because their spans no longer hold.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from presence_t5x._validate import check_choice
from presence_t5x.data.encyclopedia.documents import (
    CLEAN,
    FOREIGN_STREAM,
    Document,
    generate_document,
    word_forms,
)
from presence_t5x.data.encyclopedia.knowledge import World, build_world
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES
from presence_t5x.data.encyclopedia.out_of_domain import generate_lines
from presence_t5x.data.encyclopedia.punctuation import split_punctuation

CHARACTER_NOISE_SHARE = 0.25
WRONG_LANGUAGE_SHARE = 0.5
_DIGITS = "0123456789"


def _replace(
    document: Document,
    words: Sequence[str],
    sentences: Sequence[tuple[int, int]] | None = None,
    separator: str | None = None,
) -> Document:
    """The document with other words and without facts."""
    separator = document.separator if separator is None else separator
    return dataclasses.replace(
        document,
        text=separator.join(words),
        words=tuple(words),
        separator=separator,
        facts=(),
        sentences=document.sentences if sentences is None else tuple(sentences),
    )


def _permute_words(document: Document, rng: np.random.Generator, world: World) -> Document:
    """Permutes the words of the whole document; punctuation moves with its word."""
    order = rng.permutation(len(document.words)).tolist()
    words = [document.words[i] for i in order]
    if tuple(words) == document.words:
        words = words[1:] + words[:1]
    return _replace(document, words)


def _draw_random_words(document: Document, rng: np.random.Generator, world: World) -> Document:
    """Replaces every word by a uniformly drawn form of the language; punctuation stays in place."""
    forms = word_forms(world, document.language)
    drawn = rng.integers(len(forms), size=len(document.words)).tolist()
    words = []
    for word, index in zip(document.words, drawn, strict=True):
        prefix, core, suffix = split_punctuation(word)
        words.append(prefix + forms[index] + suffix if core else word)
    return _replace(document, words)


@functools.lru_cache(maxsize=64)
def _alphabet(world: World, language: str) -> tuple[str, ...]:
    """The characters of a language's words without digits, each once."""
    characters = set("".join(word_forms(world, language))) - set(_DIGITS)
    return tuple(sorted(c for c in characters if split_punctuation(c)[1]))


def _substitute(character: str, draw: float, alphabet: Sequence[str]) -> str:
    """Another character of the same script; a digit becomes another digit."""
    candidates = _DIGITS if character in _DIGITS else alphabet
    index = int(draw * len(candidates))
    if candidates[index] == character:
        index = (index + 1) % len(candidates)
    return candidates[index]


def _corrupt(core: str, draws: list[list[float]], alphabet: Sequence[str]) -> str:
    """Substitutes, deletes or swaps characters of one word, which keeps at least one."""
    # A swap uses up two characters, so it is made at the rate q with 2q / (1 + q) = the share.
    swap_rate = CHARACTER_NOISE_SHARE / (2 - CHARACTER_NOISE_SHARE)
    corrupted: list[str] = []
    position = 0
    while position < len(core):
        character = core[position]
        hit, operation, draw = draws[position]
        following = core[position + 1 : position + 2]
        position += 1
        swap = operation < 1 / 3 and following not in ("", character)
        if hit >= (swap_rate if swap else CHARACTER_NOISE_SHARE):
            corrupted.append(character)
        elif swap:
            corrupted += [following, character]
            position += 1
        elif operation < 2 / 3 and (corrupted or following):
            continue
        else:
            corrupted.append(_substitute(character, draw, alphabet))
    return "".join(corrupted)


def _corrupt_characters(document: Document, rng: np.random.Generator, world: World) -> Document:
    """Changes about a quarter of the characters within words."""
    alphabet = _alphabet(world, document.language)
    draws = rng.random((sum(map(len, document.words)), 3)).tolist()
    words, used = [], 0
    for word in document.words:
        prefix, core, suffix = split_punctuation(word)
        words.append(
            prefix + _corrupt(core, draws[used : used + len(core)], alphabet) + suffix
            if core
            else word
        )
        used += len(core)
    return _replace(document, words)


def _adapt(words: Sequence[str], separator: str, target: str) -> list[str]:
    """Writes a foreign sentence so that the host's separator leaves its spacing intact."""
    if separator == target:
        return list(words)
    if separator:  # with spaces into a text without: each word brings its space
        return [word + separator for word in words]
    return ["".join(words)]  # without spaces into a text with: one unit


def _mix_languages(document: Document, rng: np.random.Generator, world: World) -> Document:
    """Replaces half of the sentences, rounded up, by sentences in one other language."""
    others = [language for language in LANGUAGES if language != document.language]
    split, seed, index = document.id.split("-")
    foreign = generate_document(
        world,
        seed=int(seed),
        split=split,
        index=int(index),
        stream=FOREIGN_STREAM,  # not that of `rng`, whose first number has decided the kind
        language=others[int(rng.integers(len(others)))],
    )
    num_sentences = len(document.sentences)
    num_replaced = int(np.ceil(num_sentences * WRONG_LANGUAGE_SHARE))
    replaced = set(rng.permutation(num_sentences)[:num_replaced].tolist())
    words: list[str] = []
    sentences = []
    for number, (start, end) in enumerate(document.sentences):
        sentence = list(document.words[start:end])
        if number in replaced:
            start, end = foreign.sentences[number % len(foreign.sentences)]
            sentence = _adapt(foreign.words[start:end], foreign.separator, document.separator)
        sentences.append((len(words), len(words) + len(sentence)))
        words += sentence
    return _replace(document, words, sentences)


def _leave_domain(document: Document, rng: np.random.Generator, world: World) -> Document:
    """Replaces the document by pseudo-code, arithmetic or log lines of at least its length."""
    words: list[str] = []
    sentences = []
    for line in generate_lines(rng, len(document.words)):
        sentences.append((len(words), len(words) + len(line)))
        words += line
    return _replace(document, words, sentences, separator=" ")


_PLANTERS: dict[str, Callable[[Document, np.random.Generator, World], Document]] = {
    "permuted_words": _permute_words,
    "random_words": _draw_random_words,
    "character_noise": _corrupt_characters,
    "wrong_language": _mix_languages,
    "out_of_domain": _leave_domain,
}
NOISE_KINDS = tuple(_PLANTERS)


def check_noise_kind(kind: str) -> None:
    """Refuses an unknown kind.

    Raises:
      ValueError: `kind` is not one of `NOISE_KINDS`.
    """
    check_choice("noise kind", kind, NOISE_KINDS)


def plant_noise(
    document: Document, kind: str, rng: np.random.Generator, world: World | None = None
) -> Document:
    """Spoils a clean document in one way and labels it.

    Guarantees, beside `text == separator.join(words)`: "permuted_words" keeps the multiset of
    words; "random_words" keeps number of words and punctuation and draws every form of
    `word_forms` with equal probability; "character_noise" keeps the number of words and changes
    about 25 % of the characters; "wrong_language" keeps the number of sentences and replaces half
    of them, rounded up; "out_of_domain" has at least as many words and separator " ".

    Args:
      document: a clean document.
      kind: one of `NOISE_KINDS`.
      rng: source of randomness.
      world: the world of the document; None means the default one.

    Returns:
      A document whose `noise` is `kind`.

    Raises:
      ValueError: unknown kind, or the document has noise already.

    >>> document = generate_document(build_world(), seed=0, index=0, language="en")
    >>> noised = plant_noise(document, "permuted_words", np.random.default_rng(0))
    >>> noised.noise, sorted(noised.words) == sorted(document.words)
    ('permuted_words', True)
    """
    check_noise_kind(kind)
    if document.noise != CLEAN:
        raise ValueError(
            f"document {document.id} has noise={document.noise!r}, must be {CLEAN!r}; "
            "plant noise in clean documents only"
        )
    planted = _PLANTERS[kind](document, rng, build_world() if world is None else world)
    return dataclasses.replace(planted, noise=kind)
