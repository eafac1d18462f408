"""Text of labelled examples, character for character as mT5's code has it."""

import sys
import unicodedata

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from presence_t5x.data.finetuning import formats
from presence_t5x.data.finetuning.entity_tags import spans_of_tags
from presence_t5x.data.finetuning.families import FAMILIES

QUESTION = "Whose portrait by François Clouet was included in the Jones bequest of 1882?"


def convert(step, *examples, **keywords):
    """The examples after a preprocessor, text as str."""
    datasets = [tf.data.Dataset.from_tensors(example) for example in examples]
    dataset = datasets[0]
    for other in datasets[1:]:
        dataset = dataset.concatenate(other)
    return [
        tf.nest.map_structure(plain, found)
        for found in step(dataset, **keywords).as_numpy_iterator()
    ]


def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    found = value.tolist()
    return [text.decode() for text in found] if isinstance(found, list) else found


def test_questions_as_mt5_pads_them():
    (found,) = convert(
        formats.question_answering,
        {
            "id": "123",
            "context": "Some context.",
            "question": QUESTION,
            "answers": {"text": ["The answer.", "Another answer."]},
        },
    )
    padded = f"{QUESTION[:-1]} ? "
    assert found["inputs"] == f"question: {padded}context: Some context . "
    assert found["targets"] == "The answer . "
    assert found["answers"] == ["The answer . ", "Another answer . "]
    assert (found["question"], found["context"]) == (padded, "Some context . ")
    assert found["id"] == "123"


PADDED = {
    "a  b\tc\n": "a b c ",
    "snake_case": "snake_case",
    "3½² x": "3½² x",
    "e\u0301té, café": "e\u0301té , café",  # a combining mark stays on its letter
    "東京、大阪。": "東京 、 大阪 。 ",
    "यह एक है।": "यह एक है । ",
    "(a)-b": " ( a ) - b",
    # White space beyond ASCII is a mark.
    "a\u00a0b\u3000c": "a \u00a0 b \u3000 c",
    "$5 €6": " $ 5 € 6",
}


@pytest.mark.parametrize(("text", "expected"), PADDED.items())
def test_padding_of_punctuation(text, expected):
    assert formats.pad_punctuation(text).numpy().decode() == expected


def test_every_character_is_padded_by_its_category():
    """Python's Unicode and TensorFlow's differ only in characters that one of them lacks."""
    every = (chr(i) for i in range(1, sys.maxunicode + 1) if not 0xD800 <= i < 0xE000)
    assigned = [c for c in every if unicodedata.category(c) != "Cn"]
    found = formats.pad_punctuation(tf.constant(assigned)).numpy()
    for character, text in zip(assigned, found):
        is_kept = character == "_" or unicodedata.category(character)[0] in "NLM"
        expected = character if is_kept else f" {character} "
        assert text.decode() == (" " if character in "\t\n\f\r " else expected), character


def test_a_question_without_an_answer_is_an_error_that_names_it():
    def examples():
        yield {"id": "q7", "context": "c", "question": "q", "answers": {"text": []}}

    signature = {name: tf.TensorSpec((), tf.string) for name in ("id", "context", "question")}
    signature["answers"] = {"text": tf.TensorSpec((None,), tf.string)}
    dataset = tf.data.Dataset.from_generator(examples, output_signature=signature)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"no answer, question.*q7"):
        list(formats.question_answering(dataset))


def test_inference_pairs():
    example = {"premise": "p, 1", "hypothesis": "h.", "label": tf.constant(2, tf.int64)}
    (found,) = convert(formats.natural_language_inference, example)
    assert found["inputs"] == "xnli: premise: p, 1 hypothesis: h."
    assert found["targets"] == "2"


XNLI = {
    "hypothesis": {"language": ["l1", "l2", "l3"], "translation": ["t1", "t2", "t3"]},
    "label": 1,
    "premise": {"l1": "p1", "l2": "p2", "l3": "p3", "l4": "p4"},
}


def test_one_language_of_many():
    steps = formats.one_language_each

    def text(languages, *examples):
        found = convert(steps, *examples, languages=languages)
        return [(e["language"], e["premise"], e["hypothesis"], e["label"]) for e in found]

    other = {**XNLI, "label": 0, "premise": {f"l{i}": f"q{i}" for i in range(1, 5)}}
    assert text(["l2"], XNLI) == [("l2", "p2", "t2", 1)]
    # Language after language, and nothing where a hypothesis has no translation.
    assert text(["l3", "l4", "l1"], XNLI, other) == [
        ("l3", "p3", "t3", 1),
        ("l3", "q3", "t3", 0),
        ("l1", "p1", "t1", 1),
        ("l1", "q1", "t1", 0),
    ]


def test_entities():
    example = {
        "tokens": ["rick", "and", "morty", "are", "cool", "."],
        "spans": ["PER: rick", "PER: morty"],
    }
    (found,) = convert(formats.entity_tagging, example)
    assert found["inputs"] == "tag: rick and morty are cool ."
    assert found["targets"] == "PER: rick $$ PER: morty"
    (found,) = convert(formats.entity_tagging, {"tokens": ["no"], "spans": ["None"]})
    assert found["targets"] == "None"


def test_paraphrases_and_the_format_of_glue():
    example = {"sentence1": "a, b", "sentence2": "c", "label": 1}
    (found,) = convert(FAMILIES["paws"].to_text, example)
    assert found["inputs"] == "paws sentence1: a, b sentence2: c"
    assert found["targets"] == "paraphrase"
    # Fields by name where none are listed; what is no text of the example is left out.
    mnli = {"premise": "p", "hypothesis": "h", "label": -1, "idx": 3, "id": "x", "language": "en"}
    names = ["entailment", "neutral", "contradiction"]
    (found,) = convert(formats.labelled_fields, mnli, name="mnli", label_names=names)
    assert found["inputs"] == "mnli hypothesis: h premise: p"
    assert found["targets"] == "<unk>"


def test_languages_of_tydi_qa():
    names = {**formats.TYDIQA_LANGUAGES, "klingon": ""}
    found = convert(formats.name_tydiqa_languages, *({"id": f"{name}--7-0"} for name in names))
    assert [example["language"] for example in found] == [*names.values()]
    found = convert(formats.only_language, {"language": "en"}, {"language": "fi"}, language="en")
    assert found == [{"language": "en"}]


TAGS = ["O", *(f"{kind}-{entity}" for kind in "BI" for entity in ("PER", "ORG", "LOC"))]


@given(tags=st.lists(st.sampled_from(TAGS), min_size=1))
def test_spans_are_those_of_tfds(tags):
    tokens = [f"w{number}" for number in range(len(tags))]
    expected = tfds.text.wikiann.wikiann.get_spans(tokens, tags)
    assert (spans_of_tags(tokens, tags) or ["None"]) == expected


@pytest.mark.parametrize("tag", ["", "o", "PER", "B PER", "B-", "X-PER", "B-a:b", "B-PER "])
def test_other_tags_are_refused(tag):
    with pytest.raises(ValueError, match="is none of O, B-TYPE and I-TYPE; correct it"):
        spans_of_tags(["a"], [tag])
