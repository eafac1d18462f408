"""Trained vocabularies: ids, shares of the languages, determinism, and what is refused."""

import collections
import hashlib
import itertools
import random

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from presence_t5x.data import vocabulary_sample, vocabulary_training
from presence_t5x.data.documents import Document
from presence_t5x.data.encyclopedia import EncyclopediaConfig, generate_documents
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.vocabularies import load_vocabulary, vocabulary_sha256
from presence_t5x.data.vocabulary_sample import sampling_rates
from presence_t5x.data.vocabulary_training import append_sentinels, train_pieces, train_vocabulary

SIZE = 1000
# A share is a sum of about 150 sentences or more, each in or out by its hash: a relative standard
# deviation of at most 8 %, here three times.
SHARE_TOLERANCE = 0.25


@pytest.fixture(scope="module")
def documents():
    """600 documents in eight languages."""
    config = EncyclopediaConfig(noise_rate=0.0)
    found = itertools.islice(generate_documents(config, split="train"), 600)
    return [Document(item.text, f"d:{number}", item.language) for number, item in enumerate(found)]


@pytest.fixture(scope="module")
def trained(documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "folder" / "small.model"
    return path, train_vocabulary(documents, path, vocabulary_size=SIZE)


@pytest.fixture
def sampled(monkeypatch, tmp_path):
    """The training text of `train_vocabulary` with these settings, and its summary."""

    def sample(documents, **settings):
        texts = []

        def keep(sentences, **unused):
            texts.extend(sentence.decode() for sentence in sentences)
            return b""

        monkeypatch.setattr(vocabulary_training, "train_pieces", keep)
        summary = train_vocabulary(documents, tmp_path / "m", vocabulary_size=SIZE, **settings)
        return texts, summary

    return sample


def many_documents():
    """en 600 kB, de 60 kB, sw 6 kB and 3 kB without a label, in lines of 40 bytes."""
    sizes = {"en": 600_000, "de": 60_000, "sw": 6_000, "": 3_000}
    for language, size in sizes.items():
        line = f"{language or 'xx'} ".ljust(39, "w") + "\n"
        for number in range(size // 600):
            yield Document(line * 15, f"{language}:{number}", language)


def oracle_shares(num_bytes, alpha, max_bytes):
    """Bytes of each language, by bisection of the scale instead of filling up one by one."""

    def taken(scale):
        return {name: min(size, scale * size**alpha) for name, size in num_bytes.items()}

    low, high = 0.0, float(max(num_bytes.values()))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(taken(middle).values()) < max_bytes else (low, middle)
    return taken(high)


# --- the model ---------------------------------------------------------------------------------


def test_ids_are_those_of_t5_with_the_sentinels_on_top(trained):
    path, summary = trained
    vocabulary = load_vocabulary(str(path))
    tokenizer = vocabulary.tokenizer
    assert vocabulary.vocab_size == summary.vocabulary_size == SIZE
    assert [tokenizer.IdToPiece(number) for number in range(3)] == ["<pad>", "</s>", "<unk>"]
    ids = (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id(), tokenizer.bos_id())
    assert ids == (0, 1, 2, -1)
    assert all(tokenizer.IsByte(number) for number in range(3, 3 + 256))
    assert sentinels_of(vocabulary) == (SIZE - 1, 100) and vocabulary.extra_ids == 0
    for number in range(100):
        assert tokenizer.IdToPiece(SIZE - 1 - number) == f"<extra_id_{number}>"
    assert summary.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert summary.sha256 == vocabulary_sha256(str(path))
    assert summary.num_sentinels == 100
    assert summary.sentencepiece_version == sentencepiece.__version__
    assert [file.name for file in path.parent.iterdir()] == ["small.model"]


def test_unseen_characters_come_back_through_bytes(trained):
    vocabulary = load_vocabulary(str(trained[0]))
    text = "ქართ 🙂 ꙮ"
    ids = vocabulary.encode(text)
    assert vocabulary.unk_id not in ids and sum(3 <= number < 259 for number in ids) >= 12
    assert vocabulary.tokenizer.decode(ids) == text


def test_words_of_the_documents_are_pieces(documents, tmp_path):
    english = [document for document in documents if document.language == "en"]
    train_vocabulary(english, tmp_path / "m", vocabulary_size=700)
    vocabulary = load_vocabulary(str(tmp_path / "m"))
    num_characters = sum(len(document.text) for document in english)
    num_ids = sum(len(vocabulary.encode(document.text)) for document in english)
    assert num_ids < num_characters / 2


@pytest.mark.parametrize("normalization", ["nmt_nfkc", "identity"])
def test_normalization(normalization, documents, tmp_path):
    path = tmp_path / "m"
    settings = {"vocabulary_size": SIZE, "normalization": normalization}
    train_vocabulary(documents[:200], path, **settings)
    tokenizer = load_vocabulary(str(path)).tokenizer
    text = "ﬁve  Ａ\n①"
    expected = text if normalization == "identity" else "five A 1"
    assert tokenizer.decode(tokenizer.encode(text)) == expected


def test_number_of_sentinels(documents, tmp_path):
    train_vocabulary(documents[:200], tmp_path / "m", vocabulary_size=SIZE, num_sentinels=7)
    vocabulary = load_vocabulary(str(tmp_path / "m"))
    assert vocabulary.vocab_size == SIZE and sentinels_of(vocabulary) == (SIZE - 1, 7)


def test_the_same_documents_give_the_same_bytes_in_any_order(documents, trained, tmp_path):
    shuffled = random.Random(5).sample(documents, len(documents))
    again = train_vocabulary(iter(shuffled), tmp_path / "again", vocabulary_size=SIZE)
    assert again == trained[1]._replace(languages=again.languages)
    assert dict(again.languages) == dict(trained[1].languages)
    assert (tmp_path / "again").read_bytes() == trained[0].read_bytes()


def test_sentinels_are_appended_to_any_model(documents):
    sentences = [document.text for document in documents[:200]]
    settings = {"character_coverage": 1.0, "normalization": "identity"}
    pieces = train_pieces(sentences, vocabulary_size=900, num_sentinels=20, **settings)
    content = append_sentinels(pieces, 20)
    model = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert sentencepiece.SentencePieceProcessor(model_proto=pieces).vocab_size() == 880
    assert model.vocab_size() == 900
    assert model.id_to_piece([880, 899]) == ["<extra_id_19>", "<extra_id_0>"]
    assert model.encode("a<extra_id_0>")[-1] == 899
    proto = sentencepiece_model_pb2.ModelProto.FromString(content)
    assert proto.trainer_spec.vocab_size == 900
    user_defined = sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED
    assert {piece.type for piece in proto.pieces[-20:]} == {user_defined}


# --- the training text -------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("max_bytes", [20_000, 150_000])
def test_languages_have_their_shares(alpha, max_bytes, sampled):
    documents = list(many_documents())
    texts, summary = sampled(documents, alpha=alpha, max_training_bytes=max_bytes)
    seen = collections.Counter()
    for document in documents:
        seen[document.language] += len(document.text) - 1  # without the last line's end
    wanted = oracle_shares(seen, alpha, max_bytes)
    found = collections.Counter()
    for text in texts:
        found["" if text.startswith("xx") else text[:2]] += len(text)
    assert set(summary.languages) == set(seen) == {"en", "de", "sw", ""}
    for language, sample in summary.languages.items():
        assert sample.bytes_seen == seen[language]
        assert sample.bytes_sampled == found[language]
        assert sample.share == pytest.approx(found[language] / sum(found.values()))
        assert sample.wanted_share == pytest.approx(
            seen[language] ** alpha / sum(size**alpha for size in seen.values())
        )
        if wanted[language] >= seen[language] * (1 - 1e-9):
            assert sample.whole and found[language] == seen[language]
        elif wanted[language] > 150 * 600:
            assert found[language] == pytest.approx(wanted[language], rel=SHARE_TOLERANCE)


def test_shares_over_many_samples(sampled):
    """Sampling noise averages out: of the mean of 40 seeds 4 % are one standard deviation (sw)."""
    documents = list(many_documents())
    seen = collections.Counter()
    for document in documents:
        seen[document.language] += len(document.text) - 1
    found = collections.Counter()
    for seed in range(40):
        _, summary = sampled(documents, alpha=0.3, max_training_bytes=30_000, seed=seed)
        for language, sample in summary.languages.items():
            found[language] += sample.bytes_sampled / 40
    wanted = oracle_shares(seen, 0.3, 30_000)
    assert found == pytest.approx(wanted, rel=4 * 0.04)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10**12), min_size=1),
    st.floats(0.0, 1.0),
    st.integers(1, 10**12),
)
def test_rates_fill_the_text(num_bytes, alpha, max_bytes):
    rates = sampling_rates(num_bytes, alpha, max_bytes)
    taken = {name: rates[name] * size for name, size in num_bytes.items()}
    assert rates.keys() == num_bytes.keys()
    assert all(0.0 < rate <= 1.0 for rate in rates.values())
    assert sum(taken.values()) == pytest.approx(min(max_bytes, sum(num_bytes.values())), rel=1e-6)
    if sum(num_bytes.values()) > max_bytes:
        assert taken == pytest.approx(oracle_shares(num_bytes, alpha, max_bytes), rel=1e-6, abs=1)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 10**9)), min_size=1, max_size=30),
    st.floats(0.0, 1.0),
    st.integers(1, 10**10),
)
def test_more_text_raises_no_rate(additions, alpha, max_bytes):
    """Why a sentence that is dropped early is never missed."""
    num_bytes = dict.fromkeys("abcd", 0)
    rates = dict.fromkeys("abcd", 1.0)
    for language, size in additions:
        num_bytes[language] += size
        found = sampling_rates(num_bytes, alpha, max_bytes)
        for name, rate in found.items():
            assert rate <= rates[name] * (1 + 1e-9)
        rates = found


def test_the_sample_depends_on_the_seed_and_not_on_the_order(sampled):
    documents = list(many_documents())
    documents = [
        item._replace(text=f"{item.text[:9]} {number}\n{item.text}")
        for number, item in enumerate(documents)
    ]
    settings = {"alpha": 0.3, "max_training_bytes": 30_000}
    texts, summary = sampled(documents, **settings)
    for seed in range(3):
        shuffled = random.Random(seed).sample(documents, len(documents))
        again, other = sampled(shuffled, **settings)
        assert again == texts and dict(other.languages) == dict(summary.languages)
    assert sampled(documents, seed=1, **settings)[0] != texts


def test_documents_without_ids_are_sampled_apart(sampled):
    documents = [Document(f"w{number} " * 100, "", "en") for number in range(2000)]
    texts, _ = sampled(documents, max_training_bytes=100_000)
    assert sum(map(len, texts)) == pytest.approx(100_000, rel=SHARE_TOLERANCE)


def test_memory_is_bounded(monkeypatch, sampled):
    most = 0
    thin_out = vocabulary_sample.TextSample._thin_out

    def observe(sample):
        nonlocal most
        kept = sum(len(text) for items in sample._kept.values() for _, text in items)
        most = max(most, kept)
        thin_out(sample)

    monkeypatch.setattr(vocabulary_sample.TextSample, "_thin_out", observe)
    sampled(many_documents(), max_training_bytes=50_000)
    assert 1.25 * 50_000 < most < 1.25 * 50_000 + 600  # the last document's


def test_texts_are_cut_at_spaces_and_between_characters(sampled):
    spaced = " ".join(f"word{number}" for number in range(5000))
    unspaced = "日本語の文章" * 1000
    texts, summary = sampled([Document(spaced, "a", "en"), Document(unspaced, "b", "ja")])
    english = [text for text in texts if text.startswith("word")]
    japanese = [text for text in texts if not text.startswith("word")]
    assert sorted(" ".join(english).split()) == sorted(spaced.split())
    assert collections.Counter("".join(japanese)) == collections.Counter(unspaced)
    lengths = np.array([len(text.encode()) for text in texts])
    assert lengths.max() <= 1000 and np.median(lengths) > 900
    assert summary.num_sentences == len(texts)


def test_awkward_texts(sampled):
    text = "one\ntwo\x00three \ud800 \n\n"
    texts, summary = sampled([Document(text, "a"), Document("", "b"), Document(" \n", "c", "sw")])
    assert texts == ["one two three ?"]
    assert list(summary.languages) == [""]


def test_summary_says_what_was_whole(sampled):
    _, summary = sampled(many_documents(), alpha=0.0, max_training_bytes=100_000)
    lines = str(summary).splitlines()
    assert lines[0].startswith(f"{SIZE} ids, 100 of them sentinels, trained by SentencePiece")
    assert [line.split(":")[0] for line in lines[1:-1]] == ["en", "de", "sw", "(no language)"]
    assert "wanted 25.0%" in lines[1] and "all there is" not in lines[1]
    assert lines[3].startswith("sw: 5990 of 5990 bytes")
    assert lines[3].endswith("wanted 25.0% (all there is)")
    assert lines[-1] == "there is text for the wanted shares up to max_training_bytes=11980"
    _, summary = sampled(many_documents(), alpha=0.0, max_training_bytes=11_980 // 2)
    assert "there is" not in str(summary)


# --- what is refused ---------------------------------------------------------------------------


def never():
    raise AssertionError("documents were read before the arguments were checked")
    yield


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary_size": 359}, "vocabulary_size=359 must be >= 360: 3 special ids, 256 bytes"),
        ({"vocabulary_size": 999.0}, "vocabulary_size=999.0 must be an integer"),
        ({"num_sentinels": 0}, "num_sentinels=0 must be >= 1"),
        ({"alpha": 1.5}, r"alpha=1.5 must lie in \[0.0, 1.0\]"),
        ({"max_training_bytes": 0}, "max_training_bytes=0 must be >= 1"),
        ({"character_coverage": 99.9}, "character_coverage=99.9 must lie in"),
        ({"normalization": "nfk"}, "normalization='nfk' must be one of .*did you mean 'nfkc'"),
        ({"num_threads": 0}, "num_threads=0 must be >= 1"),
    ],
)
def test_arguments_are_checked_before_any_document_is_read(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_vocabulary(never(), tmp_path / "m", **{"vocabulary_size": SIZE} | settings)


def test_unwritable_files_are_refused_before_any_document_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "m"):
        with pytest.raises(ValueError, match=r"output_file=.* cannot be written \(.*give the path"):
            train_vocabulary(never(), path, vocabulary_size=SIZE)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_no_text_is_refused(tmp_path):
    for documents in ([], [Document(" \n\t　", "a")], [Document("\u200b", "a")]):
        with pytest.raises(ValueError, match="documents have no text to train a vocabulary on"):
            train_vocabulary(documents, tmp_path / "m", vocabulary_size=SIZE)
    assert not list(tmp_path.iterdir())


def test_too_little_text_says_how_many_ids_are_possible(tmp_path):
    documents = [Document("hello world foo bar", str(number)) for number in range(10)]
    with pytest.raises(
        ValueError, match="vocabulary_size=1000 is too large for this text"
    ) as error:
        train_vocabulary(documents, tmp_path / "m", vocabulary_size=SIZE)
    assert not list(tmp_path.iterdir())
    possible = int(str(error.value).split("set vocabulary_size <= ")[1].split()[0])
    assert 365 < possible < 400
    summary = train_vocabulary(documents, tmp_path / "m", vocabulary_size=possible)
    assert load_vocabulary(str(tmp_path / "m")).vocab_size == possible == summary.vocabulary_size


def test_too_many_characters_say_how_many_ids_are_needed(tmp_path):
    text = "".join(chr(number) for number in range(0x4E00, 0x4E00 + 800))
    message = "vocabulary_size=1000 is too small for this text: .* are 1160; set vocabulary_size > "
    with pytest.raises(ValueError, match=message):
        train_vocabulary([Document(text, "a", "zh")], tmp_path / "m", vocabulary_size=SIZE)
