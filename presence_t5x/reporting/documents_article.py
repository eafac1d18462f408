"""Every scored document as an article: a table for the script, the extremes as plain HTML."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from presence_t5x.reporting.page import Article, Section, anchor_of, how, missing
from presence_t5x.reporting.scales import format_number
from presence_t5x.reporting.scored_documents import (
    SCORE,
    ScoredDocuments,
    Texts,
    read_document_texts,
)
from presence_t5x.reporting.svg import escape

MOST_DOCUMENTS = 200_000  # in the table; 100,000 of them are about 9 MB
_EXTREMES = 10  # highest and lowest, each, that are there without a script
_MOST_CHARACTERS = 2000  # of a text
_MOST_CHARACTERS_SHOWN = 1000  # of a text among the extremes
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TITLES = {"num_tokens": "tokens"}


def documents_article(
    files: Sequence[ScoredDocuments], texts_per_language: int
) -> tuple[Article, dict[str, Any]]:
    """Returns the article, and the data of its tables.

    Args:
      files: at least one.
      texts_per_language: so many of the highest, and of the lowest, have their text.
    """
    sections, data = [], []
    for number, scores in enumerate(files):
        of = f": {scores.path.name}" if len(files) > 1 else ""
        extremes = {name: extreme(scores, _EXTREMES, name) for name in ("highest", "lowest")}
        with_text = documents_with_text(scores, texts_per_language)
        wanted = np.unique(np.concatenate([with_text, *extremes.values()]))
        texts = read_document_texts(scores, wanted)
        shown = documents_shown(scores, wanted, MOST_DOCUMENTS)
        data.append(_data(scores, shown, texts))
        suffix = [number + 1] if number else []
        sections += [
            Section(
                anchor_of("documents-all", *suffix),
                f"All documents{of}",
                _table_place(scores, shown, texts, number, texts_per_language),
            ),
            Section(
                anchor_of("documents-extremes", *suffix),
                f"Highest and lowest{of}",
                _extremes(scores, extremes, texts, number),
            ),
        ]
    article = Article(
        name="documents",
        label="Documents",
        title="Which documents influence most, which least?",
        eyebrow=" · ".join(str(scores.path) for scores in files),
        verdict=_verdict(files[0]),
        notes=[
            "Texts are what the vocabulary kept of them; a high score is no verdict on a text: "
            "noise, a rare language and a hard fact look alike to it."
        ],
        sections=sections,
        footer="Written by presence_t5x.report.",
    )
    return article, {"files": data}


def extreme(scores: ScoredDocuments, number: int, which: str) -> Int[np.ndarray, " chosen"]:
    """Returns the documents with the highest or lowest scores, the most extreme first.

    Of equal scores those that come first.
    """
    values = scores.numbers[SCORE]
    known = np.flatnonzero(np.isfinite(values))
    sign = -1.0 if which == "highest" else 1.0
    return known[np.argsort(sign * values[known], kind="stable")[:number]]


def documents_with_text(scores: ScoredDocuments, number: int) -> Int[np.ndarray, " chosen"]:
    """Returns the documents with the highest and lowest scores of every language, in order."""
    values, language = scores.numbers[SCORE], scores.labels["language"]
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    chosen = [np.zeros(0, np.int64)]
    for code in range(len(language.values)):
        own = order[language.codes[order] == code]
        chosen += [own[:number], own[::-1][:number]]
    return np.unique(np.concatenate(chosen))


def documents_shown(
    scores: ScoredDocuments, needed: Int[np.ndarray, " needed"], most: int
) -> Int[np.ndarray, " shown"]:
    """Returns all documents; of more than `most` those that are needed and a random sample."""
    if len(scores) <= most:
        return np.arange(len(scores))
    others = np.setdiff1d(np.arange(len(scores)), needed)
    drawn = np.random.default_rng(0).choice(others, max(0, most - len(needed)), replace=False)
    return np.sort(np.concatenate([needed, drawn]))


def clean_text(text: str) -> str:
    r"""Returns text without signs that are none; format signs stay, since scripts need them.

    >>> clean_text("a\0b\ud800\r\n")
    'a�b�\n'
    """
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def _data(scores: ScoredDocuments, shown: np.ndarray, texts: Texts) -> dict[str, Any]:
    """What the script needs of a file: columns, numbers as arrays."""
    place = {int(document): row for row, document in enumerate(shown)}
    return {
        "title": clean_text(str(scores.path)),
        "ids": [clean_text(name) for name in scores.ids.take(shown).to_pylist()],
        "labels": [
            {
                "name": name,
                "values": [clean_text(value) for value in label.values],
                "codes": _array(label.codes[shown]),
            }
            for name, label in scores.labels.items()
        ],
        "numbers": [
            {"name": name, "title": _title(name), "values": _array(values[shown])}
            for name, values in scores.numbers.items()
        ],
        "texts": {
            place[document]: _cut(clean_text(text), _MOST_CHARACTERS)
            for document, text in texts.by_document.items()
        },
        "without_text": texts.problem,
    }


def _array(values: np.ndarray) -> dict[str, str]:
    """The smallest typed array of JavaScript that has these values, little-endian, as base64."""
    known = np.isfinite(values).all() and (values == np.round(values)).all()
    low, high = (values.min(), values.max()) if known else (-np.inf, np.inf)
    for kind in ("Uint8", "Uint16", "Uint32", "Int32"):
        limits = np.iinfo(kind.lower())
        if limits.min <= low and high <= limits.max:
            break
    else:
        kind = "Float64"
    content = values.astype(np.dtype(kind.lower()).newbyteorder("<")).tobytes()
    return {"kind": f"{kind}Array", "content": base64.b64encode(content).decode("ascii")}


def _table_place(
    scores: ScoredDocuments, shown: np.ndarray, texts: Texts, number: int, per_language: int
) -> str:
    """Where the script puts the table, and what is said of it."""
    if len(shown) < len(scores):
        size = f"A random sample of {len(shown):,} of {len(scores):,} documents"
    else:
        size = f"{len(shown):,} documents"
    told = (
        f"Texts are missing: {texts.problem}."
        if texts.problem
        else f"The text is here of the {per_language} highest and {per_language} lowest of every "
        "language (--texts=N changes that)."
    )
    return (
        how(
            f"{size}. Click a heading to sort, a row to read it. By keyboard: Tab to a heading or "
            "a row, Enter; arrows, Page Up, Page Down, Home and End move between rows, Escape goes "
            f"back to them. The address keeps what you see. {told}"
        )
        + f'<div class="all-documents" data-file="{number}">'
        + missing("This table needs JavaScript; the highest and lowest are below.")
        + "</div>"
    )


def _extremes(
    scores: ScoredDocuments, extremes: Mapping[str, np.ndarray], texts: Texts, number: int
) -> str:
    """Two lists of documents with their texts."""
    problem = missing(f"Texts are missing: {texts.problem}.") if texts.problem else ""
    lists = (
        f"<div><h3>{escape(name.capitalize())}</h3><ol>"
        f"{''.join(_card(scores, int(document), texts, number) for document in found)}</ol></div>"
        for name, found in extremes.items()
    )
    return f'{problem}<div class="extremes">{"".join(lists)}</div>'


def _card(scores: ScoredDocuments, document: int, texts: Texts, number: int) -> str:
    name = scores.ids[document].as_py()
    facts = [(n, label.values[label.codes[document]]) for n, label in scores.labels.items()]
    facts += [(_title(n), format_number(v[document], 4)) for n, v in scores.numbers.items()]
    text = texts.by_document.get(document)
    shown = "" if text is None else f'<p class="text" dir="auto" tabindex="0">{_html(text)}</p>'
    return (
        f'<li><bdi class="identity" data-file="{number}">{html.escape(clean_text(name))}</bdi>'
        f'<dl class="facts">{_facts(facts)}</dl>{shown}</li>'
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{html.escape(clean_text(value))}</dd></div>"
        for name, value in facts
        if value
    )


def _html(text: str) -> str:
    return html.escape(_cut(clean_text(text), _MOST_CHARACTERS_SHOWN))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def _title(name: str) -> str:
    """A column's name for people.

    >>> _title("score_encoder")
    'encoder score'
    """
    if name.startswith("score_"):
        name = f"{name.removeprefix('score_')} score"
    return _TITLES.get(name, name.replace("_", " "))


def _verdict(scores: ScoredDocuments) -> str:
    values = scores.numbers[SCORE]
    known = values[np.isfinite(values)]
    if not known.size:
        return f"None of {len(scores):,} documents has a score."
    top = np.sort(known)[::-1][: max(1, known.size // 100)].sum() / known.sum()
    low, high = format_number(float(known.min())), format_number(float(known.max()))
    return (
        f"The scores of {known.size:,} documents reach from {low} to {high}; the highest "
        f"1 % of them hold {100 * top:.0f} % of their sum."
    )
