"""Text spoiled in known ways, whatever its language: what a score is asked to find.

Units of a text are its words, or its characters where a script writes no spaces. A spoiled text has
about the length of the clean one. The encyclopedia's own noise, which knows its words, is in
`data.encyclopedia.noise`.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from presence_t5x.data.encyclopedia.out_of_domain import generate_lines

CHARACTER_NOISE_SHARE = 0.2
WRONG_LANGUAGE_SHARE = 0.5
_REPEATED_UNITS = 8
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_SENTENCE_END = re.compile(r"(?<=[.!?।。！？؟])\s*")
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


def permute_words(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
    """Every unit once, in random order."""
    units, joiner = split_units(text)
    return joiner.join(units[i] for i in rng.permutation(len(units)))


def draw_random_words(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
    """As many units, each drawn from a random place of a random text of the language."""
    units, joiner = split_units(text)
    texts = pool.texts[language]
    drawn = []
    for _ in units:
        found = split_units(texts[int(rng.integers(len(texts)))])[0] or [""]
        drawn.append(found[int(rng.integers(len(found)))])
    return joiner.join(drawn)


def corrupt_characters(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
    """A share of the characters deleted, doubled or exchanged for another of the text."""
    letters = [character for character in text if not character.isspace()]
    out = []
    for character in text:
        if character.isspace() or rng.random() >= CHARACTER_NOISE_SHARE:
            out.append(character)
            continue
        other = letters[int(rng.integers(len(letters)))]
        out.append(("", character * 2, other)[int(rng.integers(3))])
    return "".join(out)


def mix_languages(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
    """Half of the sentences, rounded up, exchanged for those of a text in another language."""
    others = sorted(set(pool.texts) - {language})
    other = pool.texts[others[int(rng.integers(len(others)))]]
    foreign = split_sentences(other[int(rng.integers(len(other)))])
    own = split_sentences(text)
    number = int(np.ceil(len(own) * WRONG_LANGUAGE_SHARE))
    for place in rng.permutation(len(own))[:number]:
        own[place] = foreign[int(rng.integers(len(foreign)))]
    return " ".join(own)


def repeat_text(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
    """A few consecutive units over and over."""
    units, joiner = split_units(text)
    start = int(rng.integers(max(1, len(units) - _REPEATED_UNITS)))
    piece = units[start : start + _REPEATED_UNITS]
    return joiner.join(piece[i % len(piece)] for i in range(len(units)))


def add_markup(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
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


def leave_domain(text: str, language: str, pool: Pool, rng: np.random.Generator) -> str:
    """A text of another kind, cut to the length of this one."""
    if pool.out_of_domain:
        found = pool.out_of_domain[int(rng.integers(len(pool.out_of_domain)))]
    else:
        number = max(8, len(text) // 5)
        found = "\n".join(" ".join(line) for line in generate_lines(rng, number))
    return found[: len(text)]


Spoil = Callable[[str, str, Pool, np.random.Generator], str]
KINDS: Mapping[str, Spoil] = {
    "permuted_words": permute_words,
    "random_words": draw_random_words,
    "character_noise": corrupt_characters,
    "wrong_language": mix_languages,
    "repeated_text": repeat_text,
    "markup": add_markup,
    "out_of_domain": leave_domain,
}


def split_sentences(text: str) -> list[str]:
    """Returns the sentences of a text; at least one.

    >>> split_sentences("One. Two! Three")
    ['One.', 'Two!', 'Three']
    """
    return [found for found in _SENTENCE_END.split(text) if found.strip()] or [text]
