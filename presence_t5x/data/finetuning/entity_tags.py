"""BIO tags to entities as WikiAnn writes them in TFDS: "PER: rick"."""

import re
from collections.abc import Sequence

_TAG = re.compile(r"O|([BI])-([^\s:$]+)")


def spans_of_tags(tokens: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Returns "TYPE: surface" of every entity in order, its tokens joined by spaces.

    A tag I- that does not continue an entity of its type begins a new one, as in TFDS.

    Args:
      tokens: of a sentence.
      tags: one a token: O, B-TYPE or I-TYPE.

    Raises:
      ValueError: a tag is none of these.

    >>> spans_of_tags("Rick lives in New York".split(), ["B-PER", "O", "O", "B-LOC", "I-LOC"])
    ['PER: Rick', 'LOC: New York']
    """
    spans: list[tuple[str, list[str]]] = []
    open_type = None
    for token, tag in zip(tokens, tags, strict=True):
        match = _TAG.fullmatch(tag)
        if match is None:
            raise ValueError(f"tag {tag!r} is none of O, B-TYPE and I-TYPE; correct it")
        kind, entity_type = match.groups()
        if kind == "I" and entity_type == open_type:
            spans[-1][1].append(token)
        elif kind:
            spans.append((entity_type, [token]))
        open_type = entity_type
    return [f"{entity_type}: {' '.join(words)}" for entity_type, words in spans]
