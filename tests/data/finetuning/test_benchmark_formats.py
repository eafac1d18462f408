"""Text of GLUE's and SuperGLUE's examples, character for character as T5's code writes it.

The expected texts were written by hand from T5's description of each; t5 0.9.4 gave the same on
generated examples of every task (CHANGELOG).
"""

import numpy as np
import pytest
from data.finetuning.test_formats import convert

from presence_t5x.data.finetuning import benchmark_formats
from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.finetuning.records import BrokenRecordError

NUMBERS = {"paragraph": 3, "question": 4, "answer": 5}
# Family: an example, its inputs, its target.
TEXTS = {
    "glue_cola": (
        {"sentence": "The tea drank Ana.", "label": 0, "idx": 1},
        "cola sentence: The tea drank Ana.",
        "unacceptable",
    ),
    "glue_sst2": (
        {"sentence": "a warm film", "label": 1},
        "sst2 sentence: a warm film",
        "positive",
    ),
    "glue_mrpc": (
        {"sentence1": "It rained.", "sentence2": "Rain fell.", "label": 1},
        "mrpc sentence1: It rained. sentence2: Rain fell.",
        "equivalent",
    ),
    "glue_qqp": (
        {"question1": "Why tea?", "question2": "Why is it tea?", "label": 0},
        "qqp question1: Why tea? question2: Why is it tea?",
        "not_duplicate",
    ),
    "glue_stsb": (
        {"sentence1": "A cat sleeps.", "sentence2": "A dog sleeps.", "label": 2.25},
        "stsb sentence1: A cat sleeps. sentence2: A dog sleeps.",
        "2.2",
    ),
    "glue_mnli": (
        {"premise": "It snows.", "hypothesis": "It is cold.", "label": 1},
        "mnli hypothesis: It is cold. premise: It snows.",
        "neutral",
    ),
    "glue_ax": (
        {"premise": "It snows.", "hypothesis": "It is hot.", "label": -1},
        "mnli hypothesis: It is hot. premise: It snows.",
        "<unk>",
    ),
    "glue_qnli": (
        {"question": "Who came?", "sentence": "Ben came.", "label": 0},
        "qnli question: Who came? sentence: Ben came.",
        "entailment",
    ),
    "glue_rte": (
        {"sentence1": "Ben came.", "sentence2": "Ben left.", "label": 1},
        "rte sentence1: Ben came. sentence2: Ben left.",
        "not_entailment",
    ),
    "glue_wnli": (
        {"sentence1": "Ana saw it.", "sentence2": "Ana saw tea.", "label": 1},
        "wnli sentence1: Ana saw it. sentence2: Ana saw tea.",
        "entailment",
    ),
    "super_glue_boolq": (
        {"question": "is tea hot", "passage": "Tea -- Tea is hot.", "label": 1},
        "boolq passage: Tea -- Tea is hot. question: is tea hot",
        "True",
    ),
    "super_glue_cb": (
        {"premise": "Ana said she came.", "hypothesis": "she came", "label": 1},
        "cb hypothesis: she came premise: Ana said she came.",
        "contradiction",
    ),
    "super_glue_copa": (
        {
            "premise": "It rained.",
            "choice1": "Ana got wet.",
            "choice2": "Ana slept.",
            "question": "effect",
            "label": 0,
        },
        "copa choice1: Ana got wet. choice2: Ana slept. premise: It rained. question: effect",
        "choice1",
    ),
    "super_glue_multirc": (
        {
            "paragraph": "<b>Sent 1: </b>Ana came.<br><b>Sent 2: </b>Ben <i>left</i>.<br>",
            "question": "Who <b>left</b>?",
            "answer": "Ben",
            "label": 1,
            "idx": NUMBERS,
        },
        "multirc question: Who left? answer: Ben paragraph: Sent 1: Ana came. Sent 2: Ben "
        "<i>left</i>. ",
        "True",
    ),
    "super_glue_rte": (
        {"premise": "Ben came.", "hypothesis": "Ben left.", "label": 0},
        "rte hypothesis: Ben left. premise: Ben came.",
        "entailment",
    ),
    "super_glue_wic": (
        {"word": "bank", "sentence1": "A river bank.", "sentence2": "A bank.", "label": 0},
        "wic sentence1: A river bank. sentence2: A bank. word: bank",
        "False",
    ),
    "super_glue_wsc": (
        {
            "text": "Ana gave Ben tea because he was cold.",
            "span1_text": "Ben",
            "span1_index": 2,
            "span2_text": "he",
            "span2_index": 5,
            "label": 1,
        },
        "wsc text: Ana gave * Ben * tea because # he # was cold.",
        "True",
    ),
    "super_glue_wsc_simple": (
        {
            "text": "Ana gave Ben tea because he was cold.",
            "span1_text": "Ana",
            "span1_index": 0,
            "span2_text": "he",
            "span2_index": 5,
            "label": 0,
        },
        "wsc: Ana gave Ben tea because *he* was cold.",
        "Ana",
    ),
    "super_glue_axb": (
        {"sentence1": "All came.", "sentence2": "Some came.", "label": 0},
        "rte hypothesis: Some came. premise: All came.",
        "entailment",
    ),
    "super_glue_axg": (
        {"premise": "Ben met her.", "hypothesis": "Ben met Ana.", "label": 1},
        "rte hypothesis: Ben met Ana. premise: Ben met her.",
        "not_entailment",
    ),
    "dpr": (
        {
            "sentence": "Ana met Ida when she came, and she left.",
            "pronoun": "she",
            "candidates": np.array(["Ana", "Ida"]),
            "label": 1,
        },
        "wsc: Ana met Ida when *she* came, and she left.",
        "Ida",
    ),
}


@pytest.mark.parametrize("family", TEXTS)
def test_text(family):
    example, inputs, target = TEXTS[family]
    (found,) = convert(FAMILIES[family].to_text, example)
    assert (found["inputs"], found["targets"]) == (inputs, target)
    names = FAMILIES[family].label_names
    assert not names or target in (*names, "<unk>")


def test_every_family_of_the_benchmarks_has_a_case():
    families = {name for name in FAMILIES if "glue" in name} | {"dpr"}
    assert families == {*TEXTS, "super_glue_record"}


@pytest.mark.parametrize("family", [name for name in TEXTS if name not in ("glue_stsb", "dpr")])
def test_a_label_that_is_not_known_is_unk(family):
    (found,) = convert(FAMILIES[family].to_text, {**TEXTS[family][0], "label": -1})
    # The phrase asked about is known in any case.
    assert found["targets"] == ("Ana" if family == "super_glue_wsc_simple" else "<unk>")


SIMILARITIES = {
    5.0: "5.0", 0.0: "0.0", 3.25: "3.2", 3.75: "3.8", 2.5: "2.4", 1.7: "1.6", 2.3: "2.4",
    4.9: "4.8", 0.09: "0.0", 0.11: "0.2", 2.8: "2.8", 2.917: "3.0",
}  # fmt: skip


def test_similarities_are_rounded_to_a_fifth_half_to_even():
    base = {"sentence1": "a", "sentence2": "b"}
    found = convert(
        benchmark_formats.similarity, *({**base, "label": value} for value in SIMILARITIES)
    )
    assert [one["targets"] for one in found] == [*SIMILARITIES.values()]
    every = [{**base, "label": number / 5} for number in range(26)]
    found = [one["targets"] for one in convert(benchmark_formats.similarity, *every)]
    assert found == list(FAMILIES["glue_stsb"].label_names) and len({*found}) == 26


def test_numbers_of_multirc_and_record_are_kept_by_their_names():
    (found,) = convert(FAMILIES["super_glue_multirc"].to_text, TEXTS["super_glue_multirc"][0])
    assert {name: found[name] for name in found if name.startswith("idx")} == {
        "idx/paragraph": 3,
        "idx/question": 4,
        "idx/answer": 5,
    }
    found = convert(FAMILIES["super_glue_record"].to_text, cloze("Ana came."))
    assert {name: found[0][name] for name in found[0] if name.startswith("idx")} == {
        "idx/passage": 7,
        "idx/query": 8,
    }


def cloze(passage, answers=("Ana",)):
    return {
        "passage": passage,
        "query": "@placeholder drank tea.",
        "entities": np.array(["Ana", "Ben Vogt", "Oslo"]),
        "answers": np.array(answers, dtype=object),
        "idx": {"passage": 7, "query": 8},
    }


PASSAGES = {
    "One.\n@highlight\nTwo": "One. Two",
    'He said "no"\n@highlight\nThen': 'He said "no" Then',
    "Why?\n@highlight\nSo!\n@highlight\nit's'\n@highlight\nend": "Why? So! it's' end",
    "no mark\n@highlight\nTwo,\n@highlight\nthree": "no mark. Two,. three",
    "a\nb @highlight c": "a\nb @highlight c",
}


@pytest.mark.parametrize(("passage", "expected"), PASSAGES.items())
def test_highlights_of_record_become_sentences(passage, expected):
    (found,) = convert(FAMILIES["super_glue_record"].to_text, cloze(passage))
    assert found["inputs"] == (
        "record query: @placeholder drank tea. entities: Ana, Ben Vogt, Oslo passage: " + expected
    )
    assert found["targets"] == "Ana"


def test_record_has_an_example_for_every_answer():
    found = convert(
        FAMILIES["super_glue_record"].to_text, cloze("P.", ["Ben Vogt", "Ana"]), cloze("P.", ["x"])
    )
    assert [one["targets"] for one in found] == ["Ben Vogt", "Ana", "x"]
    assert [one["answers"] for one in found] == [["Ben Vogt", "Ana"]] * 2 + [["x"]]
    assert found[0]["inputs"] == found[1]["inputs"]


def wsc(text, pronoun, number, **changes):
    example = {"text": text, "span1_text": "Ana", "span1_index": 0, "span2_text": pronoun}
    return {**example, "span2_index": number, "label": 1, **changes}


# Text, pronoun, its word, and what comes of it.
PRONOUNS = [
    ("Ana saw it here .", "it", 2, "Ana saw *it* here ."),
    ("Ana saw  it", "it", 3, "Ana saw  *it* "),  # words are cut at single spaces
    ("Ana , she said", "she", 2, "Ana , *she* said"),
    # One word too early, as in one text of WSC; and marks on the pronoun, as in another.
    ("They want to use it , but later", "it", 3, "They want to use *it* , but later"),
    ('It bit. "Good for him," Ana said. ', "him", 4, 'It bit. "Good for *him* ," Ana said.'),
    # T5's quirk: a word X is taken for the gap, too.
    ("Mr. X saw it here", "it", 3, "Mr. *it* saw *it* here"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pronoun", "number", "expected"), PRONOUNS)
def test_pronouns_of_wsc_are_marked_where_they_stand(text, pronoun, number, expected):
    (found,) = convert(benchmark_formats.referents, wsc(text, pronoun, number))
    assert found["inputs"] == "wsc: " + expected
    FAMILIES["super_glue_wsc_simple"].read(wsc(text, pronoun, number))


MISPLACED = [
    ("Ana saw it and left", "it", 0, "must be that of a word"),
    ("Ana saw it and left", "it", 5, "must be that of a word"),
    ("Ana saw it and left", "it", 4, "not at"),
    ("Ana saw items of it", "it", 2, "not at"),  # a word that begins so
    ("Ana saw him's of him", "him", 2, "not at"),
    ("Ana gave to him, then left", "him", 2, "not at"),  # the next word, with a mark
]  # fmt: skip


@pytest.mark.parametrize(("text", "pronoun", "number", "message"), MISPLACED)
def test_a_pronoun_that_is_not_there_is_an_error(text, pronoun, number, message):
    """Of files' records before any text is made of them."""
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        convert(benchmark_formats.referents, wsc(text, pronoun, number))
    with pytest.raises(BrokenRecordError, match=f"is not word span2_index={number}"):
        FAMILIES["super_glue_wsc_simple"].read(wsc(text, pronoun, number))


def test_wsc_is_trained_on_right_referents_alone():
    right = wsc("Ana said she left", "she", 2)
    wrong = {**right, "span1_text": "Ida", "label": 0}
    family = FAMILIES["super_glue_wsc_simple"]
    assert [one["targets"] for one in convert(family.to_training_text, right, wrong)] == ["Ana"]
    assert [one["targets"] for one in convert(family.to_text, right, wrong)] == ["Ana", "Ida"]


MARKS = [
    # The pronoun before the phrase: no word is added in front of it.
    (("she left when Ana came", "Ana", 3, "she", 0), "# she # left when * Ana * came"),
    # A phrase of several words, with marks that regular expressions know.
    (("I saw Mr. A+ (Bo) and him", "Mr. A+ (Bo)", 2, "him", 6), None),
    # What is not there is not marked.
    (("Ana left", "Ida", 0, "she", 1), "Ana left"),
]


@pytest.mark.parametrize(("spans", "expected"), MARKS)
def test_spans_of_wsc_are_marked(spans, expected):
    text, phrase, number, pronoun, place = spans
    example = wsc(text, pronoun, place, span1_text=phrase, span1_index=number)
    if expected is None:  # the marks count as two words, the phrase as one, as in T5
        expected = "I saw * Mr. A+ (Bo) * and # him #"
    (found,) = convert(benchmark_formats.marked_spans, example)
    assert found["inputs"] == "wsc text: " + expected


def test_dpr_marks_the_first_pronoun_before_a_space_point_or_comma():
    base = {"pronoun": "he", "candidates": np.array(["Ben", "Tom"]), "label": 0}
    sentences = {
        "Ben saw him, but he, not Tom, left.": "Ben saw him, but *he*, not Tom, left.",
        "he ran and he hid": "he ran and *he* hid",
        "Ben ran as he; as he.": "Ben ran as he; as *he*.",
    }
    found = convert(benchmark_formats.pronouns, *({"sentence": s, **base} for s in sentences))
    assert [one["inputs"] for one in found] == [f"wsc: {text}" for text in sentences.values()]
