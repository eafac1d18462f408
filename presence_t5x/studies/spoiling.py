"""Text spoiled in known ways, whatever its language: what a score is asked to find.

Units of a text are its words, or its characters where a script writes no spaces. A spoiled text has
about the length of the clean one. Some kinds have a degree: the share of units, characters or
sentences that is spoiled. The encyclopedia's own noise, which knows its words, is in
`data.encyclopedia.noise`.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from presence_t5x._validate import check_choice
from presence_t5x.data.encyclopedia.out_of_domain import generate_lines

_REPEATED_UNITS = 8
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
# What lies between sentences; scripts without spaces have nothing there.
_BETWEEN_SENTENCES = re.compile(r"((?<=[.!?।؟])\s+|(?<=[。！？])\s*)")
_TAGS = ("div", "span", "td", "li", "p", "a")
_ATTRIBUTES = ("class", "id", "style", "href", "data-id")


@dataclasses.dataclass(frozen=True)
class Pool:
    """Clean texts that others are spoiled with.

    Attributes:
      texts: by language; at least one each.
      out_of_domain: texts of another kind; none: generated code, arithmetic and log lines.
    """

    texts: Mapping[str, Sequence[str]]
    out_of_domain: Sequence[str] = ()


def split_units(text: str) -> tuple[list[str], str]:
    """Returns the units of a text and what joins them.

    >>> split_units("a b  c"), split_units("河流过城")
    ((['a', 'b', 'c'], ' '), (['河', '流', '过', '城'], ''))
    """
    if len(_UNSPACED.findall(text)) * 2 > len(text):
        return [character for character in text if not character.isspace()], ""
    return text.split(), " "


def permute_words(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """A share of the units in random order, in the places that they had together."""
    units, joiner = split_units(text)
    places = _choose(len(units), degree, rng)
    moved = list(units)
    for place, other in zip(places, rng.permutation(places)):
        moved[place] = units[other]
    return joiner.join(moved)


def draw_random_words(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """A share of the units, each exchanged for one of a random text of the language."""
    units, joiner = split_units(text)
    texts = pool.texts[language]
    for place in _choose(len(units), degree, rng):
        found = split_units(texts[int(rng.integers(len(texts)))])[0] or [""]
        units[place] = found[int(rng.integers(len(found)))]
    return joiner.join(units)


def corrupt_characters(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """A share of the characters deleted, doubled or exchanged for another of the text."""
    letters = [character for character in text if not character.isspace()]
    out = []
    for character in text:
        if character.isspace() or rng.random() >= degree:
            out.append(character)
            continue
        other = letters[int(rng.integers(len(letters)))]
        out.append(("", character * 2, other)[int(rng.integers(3))])
    return "".join(out)


def mix_languages(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """A share of the sentences, rounded up, exchanged for those of a text in another language."""
    others = sorted(set(pool.texts) - {language})
    other = pool.texts[others[int(rng.integers(len(others)))]]
    foreign = split_sentences(other[int(rng.integers(len(other)))])
    pieces = _BETWEEN_SENTENCES.split(text)  # what separates them is at odd places
    own = [place for place in range(0, len(pieces), 2) if pieces[place].strip()]
    for number in _choose(len(own), degree, rng):
        pieces[own[number]] = foreign[int(rng.integers(len(foreign)))]
    return "".join(pieces)


def repeat_text(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """A few consecutive units over and over."""
    units, joiner = split_units(text)
    start = int(rng.integers(max(1, len(units) - _REPEATED_UNITS)))
    piece = units[start : start + _REPEATED_UNITS]
    return joiner.join(piece[i % len(piece)] for i in range(len(units)))


def add_markup(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """Pieces of the text within tags of a web page, in as many characters as before."""
    units, joiner = split_units(text)
    parts: list[str] = []
    length, place = 0, 0
    while length < len(text) and place < len(units):
        size = int(rng.integers(1, 6))
        tag = _TAGS[int(rng.integers(len(_TAGS)))]
        name = _ATTRIBUTES[int(rng.integers(len(_ATTRIBUTES)))]
        inner = joiner.join(units[place : place + size])
        parts.append(f'<{tag} {name}="{int(rng.integers(16**6)):x}">{inner}</{tag}>')
        length, place = length + len(parts[-1]), place + size
    return "".join(parts)


def leave_domain(
    text: str, language: str, pool: Pool, rng: np.random.Generator, degree: float
) -> str:
    """A text of another kind, cut to the length of this one if it is longer."""
    if pool.out_of_domain:
        found = pool.out_of_domain[int(rng.integers(len(pool.out_of_domain)))]
    else:
        found = "\n".join(" ".join(line) for line in generate_lines(rng, len(text)))
    return found[: len(text)]


Spoil = Callable[[str, str, Pool, np.random.Generator, float], str]


class Kind(NamedTuple):
    """A kind of noise; `degree` is what it has where none is asked for, None if it has none."""

    spoil: Spoil
    degree: float | None = None


KINDS: Mapping[str, Kind] = {
    "permuted_words": Kind(permute_words, 1.0),
    "random_words": Kind(draw_random_words, 1.0),
    "character_noise": Kind(corrupt_characters, 0.2),
    "wrong_language": Kind(mix_languages, 0.5),
    "repeated_text": Kind(repeat_text),
    "markup": Kind(add_markup),
    "out_of_domain": Kind(leave_domain),
}


class Noise(NamedTuple):
    """A kind of noise at a degree, as it is written on a command line: KIND or KIND:DEGREE."""

    kind: str
    degree: float | None

    def spoil(self, text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
        """Returns the text spoiled."""
        return KINDS[self.kind].spoil(text, language, pool, rng, self.degree or 0.0)


def parse_kinds(text: str) -> list[str]:
    """Returns the noises of KIND[:DEGREE],... as they are written.

    Raises:
      ValueError: none, or as `parse_noise`.
    """
    kinds = text.split(",")
    if not text:
        raise ValueError(f"--kinds names no noise; it is of {', '.join(KINDS)}")
    for kind in kinds:
        parse_noise(kind)
    return kinds


def parse_noise(text: str) -> Noise:
    """Returns what KIND or KIND:DEGREE says.

    Raises:
      ValueError: an unknown kind, or a degree that it has not or that is not in (0, 1].

    >>> parse_noise("character_noise"), parse_noise("permuted_words:0.25").degree
    (Noise(kind='character_noise', degree=0.2), 0.25)
    """
    name, _, degree = text.partition(":")
    check_choice("--kinds", name, tuple(KINDS))
    default = KINDS[name].degree
    if not degree:
        return Noise(name, default)
    try:
        found = float(degree)
    except ValueError as error:
        raise ValueError(f"--kinds={text}: {degree!r} is no number") from error
    if default is None:
        with_degree = [kind for kind, found in KINDS.items() if found.degree is not None]
        raise ValueError(f"--kinds={text}: {name} has no degree; these have: {with_degree}")
    if not 0 < found <= 1:
        raise ValueError(f"--kinds={text}: the degree is the share that is spoiled, in (0, 1]")
    return Noise(name, found)


def split_sentences(text: str) -> list[str]:
    """Returns the sentences of a text; at least one.

    >>> split_sentences("One is 1.5 km. Two! Three")
    ['One is 1.5 km.', 'Two!', 'Three']
    """
    return [found for found in _BETWEEN_SENTENCES.split(text)[::2] if found.strip()] or [text]


def _choose(number: int, share: float, rng: np.random.Generator) -> list[int]:
    """Returns which of so many places are spoiled: a share of them, rounded up, in order."""
    return sorted(rng.permutation(number)[: int(np.ceil(number * share))].tolist())
