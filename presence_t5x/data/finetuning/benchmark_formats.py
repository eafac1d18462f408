"""How examples of GLUE and SuperGLUE become text, character for character as T5 has it.

What `formats.labelled_fields` does not cover (Raffel et al. 2020, appendix D). Each function is a
seqio preprocessor: raw examples as TFDS shapes them in, the same with `inputs` and `targets` added
out. A numbered structure `idx` becomes `idx/NAME`, as T5 names its parts.
"""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false

from typing import Any

from presence_t5x.data.finetuning.formats import (
    UNKNOWN,
    Example,
    label_text,
    labelled_fields,
    map_examples,
)
from presence_t5x.data.quiet_tensorflow import tf

BOOLEAN_LABELS = ("False", "True")
ENTAILMENT_LABELS = ("entailment", "not_entailment")
# STS-B's scores, as they are written and as classes: 0.0, 0.2, ... 5.0.
SIMILARITIES = tuple(f"{number / 5:.1f}" for number in range(26))


def similarity(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """STS-B's sentences to "stsb sentence1: A sentence2: B" and the score to 0.2: "3.4"."""

    def convert(example):
        parts = ["stsb sentence1:", example["sentence1"], "sentence2:", example["sentence2"]]
        rounded = tf.round(tf.cast(example["label"], tf.float32) * 5) / 5
        return {
            "inputs": tf.strings.join(parts, separator=" "),
            "targets": tf.strings.as_string(rounded, precision=1),
        }

    return map_examples(dataset, convert)


def answers_to_questions(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """MultiRC's answers, one a row, to "multirc question: answer: paragraph:" and False or True.

    HTML of the paragraphs goes: <br> becomes a space, <b> and </b> nothing.
    """

    def convert(example):
        text = tf.strings.regex_replace(example["inputs"], "<br>", " ")
        return {"inputs": tf.strings.regex_replace(text, "</?b>", ""), **_numbers(example)}

    names = ("question", "answer", "paragraph")
    return map_examples(
        labelled_fields(dataset, "multirc", BOOLEAN_LABELS, names), convert, drop=("idx",)
    )


def cloze_queries(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """ReCoRD's queries to "record query: entities: passage:", one example for every answer.

    Entities are joined by ", ". A highlight of the passage becomes a sentence: its mark a space
    after . ? ! and quotes, else ". ". A query without answer has the target "<unk>".
    """

    def convert(example):
        mark = r"\n@highlight\n"
        passage = tf.strings.regex_replace(example["passage"], rf"([.?!\"']){mark}", r"\1 ")
        passage = tf.strings.regex_replace(passage, mark, ". ")
        entities = tf.strings.reduce_join(example["entities"], separator=", ")
        parts = ["record query:", example["query"], "entities:", entities, "passage:", passage]
        return {"inputs": tf.strings.join(parts, separator=" "), **_numbers(example)}

    def one_each(example):
        answers = example["answers"]
        targets = tf.cond(tf.size(answers) > 0, lambda: answers, lambda: tf.constant([UNKNOWN]))
        each = tf.data.Dataset.from_tensor_slices(targets)
        return each.map(lambda answer: {**example, "targets": answer})

    return map_examples(dataset, convert, drop=("idx",)).flat_map(one_each)


def _numbers(example: Example) -> Example:
    """The parts of `idx` by T5's names of them."""
    return {f"idx/{name}": number for name, number in example["idx"].items()}


def entailed_sentences(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """AX-b's sentences as RTE's: the first is the premise, the second the hypothesis."""
    named = map_examples(
        dataset, lambda e: {"premise": e["sentence1"], "hypothesis": e["sentence2"]}
    )
    return labelled_fields(named, "rte", ENTAILMENT_LABELS, ("hypothesis", "premise"))


def pronouns(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """DPR's sentences to "wsc: " and the sentence, its pronoun as *it*, and who is meant.

    Marked is the first pronoun between a space and a space, point or comma.
    """

    def convert(example):
        pattern = tf.strings.join([" (", example["pronoun"], r")( |\.|,)"])
        marked = tf.strings.regex_replace(
            example["sentence"], pattern, r" *\1*\2", replace_global=False
        )
        return {
            "inputs": tf.strings.join(["wsc:", marked], separator=" "),
            "targets": example["candidates"][example["label"]],
        }

    return map_examples(dataset, convert)


def referents(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """WSC's texts to "wsc: " and the text, its pronoun as *it*, and the noun phrase asked about.

    The target is that phrase whether the pronoun stands for it or not: `right_referents` is what
    is trained on. Words are cut at spaces. As in T5 a pronoun is not looked for but must stand
    where `span2_index` says; of two texts of WSC, of which T5 holds copies, it does not: taken is
    then the next word if that is the pronoun, or the pronoun without the marks that follow on it
    in the same word. T5 has the same texts for these.
    """

    def convert(example):
        parts = ["wsc:", _mark_pronoun(example)]
        return {
            "inputs": tf.strings.join(parts, separator=" "),
            "targets": tf.reshape(example["span1_text"], []),
        }

    return map_examples(dataset, convert)


def right_referents(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """As `referents`, without the examples whose pronoun stands for something else."""
    return referents(dataset.filter(lambda example: tf.equal(example["label"], 1)))


def _mark_pronoun(example: Example) -> Any:
    text, pronoun = example["text"], example["span2_text"]
    words = tf.strings.split(text, sep=" ")
    number = tf.cast(example["span2_index"], tf.int32)
    is_inside = tf.debugging.Assert(
        (number > 0) & (number < tf.size(words)),
        ["span2_index must be that of a word, and not of the first", number, text],
    )
    with tf.control_dependencies([is_inside]):
        is_next = (words[number] != pronoun) & (
            words[tf.minimum(number + 1, tf.size(words) - 1)] == pronoun
        )
        number += tf.cast(is_next, tf.int32)
    literal = _escape(pronoun)
    rest = tf.strings.regex_replace(words[number], "^" + literal, "")
    stands_there = tf.strings.regex_full_match(words[number], literal + r"\pP*")
    is_found = tf.debugging.Assert(stands_there, ["span2_text is not at span2_index", number, text])
    with tf.control_dependencies([is_found]):
        is_whole = tf.equal(rest, "")
    before = tf.strings.reduce_join(words[:number], separator=" ")
    after = tf.strings.reduce_join(words[number + 1 :], separator=" ")
    gap = tf.strings.join([before, "X", after], separator=" ")
    cut = tf.strings.strip(tf.strings.join([before, "X", rest, after], separator=" "))
    # As T5: a word X of the text would be taken for the gap, too.
    mark = tf.strings.join([" *", pronoun, "* "])
    return tf.strings.regex_replace(tf.where(is_whole, gap, cut), " X ", mark)


def marked_spans(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """WSC's texts to "wsc text: " with "* noun phrase *" and "# pronoun #", and False or True.

    The form for a model that labels: whether the pronoun stands for the phrase.
    """

    def convert(example):
        first, second = (tf.cast(example[f"span{n}_index"], tf.int32) for n in (1, 2))
        text = _mark_span(example["text"], example["span1_text"], first, "*")
        # The marks are words, too.
        second += 2 * tf.cast(first < second, tf.int32)
        text = _mark_span(text, example["span2_text"], second, "#")
        return {
            "inputs": tf.strings.join(["wsc text:", text], separator=" "),
            "targets": label_text(example["label"], BOOLEAN_LABELS),
        }

    return map_examples(dataset, convert)


def _mark_span(text: Any, span: Any, number: Any, mark: str) -> Any:
    """The text with a mark on either side of a span that begins at a word; as it is without it."""
    words = tf.strings.join([r"(?:\S+\s){", tf.strings.as_string(number), "}"])
    pattern = tf.strings.join(["^(", words, ")(", _escape(span), ")"])
    return tf.strings.regex_replace(text, pattern, rf"\1{mark} \2 {mark}")


def _escape(text: Any) -> Any:
    """A regular expression of the text itself."""
    return tf.strings.regex_replace(text, r"([^\pL\pN\pM_\s])", r"\\\1")
