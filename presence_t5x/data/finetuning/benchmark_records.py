"""Records of GLUE and SuperGLUE to examples as TFDS has them.

Records are as SuperGLUE publishes them in JSON lines, which TFDS reads, too, or flat as TFDS has
them; GLUE's, published as tables, have the column names of TFDS. `unfold_...` makes flat records of
a published one, `read_...` an example of a flat one; both raise BrokenRecordError.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

from presence_t5x.data.finetuning.benchmark_formats import BOOLEAN_LABELS
from presence_t5x.data.finetuning.family import Record
from presence_t5x.data.finetuning.records import (
    BrokenRecordError,
    read_count,
    read_label,
    read_mapping,
    read_mappings,
    read_real,
    read_text,
    read_texts,
)


def read_labelled(
    record: Record, feature_names: Sequence[str], label_names: Sequence[str]
) -> dict[str, Any]:
    """Returns the texts of a record and the number of its label."""
    texts = {name: read_text(record, name) for name in feature_names}
    return {**texts, "label": read_label(record, label_names)}


def read_similarity(record: Record) -> dict[str, Any]:
    """Returns two sentences and their score (STS-B)."""
    texts = {name: read_text(record, name) for name in ("sentence1", "sentence2")}
    return {**texts, "label": read_real(record, "label", 0, 5)}


def read_answer(record: Record) -> dict[str, Any]:
    """Returns an answer to a question about a paragraph (MultiRC)."""
    found = read_labelled(record, ("paragraph", "question", "answer"), BOOLEAN_LABELS)
    return {**found, "idx": _numbers(record, "paragraph", "question", "answer")}


def unfold_answers(record: Record) -> list[Record]:
    """Returns the answers of a published passage (MultiRC); a flat record is one."""
    if "passage" not in record:
        return [record]
    passage = read_mapping(record, "passage")
    return [
        {
            "paragraph": passage.get("text"),
            "question": question.get("question"),
            "answer": answer.get("text"),
            **({"label": answer["label"]} if "label" in answer else {}),
            "idx": {
                "paragraph": record.get("idx"),
                "question": question.get("idx"),
                "answer": answer.get("idx"),
            },
        }
        for question in read_mappings(passage, "questions")
        for answer in read_mappings(question, "answers")
    ]


def read_cloze(record: Record) -> dict[str, Any]:
    """Returns a query and its passage (ReCoRD)."""
    return {
        "passage": read_text(record, "passage"),
        "query": read_text(record, "query"),
        "entities": read_texts(record, "entities"),
        "answers": read_texts(record, "answers"),
        "idx": _numbers(record, "passage", "query"),
    }


def unfold_cloze(record: Record) -> list[Record]:
    """Returns the queries of a published passage (ReCoRD); a flat record is one.

    Entities and answers are sorted and no two alike, as in TFDS.
    """
    if "qas" not in record:
        return [record]
    passage = read_mapping(record, "passage")
    text = read_text(passage, "text")
    spans = [
        (read_count(entity, "start"), read_count(entity, "end"))
        for entity in read_mappings(passage, "entities")
    ]
    if not all(start <= end < len(text) for start, end in spans):
        raise BrokenRecordError(
            "entity_offset",
            f"an entity lies outside the passage of {len(text)} characters; `end` is its last one: "
            "correct or remove it",
        )
    return [
        {
            "passage": text,
            "query": query.get("query"),
            "entities": sorted({text[start : end + 1] for start, end in spans}),
            "answers": sorted({read_text(one, "text") for one in read_mappings(query, "answers")}),
            "idx": {"passage": record.get("idx"), "query": query.get("idx")},
        }
        for query in read_mappings(record, "qas")
    ]


def _numbers(record: Record, *names: str) -> dict[str, int]:
    numbers = read_mapping(record, "idx")
    return {name: read_count(numbers, name) for name in names}


def unfold_spans(record: Record) -> list[Record]:
    """Returns a record with its spans beside its text (WSC)."""
    return [{**record, **read_mapping(record, "target")}] if "target" in record else [record]


def read_spans(record: Record) -> dict[str, Any]:
    """Returns a text, a phrase and a pronoun, which stands where `referents` looks for it (WSC)."""
    names = ("text", "span1_text", "span2_text")
    found = read_labelled(record, names, BOOLEAN_LABELS)
    found |= {name: read_count(record, name) for name in ("span1_index", "span2_index")}
    words, number, pronoun = found["text"].split(" "), found["span2_index"], found["span2_text"]
    if not 0 < number < len(words) or not _is_at(words, number, pronoun):
        raise BrokenRecordError(
            "span",
            f"span2_text={pronoun!r} is not word span2_index={number} of the text (counted from 0, "
            "and not the first); correct or remove the line",
        )
    return found


def _is_at(words: Sequence[str], number: int, pronoun: str) -> bool:
    """Returns whether `benchmark_formats.referents` finds a pronoun at a word, or at the next."""
    word, following = words[number], words[min(number + 1, len(words) - 1)]
    marks = word.removeprefix(pronoun)
    is_marked = word.startswith(pronoun) and all(unicodedata.category(c)[0] == "P" for c in marks)
    return is_marked or following == pronoun


def read_candidates(record: Record) -> dict[str, Any]:
    """Returns a sentence, a pronoun and what it may stand for (DPR)."""
    candidates = read_texts(record, "candidates")
    texts = {name: read_text(record, name) for name in ("sentence", "pronoun")}
    return {**texts, "candidates": candidates, "label": read_label(record, candidates)}
