"""What a file's name tells of its examples, and which share of its lines is meant.

A pattern may end in a share, "xnli/dev.*.jsonl[20%:100%]": blocks of 30 consecutive lines, spread
evenly over the file, so that examples about one text stay together, the languages of a parallel
corpus are cut at the same lines, and shares that do not overlap have no line in common.
"""

import os
import re
from typing import NamedTuple

from presence_t5x.data.documents import TRAIN, VALIDATION

TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)
UNKNOWN_LANGUAGE = "und"  # as ISO 639-3 has it
_SPLIT_WORDS = {TRAIN: TRAIN, TEST: TEST}
_SPLIT_WORDS |= dict.fromkeys(("dev", "val", "valid", "validation"), VALIDATION)
_SHARE = re.compile(r"\[(?:(\d{1,3})%)?:(?:(\d{1,3})%)?\]$")
_LINES_PER_BLOCK = 30
_GOLDEN_RATIO = 0.6180339887498949
_CODES = """
aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv
dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie
ig ii ik io is it iu iw ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu
lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu
rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr
ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_ISO_639_1 = frozenset(_CODES.split())


class Share(NamedTuple):
    """From which part of a file's lines to which, 0 to 1."""

    start: float = 0.0
    stop: float = 1.0

    def has(self, line: int) -> bool:
        """Returns whether a line (from 1) belongs to it."""
        if self == Share():
            return True
        place = (line - 1) // _LINES_PER_BLOCK * _GOLDEN_RATIO % 1
        return self.start <= place < self.stop


def parse_share(pattern: str) -> tuple[str, Share]:
    """Returns a pattern without its share, and the share.

    >>> parse_share("a/*.jsonl[:80%]")
    ('a/*.jsonl', Share(start=0.0, stop=0.8))

    Raises:
      ValueError: an empty share, or one beyond 100 %.
    """
    match = _SHARE.search(pattern)
    if match is None or match[0] == "[:]":
        return pattern, Share()
    start, stop = int(match[1] or 0), int(match[2] or 100)
    if not 0 <= start < stop <= 100:
        raise ValueError(
            f"local_task_files={pattern!r}: the share must be [FROM%:TO%] with 0 <= FROM < TO <= "
            "100"
        )
    return pattern[: match.start()], Share(start / 100, stop / 100)


def _words(name: str) -> list[str]:
    """The parts of a file's name."""
    return re.split(r"[._-]", os.path.basename(name).lower())


def language_of_name(name: str) -> str:
    """Returns the language that a file's name tells, or "und".

    >>> language_of_name("panx/train.sw.jsonl.gz"), language_of_name("squad.json")
    ('sw', 'und')
    """
    codes = [word for word in _words(name) if word in _ISO_639_1]
    return codes[-1] if codes else UNKNOWN_LANGUAGE


def split_of_name(name: str) -> str | None:
    """Returns the split that a file's name tells, or None.

    >>> split_of_name("dev.sw.jsonl.gz"), split_of_name("xquad.sw.jsonl")
    ('validation', None)
    """
    splits = [_SPLIT_WORDS[word] for word in _words(name) if word in _SPLIT_WORDS]
    return splits[0] if splits else None
