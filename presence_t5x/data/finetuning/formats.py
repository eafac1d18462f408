"""How labelled examples become text, character for character as mT5 has it (Xue et al. 2021).

Each function is a seqio preprocessor: raw examples, as TFDS shapes them, in; the same with `inputs`
and `targets` added out. What an example has besides goes along, for metrics and labels.
"""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportArgumentType=false

from collections.abc import Callable, Sequence
from typing import Any

from presence_t5x.data.preprocessors import LABELS
from presence_t5x.data.quiet_tensorflow import tf
from presence_t5x.task_metrics.entity_spans import DELIMITER

Example = dict[str, Any]
NO_ENTITY = "None"
# The number of a line, where files are read: no field of an example.
LINE = "file_line"

# TyDi QA names the language of an example in its id, in words.
TYDIQA_LANGUAGES = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
}


def pad_punctuation(text: Any) -> Any:
    r"""Returns text with a space on either side of every mark, and single spaces.

    A mark is whatever is no underscore, white space, number, letter or combining mark of Unicode,
    so that accents stay on their letters. White space is that of ASCII: others are marks.

    >>> pad_punctuation("L'été (1882)?").numpy().decode()
    "L ' été ( 1882 ) ? "
    """
    return _single_spaces(tf.strings.regex_replace(text, r"[^_\s\pN\pL\pM]", r" \0 "))


def _single_spaces(text: Any) -> Any:
    return tf.strings.regex_replace(text, r"\s+", " ")


def _map(dataset: tf.data.Dataset, convert: Callable[[Example], Example]) -> tf.data.Dataset:
    """Adds what `convert` gives to every example."""
    # Nothing branches on a tensor: looking for that takes most of the time of opening a task.
    as_it_is = tf.autograph.experimental.do_not_convert(lambda e: {**e, **convert(e)})
    return dataset.map(as_it_is, num_parallel_calls=tf.data.AUTOTUNE)


def natural_language_inference(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Premise, hypothesis and label to "xnli: premise: P hypothesis: H" and the label's number."""

    def convert(example):
        parts = ["xnli: premise: ", example["premise"], " hypothesis: ", example["hypothesis"]]
        return {"inputs": tf.strings.join(parts), "targets": tf.strings.as_string(example["label"])}

    return _map(dataset, convert)


def one_language_each(dataset: tf.data.Dataset, languages: Sequence[str]) -> tf.data.Dataset:
    """Cuts examples in many languages (TFDS `xnli`) into examples in one, language after language.

    Args:
      dataset: `premise` by language, `hypothesis` with lists `language` and `translation`, `label`.
      languages: in this order; an example without a hypothesis in a language has none in it.
    """

    def choose(example, language):
        found = tf.where(example["hypothesis"]["language"] == language)[:, 0]
        return {
            "premise": tf.repeat(example["premise"][language], tf.size(found)),
            "hypothesis": tf.gather(example["hypothesis"]["translation"], found),
            "label": tf.repeat(example["label"], tf.size(found)),
            "language": tf.repeat(language, tf.size(found)),
        }

    def choose_all(language):
        return dataset.map(
            lambda example: choose(example, language), num_parallel_calls=tf.data.AUTOTUNE
        ).unbatch()

    first, *others = map(choose_all, languages)
    for other in others:
        first = first.concatenate(other)
    return first


def question_answering(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """SQuAD's examples to "question: Q context: C" and the first answer, punctuation padded.

    `question`, `context` and `answers` (the list of all) are padded, too.
    """

    def convert(example):
        answers = pad_punctuation(example["answers"]["text"])
        identity = example["id"]
        has_answer = tf.debugging.Assert(tf.size(answers) > 0, ["no answer, question", identity])
        with tf.control_dependencies([has_answer]):
            question, context = map(pad_punctuation, (example["question"], example["context"]))
            parts = ["question:", question, "context:", context]
            return {
                "inputs": _single_spaces(tf.strings.join(parts, separator=" ")),
                "targets": answers[0],
                "question": question,
                "context": context,
                "answers": answers,
            }

    return _map(dataset, convert)


def entity_tagging(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """WikiAnn's tokens to "tag: " and the tokens; its spans joined by " $$ ", or "None"."""

    def convert(example):
        tokens = tf.strings.reduce_join(example["tokens"], separator=" ")
        targets = tf.strings.reduce_join(example["spans"], separator=DELIMITER)
        return {"inputs": "tag: " + tokens, "targets": targets}

    return _map(dataset, convert)


def labelled_fields(
    dataset: tf.data.Dataset,
    name: str,
    label_names: Sequence[str],
    feature_names: Sequence[str] | None = None,
) -> tf.data.Dataset:
    """GLUE's format: "NAME feature: text feature: text" and the name of the label.

    Args:
      dataset: examples with `label`, a number; -1 (unknown, in test splits) becomes "<unk>".
      name: of the benchmark.
      label_names: in the order of the numbers.
      feature_names: in this order; None is all that are text, by name.
    """

    def convert(example):
        names = feature_names
        if names is None:
            others = {*LABELS, "label", "idx", "position", LINE}
            names = sorted(example.keys() - others)
        parts = [name]
        for feature in names:
            parts += [f"{feature}:", example[feature]]
        labels = tf.constant(["<unk>", *label_names])
        return {
            "inputs": tf.strings.join(parts, separator=" "),
            "targets": labels[tf.cast(example["label"], tf.int32) + 1],
        }

    return _map(dataset, convert)


def name_tydiqa_languages(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Adds `language`, which TyDi QA writes in front of its ids ("finnish--763...")."""
    names, codes = (
        tf.constant([*words]) for words in (TYDIQA_LANGUAGES, TYDIQA_LANGUAGES.values())
    )

    def convert(example):
        is_name = names == tf.strings.regex_replace(example["id"], "-.*", "")
        return {"language": tf.strings.reduce_join(tf.boolean_mask(codes, is_name))}

    return _map(dataset, convert)


def only_language(dataset: tf.data.Dataset, language: str) -> tf.data.Dataset:
    """Keeps the examples labelled with a language."""
    return dataset.filter(lambda example: example["language"] == language)
