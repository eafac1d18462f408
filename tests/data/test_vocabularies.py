"""Where the sentinels are, for every kind of vocabulary, and what is refused."""

import hashlib
from pathlib import Path

import pytest
from sentencepiece import sentencepiece_model_pb2

from presence_t5x.data import vocabularies
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.vocabularies import (
    MT5_VOCABULARY_SHA256,
    check_mt5_vocabulary,
    load_vocabulary,
    mt5_vocabulary,
    read_model,
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


def of_t5(model):
    """32,000 pieces and no sentinel, as T5's spiece.model."""
    without_sentinels(model)
    grow(model, 32_000)


def of_mt5(model):
    """250,100 pieces, the sentinels with a word mark at the top, as mT5's spiece.model."""
    without_sentinels(model)
    grow(model, 250_000)
    for number in reversed(range(100)):
        kind = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
        model.pieces.add(piece=f"▁<extra_id_{number}>", score=0.0, type=kind)


def of_xlm_r(model):
    """Special ids as in XLM-R's sentencepiece.bpe.model."""
    without_sentinels(model)
    trainer = model.trainer_spec
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1


def grow(model, size):
    for number in range(len(model.pieces), size):
        model.pieces.add(piece=f"piece{number}", score=-99.0)


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


@pytest.fixture(scope="module")
def mt5_sized(tmp_path_factory):
    return rewrite(tmp_path_factory.mktemp("mt5"), of_mt5)


def folder_with(tmp_path, name, model):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / name).write_bytes(Path(model).read_bytes())
    return folder


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.model", "tokenizer.model"])
def test_a_folder_stands_for_the_model_in_it(tmp_path, name):
    folder = folder_with(tmp_path, name, vocabulary_file())
    vocabulary = load_vocabulary(str(folder))
    assert vocabulary.vocab_size == 4096
    assert specification_of(vocabulary) == str(folder / name)
    assert vocabulary_sha256(str(folder)) == vocabulary_sha256(vocabulary_file())
    assert read_model(str(folder)) == Path(vocabulary_file()).read_bytes()
    assert mt5_vocabulary(str(folder)).vocab_size == 4096


def test_t5_in_a_folder_gets_its_sentinels(tmp_path):
    folder = folder_with(tmp_path, "spiece.model", rewrite(tmp_path, of_t5))
    vocabulary = load_vocabulary(str(folder))
    assert vocabulary.vocab_size == 32_100 and sentinels_of(vocabulary) == (32_099, 100)


def test_mt5_in_a_folder_has_its_sentinels(tmp_path, mt5_sized):
    vocabulary = load_vocabulary(str(folder_with(tmp_path, "spiece.model", mt5_sized)))
    assert vocabulary.vocab_size == 250_100 and vocabulary.extra_ids == 0
    assert sentinels_of(vocabulary) == (250_099, 100)
    assert vocabulary.tokenizer.IdToPiece(250_000) == "▁<extra_id_99>"


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no SentencePiece model \(spiece.model, .*'bytes'"):
        load_vocabulary(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    for use in (load_vocabulary, vocabulary_sha256, check_mt5_vocabulary):
        with pytest.raises(ValueError, match=r"tokenizer.json but no .*copy spiece.model into it"):
            use(str(tmp_path))


def test_xlm_r_is_refused_with_the_reason(tmp_path):
    folder = folder_with(tmp_path, "sentencepiece.bpe.model", rewrite(tmp_path, of_xlm_r))
    message = "has pad_id=-1 and eos_id=2: as XLM-R's, its ids .* padding is 1 there, but 0 here"
    for spec in (folder, folder / "sentencepiece.bpe.model"):
        with pytest.raises(ValueError, match=message):
            load_vocabulary(str(spec))


def test_llama_is_refused_with_the_reason(tmp_path):
    folder = folder_with(tmp_path, "tokenizer.model", rewrite(tmp_path, of_xlm_r))
    with pytest.raises(
        ValueError, match="as Llama's, it has no padding, which is 0 here; use a T5"
    ):
        load_vocabulary(str(folder))


def test_mt5_is_known_by_its_sha256_and_its_size(mt5_sized, monkeypatch):
    digest = vocabulary_sha256(mt5_sized)
    found = check_mt5_vocabulary(mt5_sized)
    assert "has mT5's size (250100 pieces) but another content" in found
    assert f"(SHA-256 {digest}, mT5's is {MT5_VOCABULARY_SHA256})" in found
    found = check_mt5_vocabulary(vocabulary_file())
    assert "is not mT5's (it has 4096 pieces, not 250100)" in found
    assert check_mt5_vocabulary("bytes") == "vocabulary 'bytes' is not mT5's"
    monkeypatch.setattr(vocabularies, "MT5_VOCABULARY_SHA256", digest)
    found = check_mt5_vocabulary(mt5_sized)
    assert found == f"vocabulary {mt5_sized!r} is mT5's (SHA-256 {digest})"


def test_the_official_file_is_read_where_none_is_given(mt5_sized, monkeypatch):
    content = Path(mt5_sized).read_bytes()
    monkeypatch.setattr(vocabularies, "read_model", {vocabularies.MT5_VOCABULARY_FILE: content}.get)
    assert "mc4.250000.100extra/sentencepiece.model' has mT5's size" in check_mt5_vocabulary()
