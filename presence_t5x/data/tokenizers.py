"""Text -> ids in worker processes: what seqio's vocabularies do, without seqio or TensorFlow.

A tokenizer is made from a seqio vocabulary in the main process and pickled to the workers; it holds
the serialized model, sentinels included, and nothing else. It only encodes.
"""

# protobuf declares no usable types here.
# pyright: reportAttributeAccessIssue=false

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import sentencepiece
from jaxtyping import Bool, Int
from sentencepiece import sentencepiece_model_pb2

from presence_t5x.data.sentinels import sentinel_number

WORD_MARK = "▁"
_NUM_SPECIAL_BYTE_IDS = 3
_NUM_BYTE_IDS = _NUM_SPECIAL_BYTE_IDS + 256
# Loading a model is not thread-safe in SentencePiece (seqio locks it too); Beam uses threads.
_LOAD_LOCK = threading.Lock()
# SentencePiece 0.2.2 and later; half again as fast as its lists of Python integers.
_RETURNS_NUMPY = hasattr(sentencepiece.SentencePieceProcessor, "EncodeAsNumpy")


class Tokenizer:
    """Encodes as one seqio vocabulary does: a SentencePiece model, or bytes.

    Guarantees: `encode_batch(texts)` holds exactly the ids of `[vocabulary.encode(text) for text in
    texts]`. Picklable; the model is loaded on first use, once a process, in any thread.

    Args:
      model: the serialized SentencePiece model; None encodes UTF-8 bytes.
      vocab_size: all ids, sentinels included.
    """

    def __init__(self, model: bytes | None, vocab_size: int):
        self._model = model
        self._loaded = None
        self.vocab_size = vocab_size

    @classmethod
    def from_vocabulary(cls, vocabulary: Any) -> "Tokenizer":
        """Returns the tokenizer of a seqio vocabulary.

        Raises:
          ValueError: it is neither a SentencePiece nor a byte vocabulary.

        >>> from presence_t5x.data.vocabularies import load_vocabulary
        >>> Tokenizer.from_vocabulary(load_vocabulary("bytes")).encode_batch(["aé", ""])
        [array([100, 198, 172], dtype=int32), array([], dtype=int32)]
        """
        from presence_t5x.data.quiet_tensorflow import seqio  # loaded already: it made the argument

        if isinstance(vocabulary, seqio.ByteVocabulary):
            return cls(None, vocabulary.vocab_size)
        if isinstance(vocabulary, seqio.SentencePieceVocabulary):
            return cls(vocabulary.tokenizer.serialized_model_proto(), vocabulary.vocab_size)
        raise ValueError(
            f"{type(vocabulary).__name__} is not supported; use a SentencePiece or byte vocabulary"
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " tokens"]]:
        """Returns the int32 ids of each text, without EOS; a text may have none.

        Raises:
          UnicodeEncodeError: a text has half a surrogate pair, which is no character.
        """
        if self._model is None:
            return [_byte_ids(text) for text in texts]
        kind = "numpy" if _RETURNS_NUMPY else int
        try:
            found = self._processor().encode(list(texts), out_type=kind, num_threads=1)
        except TypeError:
            for text in texts:
                text.encode("utf-8")  # says which character; SentencePiece does not
            raise
        return [np.array(ids, np.int32) for ids in found]  # its own arrays are read-only

    def word_starts(self) -> Bool[np.ndarray, " ids"]:
        """Returns for every id whether a word begins with it.

        A word begins with a piece that begins with the word mark "▁" (the space byte, for bytes).
        Special ids and sentinels are words of their own. Scripts without spaces have few starts:
        in Chinese a "word" is what stands between two spaces.

        Raises:
          ValueError: the model marks the ends of words, not their starts.
        """
        if self._model is None:
            ids = np.arange(self.vocab_size)
            special = (ids < _NUM_SPECIAL_BYTE_IDS) | (ids >= _NUM_BYTE_IDS)
            return special | (ids == _NUM_SPECIAL_BYTE_IDS + ord(" "))
        model = sentencepiece_model_pb2.ModelProto.FromString(self._model)
        if model.trainer_spec.treat_whitespace_as_suffix:
            raise ValueError(
                "the vocabulary was trained with treat_whitespace_as_suffix=True, so no piece says "
                "where a word starts; use a vocabulary trained without it"
            )
        return np.array([_starts_word(piece) for piece in model.pieces], bool)

    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        """The loaded model."""
        with _LOAD_LOCK:
            if self._loaded is None:
                sentencepiece.set_min_log_level(1)  # or it prints a line a load
                self._loaded = sentencepiece.SentencePieceProcessor(model_proto=self._model)
        return self._loaded


def _byte_ids(text: str) -> Int[np.ndarray, " tokens"]:
    """UTF-8 bytes above the special ids."""
    content = np.frombuffer(text.encode("utf-8"), np.uint8)
    return np.add(content, _NUM_SPECIAL_BYTE_IDS, dtype=np.int32)


def _starts_word(piece: Any) -> bool:
    """Whether a piece of a model is the start of a word, a special id or a sentinel."""
    kind = sentencepiece_model_pb2.ModelProto.SentencePiece
    return (
        piece.type in (kind.CONTROL, kind.UNKNOWN)
        or piece.piece.startswith(WORD_MARK)
        or sentinel_number(piece.piece) is not None
    )
