"""The knowledge base, the clean documents, the corpus and the vocabulary of the encyclopedia."""

import collections
import hashlib
import itertools

import pytest
import sentencepiece

from presence_t5x.data.encyclopedia import (
    LANGUAGES,
    NOISE_KINDS,
    SOURCES,
    EncyclopediaConfig,
    WorldConfig,
    build_world,
    generate_document,
    generate_documents,
    word_forms,
)
from presence_t5x.data.encyclopedia import vocabulary as vocabulary_module
from presence_t5x.data.encyclopedia.documents import MINIMUM_WORDS, Surface, realize
from presence_t5x.data.encyclopedia.knowledge import ATTRIBUTES, kind_of, values_of
from presence_t5x.data.encyclopedia.lexicons import get_lexicon, parse_template
from presence_t5x.data.encyclopedia.names import SCRIPTS, spell
from presence_t5x.data.encyclopedia.punctuation import split_punctuation
from presence_t5x.data.encyclopedia.vocabulary import (
    NUM_SENTINELS,
    TRAINED_WITH_SENTENCEPIECE,
    VOCABULARY_SHA256,
    VOCABULARY_SIZE,
    train_vocabulary,
    vocabulary_file,
)

# Regenerate by printing `_digest()`; changes whenever any text, label or span of the corpus does.
GOLDEN_SHA256 = "d123bfed830da00bf2d5bccb081bf716e93c7aa7957783b178f57869b94bd9bb"

# Unicode blocks a document of each script may use, beside digits and punctuation.
SCRIPT_RANGES = {
    "latin": ((0x41, 0x24F),),
    "cyrillic": ((0x400, 0x4FF),),
    "devanagari": ((0x900, 0x97F),),
    "han": ((0x4E00, 0x9FFF),),
    "arabic": ((0x600, 0x6FF),),
}


@pytest.fixture(scope="module")
def world():
    return build_world()


@pytest.fixture(scope="module")
def clean():
    return list(generate_documents(EncyclopediaConfig(noise_rate=0.0), split="train")[:800])


@pytest.fixture(scope="module")
def processor():
    return sentencepiece.SentencePieceProcessor(model_file=vocabulary_file())


def _digest():
    documents = generate_documents(EncyclopediaConfig(), split="train")[:64]
    return hashlib.sha256("\n".join(map(repr, documents)).encode()).hexdigest()


# --- the world ---------------------------------------------------------------------------------


def test_every_entity_has_every_attribute_with_a_value_of_the_right_kind(world):
    for source in SOURCES:
        for entity in world.entities[source]:
            assert tuple(world.facts[entity]) == tuple(ATTRIBUTES[source])
            for attribute, kind in ATTRIBUTES[source].items():
                value = world.facts[entity][attribute]
                assert value in values_of(world, kind)
                assert value != entity


def test_default_world_has_the_documented_sizes(world):
    sizes = {source: len(world.entities[source]) for source in SOURCES}
    assert sizes == {"place": 150, "person": 250, "animal": 60, "thing": 80}


def test_rivers_stay_in_one_country(world):
    countries = collections.defaultdict(set)
    for place in world.entities["place"]:
        facts = world.facts[place]
        countries[facts["place.river"]].add(facts["place.country"])
    assert all(len(found) == 1 for found in countries.values())


def test_inventors_are_old_enough(world):
    for thing in world.entities["thing"]:
        facts = world.facts[thing]
        born = world.facts[facts["thing.inventor"]]["person.birth_year"]
        age = int(facts["thing.year"].split(":")[1]) - int(born.split(":")[1])
        assert 20 <= age <= 60


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_of_different_entities_are_written_differently(world, script):
    spelled = [" ".join(spell(part, script) for part in name) for name in world.names.values()]
    assert len(set(spelled)) == len(spelled)


def test_worlds_of_different_seeds_differ(world):
    assert build_world(WorldConfig(seed=1)).names != world.names


# --- lexicons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_lexicons_cover_every_value_and_attribute(language):
    lexicon, english = get_lexicon(language), get_lexicon("en")
    attributes = set(itertools.chain.from_iterable(ATTRIBUTES.values()))
    assert set(lexicon.statements) == set(lexicon.questions) == attributes
    assert {k: set(v) for k, v in lexicon.values.items()} == {
        k: set(v) for k, v in english.values.items()
    }
    for values in lexicon.values.values():
        assert len(set(values.values())) == len(values)  # no two values are written alike


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_statement_begins_with_a_value(language):
    """Values are lower case where the script has case."""
    for templates in get_lexicon(language).statements.values():
        assert len(set(templates)) == len(templates) >= 3
        assert all(isinstance(t[0], str) or t[0].is_subject for t in templates)


def test_templates_keep_attached_punctuation():
    slot = parse_template("¿Es {s}?")[1]
    assert (slot.is_subject, slot.prefix, slot.suffix) == (True, "", "?")


def test_spans_leave_attached_punctuation_out():
    template = parse_template("see ({v}), by «{s}».")
    subject, value = Surface(("Ka", "Lo"), 5), Surface(("Mi",), 2)
    words, subject_span, value_span = realize(template, subject, value, " ", 7)
    text = "_" * 7 + " ".join(words)
    assert text == "_______see (Mi), by «Ka Lo»."
    assert (text[slice(*subject_span)], text[slice(*value_span)]) == ("Ka Lo", "Mi")


# --- clean documents ---------------------------------------------------------------------------


def test_corpus_is_bit_identical_to_the_golden_one():
    assert _digest() == GOLDEN_SHA256


def test_documents_are_a_pure_function_of_seed_split_and_index():
    documents = generate_documents(EncyclopediaConfig(seed=3), split="train")
    backwards = [documents[i] for i in reversed(range(40))]
    again = generate_documents(EncyclopediaConfig(seed=3), split="train")
    assert backwards[::-1] == list(again[:40])
    assert backwards != list(generate_documents(EncyclopediaConfig(seed=4), split="train")[:40])


def test_splits_share_neither_ids_nor_texts():
    config = EncyclopediaConfig(noise_rate=0.0)
    train = generate_documents(config, split="train")[:1500]
    validation = generate_documents(config, split="validation")[:1500]
    assert not {d.id for d in train} & {d.id for d in validation}
    assert not {d.text for d in train} & {d.text for d in validation}


def test_languages_take_turns():
    documents = generate_documents(EncyclopediaConfig(languages=("hi", "zh", "ar")), split="train")
    counts = collections.Counter(document.language for document in documents[:100])
    assert counts == {"hi": 34, "zh": 33, "ar": 33}


def test_sources_are_balanced(clean):
    counts = collections.Counter(document.source for document in clean)
    assert all(abs(counts[source] - 200) < 5 * (800 * 0.25 * 0.75) ** 0.5 for source in SOURCES)


def test_documents_are_joined_from_their_words(clean):
    for document in clean:
        assert document.text == document.separator.join(document.words)
        assert all(document.words)
        assert document.sentences[0][0] == 0
        assert document.sentences[-1][1] == len(document.words)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(document.sentences))


def test_documents_have_the_promised_length(clean):
    for document in clean:
        assert MINIMUM_WORDS <= len(document.words) <= 110
        assert 4 <= len(document.sentences) <= 10


def test_fact_spans_cover_the_names_and_values(world, clean):
    for document in clean:
        lexicon = get_lexicon(document.language)
        joiner = {"zh": "·"}.get(document.language, " ")
        for (entity, attribute, value, *spans), sentence in zip(
            document.facts, document.sentences, strict=True
        ):
            assert world.facts[entity][attribute] == value
            for identifier, (start, end) in zip((entity, value), spans, strict=True):
                if identifier in world.names:
                    parts = [spell(part, lexicon.script) for part in world.names[identifier]]
                    expected = joiner.join(parts)
                else:
                    kind, _, name = identifier.partition(":")
                    expected = lexicon.values.get(kind, {}).get(name, name)
                assert document.text[start:end] == expected
                # ... inside the sentence that states the fact.
                before = document.separator.join((*document.words[: sentence[0]], ""))
                through = document.separator.join(document.words[: sentence[1]])
                assert len(before) <= start < end <= len(through)


def test_the_same_index_tells_the_same_facts_in_every_language(world):
    documents = [
        generate_document(world, seed=0, index=5, language=language) for language in LANGUAGES
    ]
    shortest = min(len(document.facts) for document in documents)
    assert len({tuple(f[:3] for f in d.facts[:shortest]) for d in documents}) == 1
    assert len({document.text for document in documents}) == len(LANGUAGES)


def test_documents_stay_in_their_script(clean):
    for document in clean:
        ranges = SCRIPT_RANGES[get_lexicon(document.language).script]
        for character in filter(str.isalpha, document.text):
            assert any(low <= ord(character) <= high for low, high in ranges), character


def test_word_forms_are_complete(world, clean):
    forms = {language: set(word_forms(world, language)) for language in LANGUAGES}
    for document in clean:
        cores = {split_punctuation(word)[1] for word in document.words} - {""}
        assert cores <= forms[document.language]


def test_documents_about_an_entity_open_with_what_it_is(clean):
    leads = {next(iter(attributes)) for attributes in ATTRIBUTES.values()}
    for document in clean:
        assert document.facts[0].attribute in leads
        assert kind_of(document.facts[0].entity) == document.source


# --- configs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"languages": ("en", "xx")}, "language='xx' must be one of"),
        ({"languages": ()}, r"languages=\(\) must be a non-empty tuple of distinct names"),
        ({"languages": ("en", "en")}, "languages=.* must be a non-empty tuple of distinct names"),
        ({"noise_kinds": ("typos",)}, "noise kind='typos' must be one of .*permuted_words"),
        ({"noise_rate": 1.5}, r"noise_rate=1.5 must lie in \[0.0, 1.0\]"),
        ({"noise_rate": "hot"}, "noise_rate='hot' must be a number"),
        ({"validation_noise_rate": -0.1}, r"validation_noise_rate=-0.1 must lie in"),
        ({"num_train_documents": 0}, "num_train_documents=0 must be >= 1"),
        ({"seed": 2**32}, "seed=4294967296 must be <= 4294967295"),
        ({"seed": 1.0}, "seed=1.0 must be an integer"),
    ],
)
def test_wrong_configs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EncyclopediaConfig(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_places": 2}, "num_places=2 must be >= 8"),
        ({"num_places": 9999}, "num_places=9999 must be <= 250"),
        ({"num_given_names": 8, "num_family_names": 8}, "num_people=250 must be at most half"),
    ],
)
def test_wrong_worlds_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WorldConfig(**arguments)


def test_unknown_splits_and_languages_are_refused(world):
    with pytest.raises(ValueError, match="split='test' must be one of"):
        generate_documents(EncyclopediaConfig(), split="test")
    with pytest.raises(ValueError, match="language='fr' must be one of"):
        generate_document(world, seed=0, index=0, language="fr")


def test_indices_out_of_range_are_refused():
    documents = generate_documents(EncyclopediaConfig(num_train_documents=3), split="train")
    assert documents[-1] == documents[2]
    with pytest.raises(IndexError):
        documents[3]


# --- vocabulary --------------------------------------------------------------------------------


def test_shipped_vocabulary_is_the_recorded_one():
    with open(vocabulary_file(), "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == VOCABULARY_SHA256


def test_vocabulary_has_the_ids_of_t5(processor):
    assert processor.vocab_size() == VOCABULARY_SIZE == 4096
    assert processor.id_to_piece([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
    assert (processor.pad_id(), processor.eos_id(), processor.unk_id()) == (0, 1, 2)
    assert processor.bos_id() == -1
    for number in range(NUM_SENTINELS):
        assert processor.piece_to_id(f"<extra_id_{number}>") == VOCABULARY_SIZE - 1 - number


def test_text_comes_back_exactly_and_holds_no_sentinel(processor):
    config = EncyclopediaConfig(noise_rate=0.7)
    for document in generate_documents(config, split="train")[:400]:
        ids = processor.encode(document.text)
        assert processor.decode(ids) == document.text
        assert min(ids) > 2  # neither padding nor end nor unknown
        assert max(ids) < VOCABULARY_SIZE - NUM_SENTINELS


def test_unknown_characters_become_bytes(processor):
    assert processor.decode(processor.encode("ქართ \n🙂")) == "ქართ \n🙂"


def test_tokens_per_word_are_few_in_every_language(processor, clean):
    num_tokens, num_words = collections.Counter(), collections.Counter()
    for document in clean:
        num_tokens[document.language] += len(processor.encode(document.text))
        num_words[document.language] += len(document.words)
    fertility = {language: num_tokens[language] / num_words[language] for language in LANGUAGES}
    assert all(1.0 < value < 1.6 for value in fertility.values()), fertility


def test_training_adds_the_sentinels_on_top(tmp_path, monkeypatch):
    """A small training run; the shipped file is compared by its recorded SHA-256 above."""
    texts = list(itertools.islice(vocabulary_module.training_texts(), 3000))
    monkeypatch.setattr(vocabulary_module, "training_texts", lambda: iter(texts))
    monkeypatch.setattr(vocabulary_module, "VOCABULARY_SIZE", 1500)
    path = tmp_path / "small.model"
    digest = train_vocabulary(str(path))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    small = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert small.vocab_size() == 1500
    assert small.id_to_piece([1400, 1499]) == ["<extra_id_99>", "<extra_id_0>"]


@pytest.mark.slow
@pytest.mark.skipif(
    sentencepiece.__version__ != TRAINED_WITH_SENTENCEPIECE,
    reason=f"the shipped model was trained with sentencepiece {TRAINED_WITH_SENTENCEPIECE}",
)
def test_training_gives_the_shipped_vocabulary(tmp_path):
    assert train_vocabulary(str(tmp_path / "again.model")) == VOCABULARY_SHA256


def test_all_noise_kinds_are_public():
    assert set(NOISE_KINDS) == {
        "permuted_words",
        "random_words",
        "character_noise",
        "wrong_language",
        "out_of_domain",
    }
