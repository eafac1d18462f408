"""Each kind of planted noise does what its name says, at the rate that was asked for."""

import collections

import numpy as np
import pytest

from presence_t5x.data.encyclopedia import (
    LANGUAGES,
    NOISE_KINDS,
    SOURCES,
    EncyclopediaConfig,
    build_world,
    generate_document,
    generate_documents,
    plant_noise,
    word_forms,
)
from presence_t5x.data.encyclopedia.lexicons import get_lexicon
from presence_t5x.data.encyclopedia.names import spell
from presence_t5x.data.encyclopedia.punctuation import split_punctuation

NUM_SIGMAS = 5  # one failure in a million runs by chance; the seeds are fixed anyway


@pytest.fixture(scope="module")
def clean():
    return list(generate_documents(EncyclopediaConfig(noise_rate=0.0), split="train")[:240])


def _plant(documents, kind):
    return [plant_noise(d, kind, np.random.default_rng(i)) for i, d in enumerate(documents)]


def _levenshtein(first, second):
    """Insertions, deletions and substitutions between two strings."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def _cores(words):
    return [core for core in (split_punctuation(word.strip())[1] for word in words) if core]


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noised_documents_keep_their_labels(clean, kind):
    for before, after in zip(clean, _plant(clean, kind), strict=True):
        assert after.noise == kind
        assert after.facts == ()
        assert (after.id, after.language, after.source) == (
            before.id,
            before.language,
            before.source,
        )
        assert after.text == after.separator.join(after.words) != before.text
        assert all(after.words)
        assert after.sentences[-1][1] == len(after.words)


def test_permuted_words_keep_the_words_and_change_the_order(clean):
    moved = []
    for before, after in zip(clean, _plant(clean, "permuted_words"), strict=True):
        assert collections.Counter(before.words) == collections.Counter(after.words)
        moved.append(np.mean([a != b for a, b in zip(before.words, after.words, strict=True)]))
    assert np.mean(moved) > 0.85  # words cross sentence borders, not only their neighbours


def test_random_words_are_uniform_over_the_forms():
    """Chi-square of 20 draws a form; clean text, where forms are far from uniform, must fail."""
    world = build_world()
    documents = [generate_document(world, seed=0, index=i, language="en") for i in range(300)]
    forms = word_forms(world, "en")

    def chi_square(words):
        counts = collections.Counter(_cores(words))
        assert set(counts) <= set(forms)
        expected = sum(counts.values()) / len(forms)
        return sum((counts[form] - expected) ** 2 / expected for form in forms)

    noised = [word for d in _plant(documents, "random_words") for word in d.words]
    freedom = len(forms) - 1
    bound = NUM_SIGMAS * (2 * freedom) ** 0.5
    assert abs(chi_square(noised) - freedom) < bound
    assert abs(chi_square([w for d in documents for w in d.words]) - freedom) > bound


def test_random_words_keep_length_and_punctuation(clean):
    for before, after in zip(clean, _plant(clean, "random_words"), strict=True):
        assert len(before.words) == len(after.words)
        for a, b in zip(before.words, after.words, strict=True):
            assert split_punctuation(a)[::2] == split_punctuation(b)[::2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_character_noise_changes_a_quarter_of_the_characters(language):
    world = build_world()
    documents = [generate_document(world, seed=0, index=i, language=language) for i in range(30)]
    alphabet = set("".join(word_forms(world, language)))
    edits = characters = 0
    for before, after in zip(documents, _plant(documents, "character_noise"), strict=True):
        assert len(before.words) == len(after.words)
        for a, b in zip(before.words, after.words, strict=True):
            assert split_punctuation(a)[0] == split_punctuation(b)[0]
            assert set(split_punctuation(b)[1]) <= alphabet
            edits += _levenshtein(a, b)
            characters += len(split_punctuation(a)[1])
    assert 0.2 < edits / characters < 0.3


def test_wrong_language_replaces_half_of_the_sentences(clean):
    world = build_world()
    forms = {language: set(word_forms(world, language)) for language in LANGUAGES}
    for before, after in zip(clean, _plant(clean, "wrong_language"), strict=True):
        own, foreign = 0, []
        for (a, b), (c, d) in zip(before.sentences, after.sentences, strict=True):
            if before.words[a:b] == after.words[c:d]:
                own += 1
            else:
                foreign.append(after.words[c:d])
        assert len(foreign) == (len(before.sentences) + 1) // 2
        spaced = get_lexicon(before.language).separator == " "
        for words in foreign:
            chinese = spaced and len(words) == 1
            if chinese:
                assert all("\u3000" <= c <= "\uffef" or c.isdigit() or c == "·" for c in words[0])
            else:
                assert not set(_cores(words)) <= forms[before.language]
                assert any(set(_cores(words)) <= forms[language] for language in LANGUAGES)


def test_foreign_sentences_are_about_every_topic():
    """Their choice must not depend on the number that decided that there is noise."""
    world = build_world()
    counts = collections.Counter()
    for document in generate_documents(EncyclopediaConfig(languages=("hi",)), split="train")[:1200]:
        if document.noise == "wrong_language":
            latin = {core for core in _cores(document.words) if core.isascii()}
            for source in SOURCES:
                names = {spell(world.names[e][-1], "latin") for e in world.entities[source]}
                counts[source] += not names.isdisjoint(latin)
    assert all(counts[source] >= 4 for source in SOURCES), counts


def test_spaces_survive_in_sentences_mixed_into_chinese():
    world = build_world()
    chinese = [generate_document(world, seed=0, index=i, language="zh") for i in range(20)]
    assert all(" " in document.text for document in _plant(chinese, "wrong_language"))


def test_out_of_domain_shares_no_words_with_the_language(clean):
    """Latin names are the only possible overlap; single letters of code are no words."""
    world = build_world()
    kinds = set()
    for before, after in zip(clean, _plant(clean, "out_of_domain"), strict=True):
        assert len(after.words) >= len(before.words)
        assert after.text.isascii()
        assert "<" not in after.text  # cannot spell a sentinel
        forms = {form for form in word_forms(world, before.language) if not form.isdigit()}
        shared = [word for word in after.words if word in forms]
        assert len(shared) <= 0.2 * len(after.words)
        kinds.add("log" if "src=" in after.text else "code" if "(" in after.text else "sum")
    assert {"log", "code"} <= kinds


def test_arithmetic_is_correct(clean):
    checked = 0
    for document in _plant(clean, "out_of_domain"):
        for start, end in document.sentences:
            left, _, right = " ".join(document.words[start:end]).rstrip(" ;").partition(" = ")
            if left and not any(c.isalpha() for c in left + right) and right.lstrip("-").isdigit():
                assert eval(left) == int(right)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("split", ["train", "validation"])
def test_noise_rate_and_kinds_lie_within_binomial_bounds(split):
    config = EncyclopediaConfig(
        noise_rate=0.3, validation_noise_rate=0.5, num_validation_documents=3000
    )
    counts = collections.Counter(d.noise for d in generate_documents(config, split=split)[:3000])
    rate = 0.3 if split == "train" else 0.5
    for kind in (*NOISE_KINDS, "clean"):
        share = 1 - rate if kind == "clean" else rate / len(NOISE_KINDS)
        sigma = (3000 * share * (1 - share)) ** 0.5
        assert abs(counts[kind] - 3000 * share) < NUM_SIGMAS * sigma, (kind, counts)


def test_noise_kinds_can_be_selected():
    config = EncyclopediaConfig(noise_rate=1.0, noise_kinds=("random_words",))
    assert {d.noise for d in generate_documents(config, split="train")[:50]} == {"random_words"}


def test_validation_is_clean_by_default():
    documents = generate_documents(EncyclopediaConfig(), split="validation")[:200]
    assert {document.noise for document in documents} == {"clean"}


def test_a_lower_rate_leaves_the_clean_documents_unchanged(clean):
    some = generate_documents(EncyclopediaConfig(noise_rate=0.3), split="train")
    more = generate_documents(EncyclopediaConfig(noise_rate=0.6), split="train")
    for document, low, high in zip(clean, some, more, strict=False):
        assert low.noise != "clean" or low == document
        assert high.noise != "clean" or high == document == low


def test_noise_is_deterministic(clean):
    for kind in NOISE_KINDS:
        assert _plant(clean[:20], kind) == _plant(clean[:20], kind)


def test_unknown_kinds_and_second_helpings_are_refused(clean):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"noise kind='typos' must be one of .*character_noise"):
        plant_noise(clean[0], "typos", rng)
    noised = plant_noise(clean[0], "permuted_words", rng)
    with pytest.raises(ValueError, match="has noise='permuted_words', must be 'clean'"):
        plant_noise(noised, "random_words", rng)
