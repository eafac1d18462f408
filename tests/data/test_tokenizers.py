"""The worker's tokenizer gives exactly the ids of seqio's vocabularies, and imports neither."""

import itertools
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2

from presence_t5x.data.encyclopedia import EncyclopediaConfig, generate_documents
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.tokenizers import Tokenizer
from presence_t5x.data.vocabularies import load_vocabulary

HARD_TEXTS = (
    "",
    " ",
    "\n",
    "one\ntwo  three\t",
    "<extra_id_0>",
    "x <extra_id_0> y<extra_id_99>z",
    "\u0301",
    "e\u0301 \u0301e",
    "\x00a\x00",
    "\ufeffstart",
    "▁mark ▁",
    "😀𝔄ﬁ™①",
    "日本語 テキスト。हिन्दी में ქართული",
    "long text, " * 10_000,
)


@pytest.fixture(scope="module")
def texts():
    documents = generate_documents(EncyclopediaConfig(), split="train")
    return [document.text for document in itertools.islice(documents, 400)] + list(HARD_TEXTS)


@pytest.fixture(scope="module")
def without_sentinels(tmp_path_factory):
    """A model to which seqio appends 100 sentinels."""
    model = sentencepiece_model_pb2.ModelProto.FromString(Path(vocabulary_file()).read_bytes())
    del model.pieces[-100:]
    path = tmp_path_factory.mktemp("model") / "without.model"
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.fixture(params=["bytes", "shipped", "appended sentinels"])
def vocabulary(request, without_sentinels):
    specs = {"shipped": vocabulary_file(), "appended sentinels": without_sentinels}
    return load_vocabulary(specs.get(request.param, request.param))


def test_ids_are_those_of_the_vocabulary_also_after_pickling(vocabulary, texts):
    wanted = [list(vocabulary.encode(text)) for text in texts]
    tokenizer = Tokenizer.from_vocabulary(vocabulary)
    assert tokenizer.vocab_size == vocabulary.vocab_size
    for copy in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        found = copy.encode_batch(tuple(texts))
        assert [ids.tolist() for ids in found] == wanted
        assert all(ids.dtype == np.int32 and ids.ndim == 1 and ids.flags.writeable for ids in found)
        assert copy.vocab_size == vocabulary.vocab_size


def test_a_used_tokenizer_is_pickled_without_its_loaded_model(vocabulary):
    tokenizer = Tokenizer.from_vocabulary(vocabulary)
    size = len(pickle.dumps(tokenizer))
    tokenizer.encode_batch(["used"])
    assert len(pickle.dumps(tokenizer)) == size


def test_literal_sentinels_become_their_ids(without_sentinels):
    tokenizer = Tokenizer.from_vocabulary(load_vocabulary(without_sentinels))
    (ids,) = tokenizer.encode_batch(["a <extra_id_0> b"])
    assert 4095 in ids


def test_no_text_and_half_a_character(vocabulary):
    tokenizer = Tokenizer.from_vocabulary(vocabulary)
    assert tokenizer.encode_batch([]) == []
    with pytest.raises(UnicodeEncodeError, match="position 2: surrogates not allowed"):
        tokenizer.encode_batch(["whole", "ab\ud800"])


def test_other_vocabularies_are_refused():
    with pytest.raises(ValueError, match="object is not supported; use a SentencePiece or byte"):
        Tokenizer.from_vocabulary(object())


def test_bytes_start_words_at_spaces():
    starts = Tokenizer.from_vocabulary(load_vocabulary("bytes")).word_starts()
    assert starts.shape == (359,) and starts.dtype == bool
    expected = {0, 1, 2, 3 + 32} | set(range(259, 359))
    assert set(np.flatnonzero(starts)) == expected


@pytest.mark.parametrize("kind", ["shipped", "appended sentinels"])
def test_pieces_start_words_with_the_mark(kind, without_sentinels):
    spec = vocabulary_file() if kind == "shipped" else without_sentinels
    vocabulary = load_vocabulary(spec)
    starts = Tokenizer.from_vocabulary(vocabulary).word_starts()
    assert starts.shape == (4096,) and starts.dtype == bool
    assert starts[:3].all() and starts[-100:].all()
    assert not starts[3 : 3 + 256].any()  # bytes
    for number, start in enumerate(starts[259:-100], 259):
        assert start == vocabulary.tokenizer.IdToPiece(number).startswith("▁")
    document = next(iter(generate_documents(EncyclopediaConfig(), split="train")))
    ids = Tokenizer.from_vocabulary(vocabulary).encode_batch([document.text])[0]
    assert starts[ids].sum() == len(document.text.split(" "))


def test_marks_at_the_ends_of_words_are_refused():
    model = sentencepiece_model_pb2.ModelProto.FromString(Path(vocabulary_file()).read_bytes())
    model.trainer_spec.treat_whitespace_as_suffix = True
    with pytest.raises(ValueError, match="treat_whitespace_as_suffix=True, so no piece says"):
        Tokenizer(model.SerializeToString(), 4096).word_starts()


def heavy_modules_after(code):
    heavy = ("seqio", "tensorflow", "t5x")
    program = f"{code}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_workers_need_neither_seqio_nor_tensorflow(tmp_path):
    """The check can fail: the same program with seqio says so."""
    path = tmp_path / "tokenizer"
    for spec in ("bytes", vocabulary_file()):
        path.write_bytes(pickle.dumps(Tokenizer.from_vocabulary(load_vocabulary(spec))))
        code = (
            f"import pickle\ntokenizer = pickle.load(open({str(path)!r}, 'rb'))\n"
            "assert tokenizer.encode_batch(['text'])[0].size and tokenizer.word_starts().any()"
        )
        assert heavy_modules_after(code) == "[]"
    assert "seqio" in heavy_modules_after(f"{code}\nimport seqio")
