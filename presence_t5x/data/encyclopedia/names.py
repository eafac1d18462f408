"""Invented names and their spelling in five scripts.

A name is a tuple of syllables in a small phoneme inventory: an optional consonant, a vowel and an
optional coda (`"kar"`, `"o"`, `"min"`). `spell` writes it in a script, so that the names of one
entity correspond across languages. Every name ends in an open syllable with e, i, o or u, which no
language of the lexicons inflects.
"""

import numpy as np

Name = tuple[str, ...]

SCRIPTS = ("latin", "cyrillic", "devanagari", "han", "arabic")

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
_FINAL_VOWELS = "eiou"
_CODAS = "nrls"
_CODA_SHARE = 0.15
_AVOIDED = frozenset({"puto", "pene", "kulo", "pito", "foki", "kunu", "nazi", "sida", "pipi"})

_CYRILLIC = dict(zip(_CONSONANTS + "aiou", "бдфгклмнпрствзаиоу", strict=True))
_DEVANAGARI = dict(zip(_CONSONANTS, "बदफगकलमनपरसतवज", strict=True))
_DEVANAGARI_SIGNS = dict(zip(_VOWELS, ["ा", "े", "ी", "ो", "ू"], strict=True))
_DEVANAGARI_VOWELS = dict(zip(_VOWELS, "आएईओऊ", strict=True))
_VIRAMA = "्"
_HAN = {
    "": "阿埃伊奥乌",
    "b": "巴贝比博布",
    "d": "达德迪多杜",
    "f": "法费菲福弗",
    "g": "加格吉戈古",
    "k": "卡克基科库",
    "l": "拉莱利洛卢",
    "m": "马梅米莫穆",
    "n": "纳内尼诺努",
    "p": "帕佩皮波普",
    "r": "腊雷里罗鲁",
    "s": "萨塞西索苏",
    "t": "塔特蒂托图",
    "v": "瓦韦维沃武",
    "z": "扎泽齐佐祖",
}
_HAN_CODAS = dict(zip(_CODAS, "恩尔勒斯", strict=True))
_ARABIC = dict(zip(_CONSONANTS, "بدفغكلمنبرستفز", strict=True))
_ARABIC_VOWELS = dict(zip(_VOWELS, "اييوو", strict=True))
_ARABIC_INITIAL = dict(zip(_VOWELS, ("أ", "إي", "إي", "أو", "أو"), strict=True))


def _split(syllable: str) -> tuple[str, str, str]:
    """Consonant, vowel and coda of a syllable; the first and the last may be empty."""
    position = 0 if syllable[0] in _VOWELS else 1
    return syllable[:position], syllable[position], syllable[position + 1 :]


def _latin(name: Name) -> str:
    """Latin spelling, capitalised."""
    return "".join(name).capitalize()


def _cyrillic(name: Name) -> str:
    """Cyrillic spelling, capitalised; an initial e is written э."""
    letters = "".join(name)
    first = "э" if letters[0] == "e" else _CYRILLIC.get(letters[0], "е")
    return (first + "".join(_CYRILLIC.get(letter, "е") for letter in letters[1:])).capitalize()


def _devanagari(name: Name) -> str:
    """Devanagari spelling with vowel signs and the virama after a coda."""
    spelled = ""
    for consonant, vowel, coda in map(_split, name):
        if consonant:
            spelled += _DEVANAGARI[consonant] + _DEVANAGARI_SIGNS[vowel]
        else:
            spelled += _DEVANAGARI_VOWELS[vowel]
        spelled += _DEVANAGARI[coda] + _VIRAMA if coda else ""
    return spelled


def _han(name: Name) -> str:
    """Chinese spelling, one character for consonant and vowel and one for a coda."""
    spelled = ""
    for consonant, vowel, coda in map(_split, name):
        spelled += _HAN[consonant][_VOWELS.index(vowel)] + _HAN_CODAS.get(coda, "")
    return spelled


def _arabic(name: Name) -> str:
    """Arabic spelling with long vowels; e and i, o and u, b and p, f and v fall together."""
    spelled = ""
    for index, (consonant, vowel, coda) in enumerate(map(_split, name)):
        initial = not consonant and index == 0
        spelled += _ARABIC.get(consonant, "")
        spelled += (_ARABIC_INITIAL if initial else _ARABIC_VOWELS)[vowel]
        spelled += _ARABIC.get(coda, "")
    return spelled


_SPELL = dict(zip(SCRIPTS, (_latin, _cyrillic, _devanagari, _han, _arabic), strict=True))


def spell(name: Name, script: str) -> str:
    """Writes one name in a script.

    Different names made by `generate_names` get different spellings in every script.

    Args:
      name: syllables.
      script: one of `SCRIPTS`.

    Returns:
      The spelling, without spaces.

    Raises:
      ValueError: the script is unknown.

    >>> [spell(("kar", "mo"), script) for script in SCRIPTS]
    ['Karmo', 'Кармо', 'कार्मो', '卡尔莫', 'كارمو']
    """
    if script not in _SPELL:
        raise ValueError(f"script={script!r} is unknown; use one of {', '.join(SCRIPTS)}")
    return _SPELL[script](name)


def _draw_name(rng: np.random.Generator, num_syllables: int) -> Name:
    """Draws one name; only its first syllable may lack a consonant, the last has no coda."""
    syllables = []
    for index in range(num_syllables):
        last = index == num_syllables - 1
        vowels = _FINAL_VOWELS if last else _VOWELS
        bare = index == 0 and rng.random() < 0.15
        consonant = "" if bare else _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
        vowel = vowels[int(rng.integers(len(vowels)))]
        coda = _CODAS[int(rng.integers(len(_CODAS)))]
        has_coda = not last and rng.random() < _CODA_SHARE
        syllables.append(consonant + vowel + (coda if has_coda else ""))
    return tuple(syllables)


def generate_names(
    rng: np.random.Generator, num_names: int, num_syllables: tuple[int, int], taken: set[str]
) -> list[Name]:
    """Draws names that differ from each other and from all that is taken, in every script.

    Args:
      rng: source of randomness.
      num_names: how many names.
      num_syllables: smallest and largest number of syllables.
      taken: spellings and words in use, in lower case and any script; the new ones are added.

    Returns:
      The names.
    """
    names: list[Name] = []
    while len(names) < num_names:
        low, high = num_syllables
        name = _draw_name(rng, int(rng.integers(low, high + 1)))
        spellings = {spell(name, script).lower() for script in SCRIPTS}
        avoided = any(word in "".join(name) for word in _AVOIDED)
        if not avoided and taken.isdisjoint(spellings):
            taken |= spellings
            names.append(name)
    return names
