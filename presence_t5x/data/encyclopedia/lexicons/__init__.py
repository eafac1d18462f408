"""The hand-written lexicons, one module a language, and the parser of their format.

A lexicon module has four names. `LANGUAGE` is its code, `SCRIPT` a script of `names.SCRIPTS` and
`SEPARATOR` what stands between two words of a text. `VALUES` lists the closed words, one category
a line: `category: id=surface | id=surface`; a category may be continued on further lines.
`TEMPLATES` lists, for each attribute of `knowledge.ATTRIBUTES`, the line with its name, one
question that begins with `? ` and at least three statements. `{s}` stands for the subject, `{v}`
for the value; spaces mark the word segmentation, also in languages that are written without them.

To add a language, write such a module and name it in `_MODULES`; everything else follows.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from presence_t5x._validate import check_choice
from presence_t5x.data.encyclopedia.lexicons import ar, de, en, es, hi, ru, sw, zh
from presence_t5x.data.encyclopedia.punctuation import split_punctuation

_MODULES = (en, es, de, ru, hi, zh, sw, ar)
LANGUAGES = tuple(module.LANGUAGE for module in _MODULES)
_MINIMUM_STATEMENTS = 3
_SLOT = re.compile(r"\{([sv])\}")


@dataclasses.dataclass(frozen=True)
class Slot:
    """A word of a template that is filled in: the subject or the value, and what is attached."""

    is_subject: bool
    prefix: str
    suffix: str


Template = tuple[str | Slot, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Lexicon:
    """One language: its script, separator, closed words, statements and questions."""

    language: str
    script: str
    separator: str
    values: Mapping[str, Mapping[str, str]]
    statements: Mapping[str, tuple[Template, ...]]
    questions: Mapping[str, Template]


def parse_template(line: str) -> Template:
    """Cuts one template line into literal words and slots.

    Args:
      line: words separated by single spaces, among them `{s}` or `{v}` with attached punctuation.

    Returns:
      One entry a word.

    >>> parse_template("{s} lies in {v}.")[3]
    Slot(is_subject=False, prefix='', suffix='.')
    """
    words: list[str | Slot] = []
    for word in line.split():
        match = _SLOT.search(word)
        if match is None:
            words.append(word)
        else:
            words.append(Slot(match.group(1) == "s", word[: match.start()], word[match.end() :]))
    return tuple(words)


def _parse_values(text: str) -> dict[str, dict[str, str]]:
    """Reads the closed words of a language."""
    values: dict[str, dict[str, str]] = {}
    for line in text.strip().splitlines():
        category, entries = line.split(":", 1)
        for entry in entries.split("|"):
            value, surface = entry.strip().split("=")
            values.setdefault(category.strip(), {})[value] = surface
    return values


def _parse_templates(text: str) -> tuple[dict[str, tuple[Template, ...]], dict[str, Template]]:
    """Reads statements and questions; the line before each question names the attribute."""
    statements: dict[str, tuple[Template, ...]] = {}
    questions: dict[str, Template] = {}
    attribute = ""
    for line in text.strip().splitlines():
        if line.startswith("? "):
            questions[attribute] = parse_template(line[2:])
        elif "{s}" in line:
            statements[attribute] += (parse_template(line),)
        else:
            attribute = line
            statements[attribute] = ()
    return statements, questions


def _slots(template: Template) -> list[bool]:
    """Which slots a template has, subjects first."""
    return sorted((word.is_subject for word in template if isinstance(word, Slot)), reverse=True)


def _check(lexicon: Lexicon) -> None:
    """Refuses a lexicon whose templates lack a slot, a question or a paraphrase."""
    for attribute, templates in lexicon.statements.items():
        where = f"lexicon {lexicon.language!r}, attribute {attribute!r}"
        if len(templates) < _MINIMUM_STATEMENTS:
            raise ValueError(
                f"{where}: {len(templates)} statements, at least {_MINIMUM_STATEMENTS} are needed; "
                "write more"
            )
        if any(_slots(template) != [True, False] for template in templates):
            raise ValueError(f"{where}: every statement needs one {{s}} and one {{v}}; add them")
        if _slots(lexicon.questions.get(attribute, ())) != [True]:
            raise ValueError(f"{where}: the question needs one {{s}} and no {{v}}; correct it")


def _build(module: ModuleType) -> Lexicon:
    """Parses and checks one lexicon module."""
    statements, questions = _parse_templates(module.TEMPLATES)
    lexicon = Lexicon(
        language=module.LANGUAGE,
        script=module.SCRIPT,
        separator=module.SEPARATOR,
        values=MappingProxyType(_parse_values(module.VALUES)),
        statements=MappingProxyType(statements),
        questions=MappingProxyType(questions),
    )
    _check(lexicon)
    return lexicon


def closed_words(language: str) -> frozenset[str]:
    """Every word of the templates and closed lists of a language, without slots and punctuation.

    Args:
      language: one of `LANGUAGES`.

    Returns:
      The words as they are written.

    >>> "centimetres" in closed_words("en"), "long." in closed_words("en")
    (True, False)
    """
    lexicon = get_lexicon(language)
    templates = (*itertools.chain(*lexicon.statements.values()), *lexicon.questions.values())
    words = {word for template in templates for word in template if isinstance(word, str)}
    for values in lexicon.values.values():
        words.update(word for surface in values.values() for word in surface.split(" "))
    return frozenset({split_punctuation(word)[1] for word in words} - {""})


def check_language(language: str) -> None:
    """Refuses a language that has no lexicon.

    Raises:
      ValueError: `language` is not one of `LANGUAGES`.
    """
    check_choice("language", language, LANGUAGES)


@functools.cache
def get_lexicon(language: str) -> Lexicon:
    """The parsed lexicon of a language; the same object at every call.

    Args:
      language: one of `LANGUAGES`.

    Returns:
      The lexicon.

    Raises:
      ValueError: the language has no lexicon.

    >>> get_lexicon("sw").values["colour"]["green"]
    'kijani'
    """
    check_language(language)
    return _build(_MODULES[LANGUAGES.index(language)])
