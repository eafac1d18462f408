"""Vocabularies by name: a SentencePiece model file, a folder that holds one, or "bytes".

Sentinels are always the top ids, counting down from vocabulary size - 1. A model file either holds
`<extra_id_0>` ... at its top (mT5's does) or none, in which case 100 are appended as seqio does.
Anything in between would silently give text pieces as sentinels and is refused.
"""

# seqio, TensorFlow and protobuf declare no usable types here.
# pyright: reportAttributeAccessIssue=false

import functools
import hashlib
import socket
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from presence_t5x._validate import check_text
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.sentinels import sentinel_number

NUM_EXTRA_IDS = 100
BYTES = "bytes"
MT5_VOCABULARY_FILE = "gs://t5-data/vocabs/mc4.250000.100extra/sentencepiece.model"
MT5_VOCABULARY_SIZE = 250_100
# Of spiece.model of google/mt5-* on Hugging Face (4,309,802 bytes), as several public sources have
# it; published as the same model as the file above. No author of this package has read either file,
# so a difference is stated and never refused.
MT5_VOCABULARY_SHA256 = "ef78f86560d809067d12bac6c09f19a462cb3af3f54d2b8acbba26e1433125d6"

# What Hugging Face calls the model in a checkpoint's folder: T5 and mT5, others, XLM-R.
_MODEL_NAMES = (
    "spiece.model",
    "sentencepiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
# Names by which Hugging Face has models that cannot be read here, if their padding is not 0.
_UNREADABLE = {
    "sentencepiece.bpe.model": "as XLM-R's, its ids in Hugging Face are not those of the file, and "
    "padding is 1 there, but 0 here",
    "tokenizer.model": "as Llama's, it has no padding, which is 0 here",
}


def load_vocabulary(spec: str) -> seqio.Vocabulary:
    """Returns the seqio vocabulary of a specification, with its sentinels at the top.

    Args:
      spec: a path to a SentencePiece model or to a folder with one, such as a checkpoint of Hugging
        Face (`spiece.model`), or "bytes": 3 special ids, 256 bytes, 100 sentinels.

    Raises:
      ValueError: the file is missing or damaged, its padding id is not 0, it has no EOS, or its
        sentinels are somewhere else than at the top.

    >>> load_vocabulary("bytes").vocab_size
    359
    """
    check_text("vocabulary", spec)
    if spec == BYTES:
        return seqio.ByteVocabulary(extra_ids=NUM_EXTRA_IDS)
    path = _model_file(spec)
    model = _parse_model(path, read_model(path))
    _check_special_ids(path, model)
    extra_ids = 0 if _num_sentinels_at_top(path, model) else NUM_EXTRA_IDS
    _check_loads(path, model)
    return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)


def find_vocabulary(spec: str) -> seqio.Vocabulary:
    """Returns `load_vocabulary(spec)`; mT5's own is read on first use only."""
    return mt5_vocabulary() if spec == MT5_VOCABULARY_FILE else load_vocabulary(spec)


def vocabulary_sha256(spec: str) -> str:
    """Returns the SHA-256 of the model file, or of the name and size of the byte vocabulary."""
    check_text("vocabulary", spec)
    if spec == BYTES:
        return hashlib.sha256(f"bytes+{NUM_EXTRA_IDS}".encode()).hexdigest()
    return hashlib.sha256(read_model(spec)).hexdigest()


def check_mt5_vocabulary(spec: str = MT5_VOCABULARY_FILE) -> str:
    """Says in one line whether a vocabulary is mT5's, by the number of its pieces and its SHA-256.

    Nothing is refused: a file of mT5's size with another content may be someone's own.

    Args:
      spec: as `load_vocabulary` takes it.

    Raises:
      ValueError: the file is missing or damaged.

    >>> check_mt5_vocabulary("bytes")
    "vocabulary 'bytes' is not mT5's"
    """
    check_text("vocabulary", spec)
    if spec == BYTES:
        return f"vocabulary {spec!r} is not mT5's"
    path = _model_file(spec)
    content = read_model(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest == MT5_VOCABULARY_SHA256:
        return f"vocabulary {path!r} is mT5's (SHA-256 {digest})"
    size = len(_parse_model(path, content).pieces)
    if size == MT5_VOCABULARY_SIZE:
        return (
            f"vocabulary {path!r} has mT5's size ({size} pieces) but another content (SHA-256 "
            f"{digest}, mT5's is {MT5_VOCABULARY_SHA256}): if it is not mT5's in another "
            "serialization, parameters of mT5 do not fit it"
        )
    return (
        f"vocabulary {path!r} is not mT5's (it has {size} pieces, not {MT5_VOCABULARY_SIZE}), so "
        "parameters of mT5 do not fit it"
    )


def specification_of(vocabulary: seqio.Vocabulary) -> str:
    """Returns the specification that loads an existing vocabulary again.

    Raises:
      ValueError: it is neither a SentencePiece nor a byte vocabulary.
    """
    if isinstance(vocabulary, seqio.ByteVocabulary):
        return BYTES
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        return str(vocabulary.sentencepiece_model_file)
    raise ValueError(
        f"{type(vocabulary).__name__} is not supported; use a SentencePiece or byte vocabulary"
    )


def read_model(spec: str) -> bytes:
    """Returns the bytes of the model of a specification, on disk or in a bucket."""
    path = _model_file(spec)
    local = "://" not in path
    try:
        if local:
            with open(path, "rb") as file:
                return file.read()
        # TensorFlow retries an unreachable bucket for many minutes; no name means no network.
        socket.getaddrinfo("storage.googleapis.com", 443)
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"vocabulary file {path!r} cannot be read ({error}); give the path of a SentencePiece "
            "model, or 'bytes'"
        ) from error


def holds_model(folder: Path) -> bool:
    """Returns whether a folder has a SentencePiece model under one of the usual names."""
    return any((folder / name).is_file() for name in _MODEL_NAMES)


def _model_file(spec: str) -> str:
    """The path itself, or that of the model in a local folder."""
    folder = Path(spec)
    if "://" in spec or not folder.is_dir():
        return spec
    for name in _MODEL_NAMES:
        if (folder / name).is_file():
            return str(folder / name)
    if (folder / "tokenizer.json").is_file():
        raise ValueError(
            f"vocabulary folder {spec!r} has tokenizer.json but no SentencePiece model, which is "
            "what is read here; copy spiece.model into it from where the checkpoint was published "
            "(of mT5: https://huggingface.co/google/mt5-small/blob/main/spiece.model)"
        )
    raise ValueError(
        f"vocabulary folder {spec!r} has no SentencePiece model ({', '.join(_MODEL_NAMES)}); give "
        "the path of a model, or 'bytes'"
    )


def _parse_model(path: str, content: bytes) -> sentencepiece_model_pb2.ModelProto:
    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError has no stable public home
        raise ValueError(
            f"vocabulary file {path!r} is damaged or no SentencePiece model ({error}); "
            "copy it again"
        ) from error
    if not model.pieces:
        raise ValueError(
            f"vocabulary file {path!r} is damaged or no SentencePiece model (it has no pieces); "
            "copy it again"
        )
    return model


def _check_loads(path: str, model: sentencepiece_model_pb2.ModelProto) -> None:
    """Refuses a model that SentencePiece itself refuses, as it would in the middle of the work."""
    try:
        sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    except RuntimeError as error:
        raise ValueError(
            f"vocabulary file {path!r} is damaged, SentencePiece refuses it ({error}); copy "
            "it again"
        ) from error


def _check_special_ids(path, model):
    """Padding must be 0, because 0 means padding in every feature and loss weight."""
    trainer = model.trainer_spec
    if trainer.pad_id == 0 and trainer.eos_id >= 1:
        return
    found = f"vocabulary file {path!r} has pad_id={trainer.pad_id} and eos_id={trainer.eos_id}"
    if reason := _UNREADABLE.get(Path(path).name):
        raise ValueError(
            f"{found}: {reason}; use a T5 or mT5 vocabulary, or train one (padding id 0)"
        )
    raise ValueError(f"{found}; train it with pad_id=0, eos_id=1, unk_id=2, bos_id=-1")


def _num_sentinels_at_top(path, model) -> int:
    """Counts `<extra_id_k>` pieces; refuses any that is not one of the top ids in order."""
    numbers = [sentinel_number(piece.piece) for piece in model.pieces]
    num_sentinels = sum(number is not None for number in numbers)
    top = numbers[len(numbers) - num_sentinels :]
    if top != list(reversed(range(num_sentinels))):
        lowest = next(index for index, number in enumerate(numbers) if number is not None)
        raise ValueError(
            f"vocabulary file {path!r} has {num_sentinels} sentinels <extra_id_k> (the lowest is "
            f"id {lowest} of {len(numbers)}) that are not at the top in descending order, with "
            f"<extra_id_0> as id {len(numbers) - 1}; remove them from the model (100 are then "
            "appended) or move them to the top"
        )
    return num_sentinels


@functools.cache
def mt5_vocabulary(path: str = MT5_VOCABULARY_FILE) -> seqio.SentencePieceVocabulary:
    """Returns mT5's vocabulary (250 100 ids, sentinels included); its file is read on first use."""
    return seqio.SentencePieceVocabulary(_model_file(path), extra_ids=0)
