"""Labelled examples in the lines of one file: which language each is in, and what is broken."""

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any

from presence_t5x.data.documents import UNKNOWN_KIND, Problem, Report
from presence_t5x.data.finetuning.examples import LabelledExample
from presence_t5x.data.finetuning.family import Family
from presence_t5x.data.finetuning.file_names import UNKNOWN_LANGUAGE, Share, language_of_name
from presence_t5x.data.finetuning.records import BrokenRecordError
from presence_t5x.data.text_files.formats import FileRules, Record, is_good, read_records
from presence_t5x.data.text_files.listing import split_suffix
from presence_t5x.data.text_files.slices import FileSlice
from presence_t5x.data.text_files.source import read_lines, read_reporting

# Of a record that holds several examples, what they all have.
_SHARED_FIELDS = ("id", "language", "lang")
_LANGUAGE_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSlice(FileSlice):
    """A slice of a file with the share of its lines that is wanted."""

    share: Share


class ExampleReader:
    """Reads the examples of one family."""

    def __init__(self, family: Family):
        """Remembers the family."""
        self._family = family

    def read(
        self, part: ExampleSlice, report: Report, language: str | None = None
    ) -> Iterator[LabelledExample]:
        """Yields the examples of a slice's share, all or those in a language.

        Broken lines in another language are passed over; those that tell none are reported, so that
        nothing is lost where every language is read by a task of its own.
        """
        read = functools.partial(self._read_slice, language, part.share)
        return read_reporting(part, report, read)

    def _read_slice(
        self, language: str | None, share: Share, part: FileSlice, report: Report
    ) -> Iterator[LabelledExample]:
        ending, compression = split_suffix(part.path)
        rules = FileRules(file=part.file, language=self.language_of(part), source=part.file)
        if ending not in (".jsonl", ".json"):
            message = "no JSON lines, which labelled examples are read from; remove or convert it"
            report(rules.problem(0, UNKNOWN_KIND, message))
            return
        lines = read_lines(part, compression, rules.max_document_bytes)
        chosen = ((number, line) for number, line in lines if share.has(number))
        for record in read_records(chosen, rules, report):
            for found in self._examples(record, rules):
                if not isinstance(found, Problem):
                    if language in (None, found.language):
                        yield found
                elif language in (None, _known_language(record.value, rules, language)):
                    report(found)

    def language_of(self, part: FileSlice) -> str:
        """Returns what the name of a file tells, or what the family is in."""
        found = language_of_name(part.path)
        return (self._family.language or found) if found == UNKNOWN_LANGUAGE else found

    def _examples(self, record: Record, rules: FileRules) -> list[LabelledExample | Problem]:
        """The examples that a record holds; one, unless its family unfolds records."""
        unfold = self._family.unfold
        if unfold is None or not isinstance(record.value, dict):
            return [self._example(record, rules)]
        try:
            values = unfold(record.value)
        except BrokenRecordError as error:
            return [rules.problem(record.line, error.kind, error.message)]
        shared = {name: record.value[name] for name in _SHARED_FIELDS if name in record.value}
        found = [
            self._example(record._replace(value={**value, **shared}), rules) for value in values
        ]
        problems = dict.fromkeys(one for one in found if isinstance(one, Problem))
        examples = [one for one in found if isinstance(one, LabelledExample)]
        if len(found) > 1:
            examples = [one._replace(id=f"{one.id}#{i}") for i, one in enumerate(examples)]
        return [*examples, *problems]  # what is wrong with the whole record is said once

    def _example(self, record: Record, rules: FileRules) -> LabelledExample | Problem:
        value = record.value
        try:
            if not isinstance(value, dict):
                raise BrokenRecordError(
                    "json", f"{type(value).__name__}, not an object; write one object a line"
                )
            if record.has_escapes:
                for name, text in _strings(value):
                    if not is_good(text):
                        return rules.bad_character(record.line, name, text)
            language = _own_language(value) or rules.language
            if not _is_code(language):
                raise BrokenRecordError(
                    "language", f"language {language!r} is no code like 'sw' or 'zh-Latn'"
                )
            identity = value.get("id")
            return LabelledExample(
                self._family.read(value),
                f"{rules.file}:{record.line}" if identity is None else str(identity),
                language,
                rules.source,
                record.line,
            )
        except BrokenRecordError as error:
            return rules.problem(record.line, error.kind, error.message)


def _own_language(record: Any) -> Any:
    """What a record gives as its language."""
    return (record.get("language") or record.get("lang")) if isinstance(record, dict) else None


def _is_code(language: Any) -> bool:
    return isinstance(language, str) and _LANGUAGE_CODE.fullmatch(language) is not None


def _known_language(record: Any, rules: FileRules, default: str | None) -> str | None:
    """The language of a broken record, or the default where neither it nor its file tells."""
    own = _own_language(record) or rules.language
    return own if _is_code(own) and own != UNKNOWN_LANGUAGE else default


def _strings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All strings of a JSON value, names too, with the field they are in."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, name)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key, key
            yield from _strings(item, name or key)
