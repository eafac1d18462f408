"""Trains a SentencePiece vocabulary on documents, each language with its share of the text.

Here stand the settings every vocabulary of this package is trained with (`train_pieces`), how the
sentinels get to the top ids (`append_sentinels`), and the sampling of the training text
(`train_vocabulary`). The encyclopedia's vocabulary uses the first two.
"""

# protobuf declares no usable types here.
# pyright: reportAttributeAccessIssue=false

import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from presence_t5x._validate import LARGEST_INT64, check_choice, check_float, check_int
from presence_t5x.data.documents import Document, id_hash
from presence_t5x.files import check_writable, write_bytes_atomically

NORMALIZATIONS = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")
_NO_TEXT = "the documents have no text to train a vocabulary on; give some that do"
_NUM_SPECIAL_IDS = 3
_NUM_BYTE_PIECES = 256
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


class VocabularySummary(NamedTuple):
    """A trained vocabulary and its text; `str` gives a line for each language.

    Attributes:
      sha256: of the file, in hexadecimal.
      vocabulary_size: all ids, sentinels included.
      num_sentinels: the last of them.
      num_sentences: pieces of documents, of at most 1,000 bytes, in the training text.
      languages: by name; "" is text without a label.
      sentencepiece_version: another one may train other pieces from the same text.
    """

    sha256: str
    vocabulary_size: int
    num_sentinels: int
    num_sentences: int
    languages: Mapping[str, LanguageSample]
    sentencepiece_version: str

    def __str__(self) -> str:
        lines = [
            f"{self.vocabulary_size} ids, {self.num_sentinels} of them sentinels, trained by "
            f"SentencePiece {self.sentencepiece_version} on {self.num_sentences} sentences"
        ]
        for language, sample in self.languages.items():
            short = " (all there is)" if sample.whole else ""
            lines.append(
                f"{language or '(no language)'}: {sample.bytes_sampled} of {sample.bytes_seen} "
                f"bytes, {sample.share:.1%} of the text, wanted {sample.wanted_share:.1%}{short}"
            )
        samples = self.languages.values()
        if len(samples) > 1 and any(sample.whole for sample in samples):
            most = min(int(sample.bytes_seen / sample.wanted_share) for sample in samples)
            lines.append(f"there is text for the wanted shares up to max_training_bytes={most}")
        return "\n".join(lines)


def train_vocabulary(
    documents: Iterable[Document],
    output_file: str | Path,
    *,
    vocabulary_size: int,
    num_sentinels: int = 100,
    alpha: float = 0.3,
    max_training_bytes: int = 64 * 1024 * 1024,
    character_coverage: float = 0.99999,
    normalization: str = "nmt_nfkc",
    seed: int = 0,
    num_threads: int = 1,
) -> VocabularySummary:
    """Trains a unigram vocabulary on a language-balanced sample of documents and writes it.

    The ids are T5's: 0 `<pad>`, 1 `</s>`, 2 `<unk>`, then 256 bytes, which stand for characters
    that are no piece, and the sentinels last, `<extra_id_0>` the highest.

    A language gets a share of the training text in proportion to (its bytes in the documents) **
    alpha; mT5's vocabulary was trained with the language rates of pre-training (Xue et al. 2021,
    section 3.2). A language that has less is used whole and the others share the rest, so documents
    of fewer than `max_training_bytes` are all used as they are: lower it for the wanted shares.

    Guarantees: reads the documents once and holds at most 1.25 `max_training_bytes` of text. The
    sample depends on the ids and texts of the documents and on the seed, not on their order. One
    version of SentencePiece writes the same bytes for the same sample and `num_threads`. The file
    is written whole or not at all.

    Args:
      documents: any number, of any languages; "" is a language of its own.
      output_file: where to write the model; its folder is made.
      vocabulary_size: all ids, sentinels included (mT5: 250,100).
      num_sentinels: at the top.
      alpha: from 0, the same text of every language, to 1, as it comes.
      max_training_bytes: UTF-8 bytes of the training text. SentencePiece needs about 30 times that
        in memory and 8 microseconds a byte (43 MB, 32,000 ids: 1.2 GB, 350 seconds on one core).
      character_coverage: of the characters of the training text, how many must be pieces.
      normalization: "nmt_nfkc" is T5's and mT5's: full-width letters, ligatures and white space are
        unified, and decoding does not give them back. "identity" keeps every character; the shipped
        vocabulary of the encyclopedia has it.
      seed: of the sample.
      num_threads: of SentencePiece; another number trains slightly other pieces.

    Raises:
      ValueError: an argument is out of range or the file cannot be written (before a document is
        read), there is no text, or too little or too varied text for the size.
    """
    _check_arguments(vocabulary_size, num_sentinels, alpha, max_training_bytes, character_coverage)
    check_choice("normalization", normalization, NORMALIZATIONS)
    check_int("num_threads", num_threads, minimum=1)
    check_writable("output_file", output_file)
    sample = _Sample(alpha, max_training_bytes, seed)
    for document in documents:
        sample.add(document)
    sentences = sample.sentences()
    if not any(sentence.decode().strip() for sentence in sentences):
        raise ValueError(_NO_TEXT)
    pieces = train_pieces(
        sentences,
        vocabulary_size=vocabulary_size,
        num_sentinels=num_sentinels,
        character_coverage=character_coverage,
        normalization=normalization,
        num_threads=num_threads,
    )
    model = append_sentinels(pieces, num_sentinels)
    write_bytes_atomically(model, output_file)
    return VocabularySummary(
        sha256=hashlib.sha256(model).hexdigest(),
        vocabulary_size=vocabulary_size,
        num_sentinels=num_sentinels,
        num_sentences=len(sentences),
        languages=sample.languages(),
        sentencepiece_version=sentencepiece.__version__,
    )


def train_pieces(
    sentences: Iterable[str | bytes],
    *,
    vocabulary_size: int,
    num_sentinels: int,
    character_coverage: float,
    normalization: str,
    num_threads: int = 1,
) -> bytes:
    """Trains the pieces below the sentinels; returns a serialized SentencePiece model.

    Nothing is sampled or shuffled. With "identity", white space is kept too, so that decoding gives
    back exactly what was encoded.

    Raises:
      ValueError: the text has more characters than the vocabulary has room for, or too little
        variety to fill it.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocabulary_size - num_sentinels,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            byte_fallback=True,
            character_coverage=character_coverage,
            normalization_rule_name=normalization,
            remove_extra_whitespaces=normalization != "identity",
            input_sentence_size=0,
            num_threads=num_threads,
            minloglevel=2,
        )
    except RuntimeError as error:
        _explain(error, vocabulary_size, num_sentinels, character_coverage)
        raise
    return model.getvalue()


def append_sentinels(pieces: bytes, num_sentinels: int) -> bytes:
    """Returns the model with the sentinels behind its pieces, `<extra_id_0>` at the highest id.

    They are user-defined pieces: text yields one where it has the literal `<extra_id_0>`.
    """
    model = sentencepiece_model_pb2.ModelProto.FromString(pieces)
    for number in reversed(range(num_sentinels)):
        piece = model.pieces.add()
        piece.piece = f"<extra_id_{number}>"
        piece.score = 0.0
        piece.type = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
    model.trainer_spec.vocab_size = len(model.pieces)
    return model.SerializeToString(deterministic=True)


def _check_arguments(
    vocabulary_size, num_sentinels, alpha, max_training_bytes, character_coverage
) -> None:
    check_int("vocabulary_size", vocabulary_size, minimum=1)
    check_int("num_sentinels", num_sentinels, minimum=1)
    check_float("alpha", alpha, minimum=0.0, maximum=1.0)
    check_int("max_training_bytes", max_training_bytes, minimum=1, maximum=LARGEST_INT64)
    check_float("character_coverage", character_coverage, minimum=0.9, maximum=1.0)
    needed = _NUM_SPECIAL_IDS + _NUM_BYTE_PIECES + num_sentinels + 1
    if vocabulary_size < needed:
        raise ValueError(
            f"vocabulary_size={vocabulary_size} must be >= {needed}: {_NUM_SPECIAL_IDS} special "
            f"ids, {_NUM_BYTE_PIECES} bytes, {num_sentinels} sentinels and the characters of the "
            "text"
        )


def _explain(
    error: RuntimeError, vocabulary_size: int, num_sentinels: int, character_coverage: float
) -> None:
    """Raises ValueError for the faults of size and text that SentencePiece finds; else returns."""
    if re.search(r"sentences_\.empty|all_chars_count|required_chars_\.empty", str(error)):
        raise ValueError(_NO_TEXT) from error
    too_large = re.search(r"set it to a value <= (\d+)", str(error))
    if too_large:
        possible = int(too_large.group(1)) + num_sentinels
        raise ValueError(
            f"vocabulary_size={vocabulary_size} is too large for this text, which has pieces for "
            f"{possible} ids at most (sentinels included); set vocabulary_size <= {possible} or "
            "give more text"
        ) from error
    too_small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error))
    if too_small:
        needed = int(too_small.group(1)) + num_sentinels
        raise ValueError(
            f"vocabulary_size={vocabulary_size} is too small for this text: the characters that "
            f"character_coverage={character_coverage} asks for, special ids, bytes and sentinels "
            f"are {needed}; set vocabulary_size > {needed} or lower character_coverage"
        ) from error


class _Sample:
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
