"""Spoiled text is spoiled as it says, in every script, and by its seed alone."""

import numpy as np
import pytest

from presence_t5x.studies.spoiling import KINDS, Pool, parse_noise, split_units

TEXTS = {
    "en": [
        "The river runs through the old town. It meets the sea at noon! Does anyone know why? " * 2
    ],
    "zh": ["河流穿过古老的城市。它在中午流入大海！有人知道为什么吗？" * 2],
    "ar": ["يجري النهر عبر المدينة القديمة. يلتقي بالبحر عند الظهر! هل يعرف أحد لماذا؟ " * 2],
}
POOL = Pool(texts=TEXTS)


def spoil(kind, language, seed=0, pool=POOL):
    rng = np.random.default_rng(seed)
    return parse_noise(kind).spoil(TEXTS[language][0], language, pool, rng)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_text_by_its_seed_and_keeps_about_its_length(kind, language):
    clean, found = TEXTS[language][0], spoil(kind, language)
    assert found != clean and found == spoil(kind, language)
    assert 0.4 * len(clean) < len(found) < 2.5 * len(clean)
    if kind != "repeated_text":  # few places to start from
        assert found != spoil(kind, language, seed=1)


@pytest.mark.parametrize("language", TEXTS)
def test_what_stays(language):
    units, _ = split_units(TEXTS[language][0])
    assert sorted(split_units(spoil("permuted_words", language))[0]) == sorted(units)
    assert len(split_units(spoil("random_words", language))[0]) == len(units)
    assert set(split_units(spoil("random_words", language))[0]) <= set(units)
    assert len(set(split_units(spoil("repeated_text", language))[0])) <= 8
    assert len(split_units(spoil("repeated_text", language))[0]) == len(units)


def test_character_noise_changes_about_its_share():
    text = "abcdefgh " * 500
    found = parse_noise("character_noise").spoil(text, "en", POOL, np.random.default_rng(0))
    words = zip(text.split(), found.split())
    kept = sum(a == b for a, b in words) / 500
    assert abs(kept - 0.8**8 * (1 + 0.07)) < 0.06  # an exchange by itself changes nothing


def test_other_languages_and_domains_come_from_the_pool():
    found = spoil("wrong_language", "en")
    assert any(character in found for character in "河穿يجر")
    pool = Pool(texts=TEXTS, out_of_domain=["def f(x): return x" * 20])
    assert spoil("out_of_domain", "zh", pool=pool) in "def f(x): return x" * 20
    assert "<" in spoil("markup", "zh") and "</" in spoil("markup", "zh")


@pytest.mark.parametrize("kind", ["permuted_words", "random_words"])
def test_a_degree_is_the_share_of_units_that_may_change(kind):
    text = " ".join(f"w{i}" for i in range(200))
    pool = Pool(texts={"en": [" ".join(f"v{i}" for i in range(200))]})

    def changed(degree):
        noise = parse_noise(f"{kind}:{degree}")
        found = noise.spoil(text, "en", pool, np.random.default_rng(0)).split()
        return sum(one != other for one, other in zip(text.split(), found, strict=True))

    assert 0.2 * 200 <= changed(0.25) <= 0.25 * 200
    assert 0.9 * 200 <= changed(1.0) <= 200


def test_degrees_of_sentences_and_characters():
    sentences = " ".join(f"Sentence {i}." for i in range(20))
    pool = Pool(texts={"en": [sentences], "zh": TEXTS["zh"]})
    noise = parse_noise("wrong_language:0.1")
    found = noise.spoil(sentences, "en", pool, np.random.default_rng(0))
    assert found.count("Sentence") == 18
    text = "abcdefgh " * 500
    found = parse_noise("character_noise:0.02").spoil(text, "en", POOL, np.random.default_rng(0))
    kept = sum(a == b for a, b in zip(text.split(), found.split())) / 500
    assert abs(kept - 0.98**8) < 0.06


@pytest.mark.parametrize(
    ("language", "sentences", "between"),
    [
        ("en", ["It is 1.5 km, e.g.on foot...", "Is it?!", "Yes\u2026"], "  \n"),
        ("hi", ["\u0928\u0926\u0940 1.5 \u0939\u0948\u0964", "\u0938\u091a?"], " "),
        ("zh", ["\u6cb3\u6d411.5\u516c\u91cc\u3002", "\u662f\u5417\uff1f"], ""),
    ],
)
def test_sentences_that_are_not_exchanged_stay_as_they_are(language, sentences, between):
    pool = Pool(texts={language: [""], "sw": ["Mto."]})
    noise = parse_noise("wrong_language:0.01")  # one sentence
    found = {
        noise.spoil(between.join(sentences), language, pool, np.random.default_rng(seed))
        for seed in range(40)
    }
    assert found == {
        between.join([*sentences[:place], "Mto.", *sentences[place + 1 :]])
        for place in range(len(sentences))
    }


@pytest.mark.parametrize("seed", range(20))
def test_generated_text_of_another_domain_is_as_long_as_the_clean_one(seed):
    clean = "a" * 500
    found = parse_noise("out_of_domain").spoil(clean, "en", POOL, np.random.default_rng(seed))
    assert len(found) == 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("permuted", "--kinds"),
        ("markup:0.5", "markup has no degree"),
        ("permuted_words:x", "is no number"),
        ("permuted_words:0", "the share that is spoiled"),
    ],
)
def test_unknown_noise(text, message):
    with pytest.raises(ValueError, match=message):
        parse_noise(text)
