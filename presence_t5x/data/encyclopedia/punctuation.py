"""What of a word is punctuation, in every script of the encyclopedia."""

import functools
import re

# Vowel signs, nukta and virama of Devanagari and the tanwin of Arabic are no \w.
_SIGNS = "\u0901-\u0903\u093c\u093e-\u094d\u064b"
_EDGES = re.compile(rf"^([^\w{_SIGNS}]*)(.*?)([^\w{_SIGNS}]*)$", re.DOTALL)


@functools.lru_cache(maxsize=65536)
def split_punctuation(word: str) -> tuple[str, str, str]:
    """Cuts a word into leading punctuation, core and trailing punctuation.

    Args:
      word: any string.

    Returns:
      Three strings that concatenate to `word`; a word of punctuation alone has an empty core.

    >>> split_punctuation("(Karo),")
    ('(', 'Karo', '),')
    """
    match = _EDGES.match(word)
    assert match is not None  # every part may be empty
    return match.group(1), match.group(2), match.group(3)
