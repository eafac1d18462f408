"""Trains a SentencePiece vocabulary on documents, each language with its share of the text.

Here stand the settings every vocabulary of this package is trained with (`train_pieces`), how the
sentinels get to the top ids (`append_sentinels`), and the two on a sample of documents
(`train_vocabulary`). The encyclopedia's vocabulary uses the first two.
"""

# protobuf declares no usable types here.
# pyright: reportAttributeAccessIssue=false

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from presence_t5x._validate import LARGEST_INT64, check_choice, check_float, check_int
from presence_t5x.data.documents import Document
from presence_t5x.data.vocabulary_sample import LanguageSample, TextSample
from presence_t5x.files import check_writable, write_bytes_atomically

NORMALIZATIONS = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity")
_NO_TEXT = "the documents have no text to train a vocabulary on; give some that do"
_NUM_SPECIAL_IDS = 3
_NUM_BYTE_PIECES = 256


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
    sample = TextSample(alpha, max_training_bytes, seed)
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
