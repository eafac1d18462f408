"""Labels of inference, question answering and entity tags, checked by reading the text again.

The oracle parses sentences with regular expressions made from the raw template lines; it shares
neither the renderer nor the spans with the code under test.
"""

import collections
import importlib
import re

import pytest

from presence_t5x.data.encyclopedia import (
    LANGUAGES,
    EncyclopediaConfig,
    build_world,
    generate_ner,
    generate_nli,
    generate_qa,
)
from presence_t5x.data.encyclopedia.knowledge import ATTRIBUTES, kind_of, values_of
from presence_t5x.data.encyclopedia.names import spell

NUM_EXAMPLES = 480
CONFIG = EncyclopediaConfig()
TAGGED = {"person": "PER", "organization": "ORG", "place": "LOC", "country": "LOC", "river": "LOC"}


class Reader:
    """Parses sentences of one language into (entity, attribute, value) triples."""

    def __init__(self, language):
        self.world = build_world()
        module = importlib.import_module(f"presence_t5x.data.encyclopedia.lexicons.{language}")
        self.module, self.surfaces, self.patterns = module, {}, []
        for identifier, name in self.world.names.items():
            joiner = "·" if language == "zh" else " "
            self.surfaces[identifier] = joiner.join(spell(part, module.SCRIPT) for part in name)
        for line in module.VALUES.strip().splitlines():
            category, entries = line.split(": ", 1)
            for entry in entries.split(" | "):
                value, surface = entry.split("=")
                self.surfaces[f"{category}:{value}"] = surface
        attribute = None
        for line in module.TEMPLATES.strip().splitlines():
            if "{s}" not in line:
                attribute = line
                continue
            question = line.startswith("? ")
            text = line.removeprefix("? ").replace(" ", module.SEPARATOR)
            pattern = re.escape(text).replace(r"\{s\}", "(?P<s>.+?)").replace(r"\{v\}", "(?P<v>.+)")
            self.patterns.append((attribute, question, re.compile(pattern)))

    def write(self, identifier):
        return self.surfaces.get(identifier, identifier.partition(":")[2])

    def read(self, sentence, question=False):
        """Every reading of a sentence; of a question, the value is None."""
        readings = set()
        for attribute, is_question, pattern in self.patterns:
            match = pattern.fullmatch(sentence)
            if match is None or is_question != question:
                continue
            source = attribute.partition(".")[0]
            entities = [e for e in self.world.entities[source] if self.write(e) == match["s"]]
            if question:
                readings |= {(entity, attribute, None) for entity in entities}
                continue
            kind = ATTRIBUTES[source][attribute]
            values = [v for v in values_of(self.world, kind) if self.write(v) == match["v"]]
            readings |= {(e, attribute, v) for e in entities for v in values}
        return readings

    def read_text(self, text):
        return [self.read(s) for s in re.split(r"(?<=[.।])\s|(?<=。)", text) if s]


@pytest.fixture(scope="module")
def readers():
    return {language: Reader(language) for language in LANGUAGES}


@pytest.fixture(scope="module")
def nli():
    return list(generate_nli(CONFIG, split="train", num_examples=NUM_EXAMPLES))


@pytest.fixture(scope="module")
def qa():
    return list(generate_qa(CONFIG, split="train", num_examples=NUM_EXAMPLES))


@pytest.fixture(scope="module")
def ner():
    return list(generate_ner(CONFIG, split="train", num_examples=NUM_EXAMPLES))


def test_nli_labels_follow_from_premise_and_world(readers, nli):
    world = build_world()
    for example in nli:
        reader = readers[example["language"]]
        ((entity, attribute, value),) = reader.read(example["hypothesis"])
        premise = reader.read_text(example["premise"])
        assert len(premise) == 3 and all(len(readings) == 1 for readings in premise)
        stated = {(e, a): v for readings in premise for e, a, v in readings}
        if (entity, attribute) not in stated:
            expected = 1
        else:
            expected = 0 if stated[entity, attribute] == value else 2
        assert example["label"] == expected, example
        assert (example["label"] == 0) == (world.facts[entity][attribute] == value)


def test_nli_hypotheses_are_no_copies(nli):
    assert all(example["hypothesis"] not in example["premise"] for example in nli)


def test_nli_labels_and_languages_are_balanced(nli):
    counts = collections.Counter((e["language"], e["label"]) for e in nli)
    assert set(counts.values()) == {NUM_EXAMPLES // 24}
    assert len(counts) == 24


def test_qa_answers_are_the_gold_values_at_their_offsets(readers, qa):
    world = build_world()
    for example in qa:
        reader = readers[example["language"]]
        (text,), (start,) = example["answers"]["text"], example["answers"]["answer_start"]
        assert example["context"][start : start + len(text)] == text
        ((entity, attribute, _),) = reader.read(example["question"], question=True)
        assert text == reader.write(world.facts[entity][attribute])
        # ... and the sentence at that place states exactly this fact.
        assert any(
            (entity, attribute, world.facts[entity][attribute]) in readings
            for readings in reader.read_text(example["context"])
        )


def test_ner_tags_are_valid_bio(ner):
    for example in ner:
        assert len(example["tokens"]) == len(example["tags"])
        assert all(example["tokens"])
        for previous, tag in zip(["O", *example["tags"]], example["tags"], strict=False):
            assert tag == "O" or (tag[:2] in ("B-", "I-") and tag[2:] in ("PER", "ORG", "LOC"))
            if tag.startswith("I-"):
                assert previous in (f"B-{tag[2:]}", tag)


def test_ner_tags_exactly_the_named_entities(readers, ner):
    """Names are unique, so that a dictionary of them tags every token independently."""
    world = build_world()
    for example in ner:
        reader = readers[example["language"]]
        first_words, all_words = {}, {}
        for entity in world.names:
            tag = TAGGED.get(kind_of(entity))
            words = reader.write(entity).split(" ")
            if tag:
                first_words.setdefault(words[0], f"B-{tag}")
                all_words.update(dict.fromkeys(words[1:], f"I-{tag}"))
        for token, tag in zip(example["tokens"], example["tags"], strict=True):
            assert tag == first_words.get(token, all_words.get(token, "O")), (token, tag)


def test_ner_uses_every_tag(ner):
    tags = {tag for example in ner for tag in example["tags"]}
    assert tags == {"O", "B-PER", "I-PER", "B-ORG", "B-LOC"}


@pytest.mark.parametrize("generate", [generate_nli, generate_qa, generate_ner])
def test_examples_are_deterministic_and_splits_disjoint(generate):
    train = generate(CONFIG, split="train", num_examples=200)
    validation = generate(CONFIG, split="validation", num_examples=200)
    assert list(train) == [train[i] for i in range(200)]
    keys = ("premise", "context", "tokens")

    def texts(examples):
        return {str([example.get(key) for key in keys]) for example in examples}

    assert not texts(train) & texts(validation)
    assert len({e["id"] for e in [*train, *validation]}) == 400
    languages = collections.Counter(example["language"] for example in train)
    assert set(languages.values()) == {25}


@pytest.mark.parametrize("generate", [generate_nli, generate_qa, generate_ner])
def test_wrong_arguments_are_refused(generate):
    with pytest.raises(ValueError, match="split='test' must be one of"):
        generate(CONFIG, split="test", num_examples=1)
    with pytest.raises(ValueError, match="num_examples=0 must be >= 1"):
        generate(CONFIG, split="train", num_examples=0)
