"""Labelled examples from the knowledge base: inference, question answering and entity tags.

The facts of the corpus and their spans give gold labels in every language, so that what is learned
in one language can be tested in another. Examples have a stream of their own: none is built on a
document of the corpus, and those of "train" and "validation" share no document seed.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from presence_t5x._validate import check_int
from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig, LazySequence
from presence_t5x.data.encyclopedia.documents import (
    Document,
    Fact,
    generate_document,
    make_rng,
    realize,
    surfaces,
)
from presence_t5x.data.encyclopedia.knowledge import (
    ATTRIBUTES,
    World,
    build_world,
    kind_of,
    values_of,
)
from presence_t5x.data.encyclopedia.lexicons import Template, get_lexicon
from presence_t5x.data.encyclopedia.punctuation import split_punctuation

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2

# Entity kinds with a tag; animals and things are no named entities here.
TAGS = {"person": "PER", "organization": "ORG", "place": "LOC", "country": "LOC", "river": "LOC"}

_STREAMS = {"nli": 16, "qa": 18, "ner": 20}  # the stream one above each holds the choices
_NUM_SENTENCES = 3  # of a premise, and to find entities in

Example = dict[str, Any]


def _pick(rng: np.random.Generator, items: Any) -> Any:
    """One item, uniformly."""
    return items[int(rng.integers(len(items)))]


def _prepare(
    config: EncyclopediaConfig, split: str, task: str, index: int
) -> tuple[World, Document, np.random.Generator]:
    """The world, document and generator an example is made from."""
    world = build_world(config.world)
    stream = _STREAMS[task]
    document = generate_document(
        world,
        seed=config.seed,
        index=index,
        language=config.languages[index % len(config.languages)],
        split=split,
        stream=stream,
    )
    return world, document, make_rng(config.seed, split, index, stream + 1)


def _choose_sentences(document: Document, rng: np.random.Generator) -> list[int]:
    """Numbers of a few sentences, in order."""
    return sorted(rng.permutation(len(document.sentences))[:_NUM_SENTENCES].tolist())


def _state(world: World, language: str, template: Template, entity: str, value: str) -> str:
    """One statement as text."""
    table, separator = surfaces(world, language), get_lexicon(language).separator
    words, _, _ = realize(template, table[entity], table[value], separator)
    return separator.join(words)


def _other_value(
    world: World, entity: str, attribute: str, language: str, rng: np.random.Generator
) -> str:
    """A value of the right kind that does not hold and is written differently."""
    table, truth = surfaces(world, language), world.facts[entity][attribute]
    values = values_of(world, ATTRIBUTES[kind_of(entity)][attribute])
    banned = (table[truth], table[entity])
    return _pick(rng, [value for value in values if table[value] not in banned])


def _nli_example(config: EncyclopediaConfig, split: str, index: int) -> Example:
    """One premise with a hypothesis; labels take turns after all languages had one."""
    world, document, rng = _prepare(config, split, "nli", index)
    language, num_languages = document.language, len(config.languages)
    label = (ENTAILMENT, NEUTRAL, CONTRADICTION)[index // num_languages % 3]
    chosen = _choose_sentences(document, rng)
    premise = document.separator.join(
        document.separator.join(document.words[slice(*document.sentences[i])]) for i in chosen
    )
    stated = [document.facts[i] for i in chosen]
    fact = _pick(rng, stated)
    attribute, entity = fact.attribute, fact.entity
    if label == NEUTRAL:
        known = {other.attribute for other in stated if other.entity == entity}
        attribute = _pick(rng, [a for a in ATTRIBUTES[kind_of(entity)] if a not in known])
    value = world.facts[entity][attribute]
    if label != ENTAILMENT:
        value = _other_value(world, entity, attribute, language, rng)
    templates = get_lexicon(language).statements[attribute]
    candidates = [_state(world, language, template, entity, value) for template in templates]
    return {
        "id": f"nli-{split}-{config.seed}-{index}",
        "language": language,
        "premise": premise,
        "hypothesis": _pick(rng, [c for c in candidates if c not in premise]),
        "label": label,
    }


def _qa_example(config: EncyclopediaConfig, split: str, index: int) -> Example:
    """One question about a fact that the context states."""
    world, document, rng = _prepare(config, split, "qa", index)
    fact: Fact = _pick(rng, document.facts)
    question = get_lexicon(document.language).questions[fact.attribute]
    start, end = fact.value_span
    return {
        "id": f"qa-{split}-{config.seed}-{index}",
        "language": document.language,
        "question": _state(world, document.language, question, fact.entity, fact.value),
        "context": document.text,
        "answers": {"text": [document.text[start:end]], "answer_start": [start]},
    }


def _tokenize(document: Document, sentences: Sequence[int]) -> list[tuple[int, str]]:
    """The words of some sentences with their offsets, punctuation as tokens of its own."""
    kept = {number for place in sentences for number in range(*document.sentences[place])}
    tokens, position = [], 0
    for number, word in enumerate(document.words):
        for part in split_punctuation(word):
            if part:
                if number in kept:
                    tokens.append((position, part))
                position += len(part)
        position += len(document.separator)
    return tokens


def _ner_example(config: EncyclopediaConfig, split: str, index: int) -> Example:
    """Some sentences of a document as tokens with BIO tags."""
    _, document, rng = _prepare(config, split, "ner", index)
    mentions = {}
    for fact in document.facts:
        mentions[fact.entity_span] = TAGS.get(kind_of(fact.entity))
        mentions[fact.value_span] = TAGS.get(kind_of(fact.value))
    tag_at: dict[int, str] = {}
    tokens = _tokenize(document, _choose_sentences(document, rng))
    for (start, end), tag in mentions.items():
        inside = [offset for offset, _ in tokens if start <= offset < end] if tag else []
        tag_at.update({offset: f"{'I' if i else 'B'}-{tag}" for i, offset in enumerate(inside)})
    return {
        "id": f"ner-{split}-{config.seed}-{index}",
        "language": document.language,
        "tokens": [token for _, token in tokens],
        "tags": [tag_at.get(offset, "O") for offset, _ in tokens],
    }


def _generate(make_example, config, split, num_examples) -> LazySequence[Example]:
    """A lazy sequence of examples, after checking the arguments."""
    check_int("num_examples", num_examples, minimum=1)
    make_rng(config.seed, split, 0, 0)  # raises if the split is unknown
    return LazySequence(num_examples, functools.partial(make_example, config, split))


def generate_nli(
    config: EncyclopediaConfig, *, split: str, num_examples: int
) -> LazySequence[Example]:
    """Pairs of a premise of three sentences and a hypothesis.

    Guarantees: 0, entailment: the premise states the fact, in another paraphrase; 2, contradiction:
    it states another value of the same attribute; 1, neutral: it does not tell that attribute of
    the entity. A hypothesis holds in the world exactly if it is entailed. Languages and labels are
    balanced.

    Args:
      config: seed, languages and world; its noise settings play no role.
      split: "train" or "validation".
      num_examples: length of the sequence.

    Returns:
      Dicts with id, language, premise, hypothesis and label.

    Raises:
      ValueError: unknown split, or fewer than one example.

    >>> examples = generate_nli(EncyclopediaConfig(), split="train", num_examples=24)
    >>> sorted(example["label"] for example in examples) == [0] * 8 + [1] * 8 + [2] * 8
    True
    """
    return _generate(_nli_example, config, split, num_examples)


def generate_qa(
    config: EncyclopediaConfig, *, split: str, num_examples: int
) -> LazySequence[Example]:
    """Questions whose answer is a span of the context.

    Guarantees: `context[answer_start:]` begins with the answer, which is the gold value.

    Args:
      config: seed, languages and world; its noise settings play no role.
      split: "train" or "validation".
      num_examples: length of the sequence.

    Returns:
      Dicts with id, language, question, context and answers {text, answer_start}.

    Raises:
      ValueError: unknown split, or fewer than one example.

    >>> example = generate_qa(EncyclopediaConfig(), split="train", num_examples=1)[0]
    >>> start, text = example["answers"]["answer_start"][0], example["answers"]["text"][0]
    >>> example["context"][start : start + len(text)] == text
    True
    """
    return _generate(_qa_example, config, split, num_examples)


def generate_ner(
    config: EncyclopediaConfig, *, split: str, num_examples: int
) -> LazySequence[Example]:
    """Three sentences of a document as tokens with BIO tags PER, ORG and LOC.

    Guarantees: as many tags as tokens; an I- tag follows a B- or I- tag of the same type; every
    mention of a person, organization, place, country or river is tagged.

    Args:
      config: seed, languages and world; its noise settings play no role.
      split: "train" or "validation".
      num_examples: length of the sequence.

    Returns:
      Dicts with id, language, tokens and tags.

    Raises:
      ValueError: unknown split, or fewer than one example.

    >>> example = generate_ner(EncyclopediaConfig(), split="train", num_examples=1)[0]
    >>> len(example["tokens"]) == len(example["tags"])
    True
    """
    return _generate(_ner_example, config, split, num_examples)
