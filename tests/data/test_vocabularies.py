"""Where the sentinels are, for every kind of vocabulary, and what is refused."""

import hashlib
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2

from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.vocabularies import (
    load_vocabulary,
    mt5_vocabulary,
    specification_of,
    vocabulary_sha256,
)


def rewrite(tmp_path, change):
    """The shipped model (100 sentinels at the top) after `change(model)`."""
    model = sentencepiece_model_pb2.ModelProto.FromString(Path(vocabulary_file()).read_bytes())
    change(model)
    path = tmp_path / "changed.model"
    path.write_bytes(model.SerializeToString())
    return str(path)


def without_sentinels(model):
    del model.pieces[-100:]


def ascending(model):
    for number, piece in enumerate(model.pieces[-100:]):
        piece.piece = f"<extra_id_{number}>"


def below_a_piece(model):
    model.pieces.add(piece="last", score=-1.0)


def wrong_padding(model):
    model.trainer_spec.pad_id = -1


def test_bytes():
    vocabulary = load_vocabulary("bytes")
    assert vocabulary.encode("aé") == [3 + ord("a"), 3 + 0xC3, 3 + 0xA9]
    assert vocabulary.eos_id == 1 and vocabulary.pad_id == 0
    assert sentinels_of(vocabulary) == (358, 100) and 358 - 100 + 1 == 3 + 256


def test_sentinels_in_the_file_are_used_and_none_added():
    vocabulary = load_vocabulary(vocabulary_file())
    assert vocabulary.vocab_size == 4096
    assert sentinels_of(vocabulary) == (4095, 100)
    assert vocabulary.tokenizer.IdToPiece(4095) == "<extra_id_0>"
    assert vocabulary.tokenizer.IdToPiece(3996) == "<extra_id_99>"


def test_sentinels_are_appended_where_the_file_has_none(tmp_path):
    vocabulary = load_vocabulary(rewrite(tmp_path, without_sentinels))
    assert vocabulary.vocab_size == 4096 and vocabulary.extra_ids == 100
    assert sentinels_of(vocabulary) == (4095, 100)
    assert vocabulary.tokenizer.IdToPiece(4095).endswith("<extra_id_0>")


@pytest.mark.parametrize("change", [ascending, below_a_piece])
def test_sentinels_elsewhere_are_refused(tmp_path, change):
    message = "100 sentinels .*the lowest is id 3996 of .*not at the top in descending order"
    with pytest.raises(ValueError, match=message):
        load_vocabulary(rewrite(tmp_path, change))


def test_padding_must_be_zero(tmp_path):
    with pytest.raises(ValueError, match="has pad_id=-1 and eos_id=1; train it with pad_id=0"):
        load_vocabulary(rewrite(tmp_path, wrong_padding))


def test_missing_damaged_and_empty_files(tmp_path):
    with pytest.raises(ValueError, match=r"'/no/file' cannot be read .* or 'bytes'"):
        load_vocabulary("/no/file")
    with pytest.raises(ValueError, match="cannot be read"):
        load_vocabulary(str(tmp_path))
    path = tmp_path / "bad.model"
    for content in (b"", Path(vocabulary_file()).read_bytes()[:1000], b"plain text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.model' is damaged or no SentencePiece model"):
            load_vocabulary(str(path))
    with pytest.raises(ValueError, match="vocabulary='' must be a non-empty string"):
        load_vocabulary("")


def test_sha256_and_specification():
    content = Path(vocabulary_file()).read_bytes()
    assert vocabulary_sha256(vocabulary_file()) == hashlib.sha256(content).hexdigest()
    assert vocabulary_sha256("bytes") != vocabulary_sha256(vocabulary_file())
    for spec in ("bytes", vocabulary_file()):
        assert specification_of(load_vocabulary(spec)) == spec
    with pytest.raises(ValueError, match="object is not supported"):
        specification_of(object())


def test_mt5_vocabulary_is_lazy():
    vocabulary = mt5_vocabulary()  # no network here: reading it would fail
    assert specification_of(vocabulary).startswith("gs://t5-data/vocabs/mc4.250000.100extra")
    assert vocabulary.extra_ids == 0
