"""The text a vocabulary is trained on: of each language its share, whatever the order."""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from presence_t5x.data.documents import Document, id_hash

# SentencePiece ignores sentences of more than 4192 bytes; shorter ones sample a language finer.
_SENTENCE_BYTES = 1000
_HASH_RANGE = 2.0**64
# Text kept before the sample is thinned out again, as a multiple of what is wanted.
_OVERFLOW = 1.25


class LanguageSample(NamedTuple):
    """What of a language the vocabulary was trained on.

    Attributes:
      bytes_seen: UTF-8 bytes in the documents.
      bytes_sampled: of these, in the training text.
      wanted_share: of the training text, before a language ran out of text.
      share: of the training text as it is.
    """

    bytes_seen: int
    bytes_sampled: int
    wanted_share: float
    share: float

    @property
    def whole(self) -> bool:
        """Whether all of its text was used."""
        return self.bytes_sampled == self.bytes_seen


class TextSample:
    """Sentences of each language at its rate, thinned out as the rates fall.

    A sentence is kept while a hash of it, its place and its document's id is below its language's
    rate. More text of any language lowers the rate of every language (for alpha <= 1) and never
    raises one, so what was dropped early is never missed, and the sample has no memory of order.
    """

    def __init__(self, alpha: float, max_bytes: int, seed: int):
        self._alpha = alpha
        self._max_bytes = max_bytes
        self._seed = seed
        self._bytes_seen: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._kept: dict[str, list[tuple[int, bytes]]] = {}
        self._num_bytes = 0

    def add(self, document: Document) -> None:
        """Takes the sentences of a document whose hashes are low enough."""
        language = document.language
        kept = self._kept.setdefault(language, [])
        threshold = self._rates.get(language, 1.0) * _HASH_RANGE
        num_bytes = 0
        text = f"{document.inputs}\n{document.text}" if document.inputs else document.text
        for number, sentence in enumerate(_sentences(text)):
            num_bytes += len(sentence)
            # With the text, because ids may be empty or repeated: equal hashes are kept together.
            key = id_hash(f"{self._seed} {number} {document.id} {sentence}")
            if key < threshold:
                kept.append((key, sentence))
                self._num_bytes += len(sentence)
        self._bytes_seen[language] = self._bytes_seen.get(language, 0) + num_bytes
        if self._num_bytes > _OVERFLOW * self._max_bytes:
            self._thin_out()

    def sentences(self) -> list[bytes]:
        """Returns the training text; sorted, because SentencePiece minds the order."""
        self._thin_out()
        return [sentence for _, sentence in sorted(itertools.chain(*self._kept.values()))]

    def languages(self) -> dict[str, LanguageSample]:
        """Returns what is in the training text, the language with most text first."""
        sampled = {
            language: sum(len(sentence) for _, sentence in kept)
            for language, kept in self._kept.items()
        }
        powers = {language: seen**self._alpha for language, seen in self._bytes_seen.items()}
        return {
            language: LanguageSample(
                bytes_seen=seen,
                bytes_sampled=sampled[language],
                wanted_share=powers[language] / sum(powers.values()),
                share=sampled[language] / sum(sampled.values()),
            )
            for language, seen in sorted(
                self._bytes_seen.items(), key=lambda item: (-item[1], item[0])
            )
            if seen
        }

    def _thin_out(self) -> None:
        self._rates = sampling_rates(self._bytes_seen, self._alpha, self._max_bytes)
        self._num_bytes = 0
        for language, kept in self._kept.items():
            threshold = self._rates[language] * _HASH_RANGE
            self._kept[language] = [item for item in kept if item[0] < threshold]
            self._num_bytes += sum(len(sentence) for _, sentence in self._kept[language])


def sampling_rates(num_bytes: Mapping[str, int], alpha: float, max_bytes: int) -> dict[str, float]:
    """Returns which part of each language's text to take, 1 for a language with too little.

    The parts add up to `max_bytes` unless there is less text than that.

    >>> sampling_rates({"en": 1000, "sw": 10}, 0.5, 110)
    {'en': 0.1, 'sw': 1.0}
    """
    # rate = min(1, scale * bytes ** (alpha - 1)): the less text, the higher the rate.
    rates = dict.fromkeys(num_bytes, 1.0)
    open_bytes = float(max_bytes)
    powers = {language: seen**alpha for language, seen in num_bytes.items() if seen}
    for language in sorted(powers, key=lambda name: (num_bytes[name], name)):
        share = open_bytes * powers[language] / sum(powers.values())
        if share < num_bytes[language]:
            scale = open_bytes / sum(powers.values())
            return rates | {
                name: min(1.0, scale * power / num_bytes[name]) for name, power in powers.items()
            }
        open_bytes -= num_bytes[language]
        del powers[language]
    return rates


def _sentences(text: str) -> Iterator[bytes]:
    """Cuts a text into UTF-8 of at most 1,000 bytes, at a space where there is one.

    Lines are joined: a unigram piece never crosses a space, and each line would cost memory. Half
    a surrogate pair, which UTF-8 cannot hold, becomes a question mark.
    """
    content = text.encode("utf-8", "replace").replace(b"\n", b" ").replace(b"\0", b" ").strip()
    while len(content) > _SENTENCE_BYTES:
        end = content.rfind(b" ", 1, _SENTENCE_BYTES + 1)
        if end < 0:
            end = _SENTENCE_BYTES
            while content[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
        yield content[:end]
        content = content[end:].lstrip()
    if content:
        yield content
