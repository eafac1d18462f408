"""Labelled examples in JSON lines: which files are which split and language, and what is broken.

Files may be compressed (`.gz`, `.zst`). The language of an example is its field `language` or
`lang`; else the last part of the file's name, between points, hyphens or underscores, that is a
code of ISO 639-1 ("train.sw.jsonl.gz"); else it is unknown. A split is named by whoever names the
files, or by the file's name: train; dev, val, valid or validation; test. A pattern may end in a
share of the lines (`file_names`).
"""

import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from presence_t5x._validate import check_text
from presence_t5x.data.documents import UNKNOWN_KIND, Part, Problem, Report
from presence_t5x.data.finetuning.examples import ExamplesSource, LabelledExample
from presence_t5x.data.finetuning.families import FAMILIES
from presence_t5x.data.finetuning.family import Family
from presence_t5x.data.finetuning.file_names import SPLITS, Share, parse_share, split_of_name
from presence_t5x.data.finetuning.lines import ExampleReader, ExampleSlice
from presence_t5x.data.text_files.listing import list_files
from presence_t5x.data.text_files.source import FilesSource


class _Scan(NamedTuple):
    """What reading everything once tells.

    Attributes:
      parts: slices with examples of a (split, language).
      empty: slices of a split without any example.
      num_examples: of a (split, language).
      problems: everything that is broken.
    """

    parts: dict[tuple[str, str], list[ExampleSlice]]
    empty: list[tuple[str, ExampleSlice]]
    num_examples: Counter[tuple[str, str]]
    problems: list[Problem]


class LocalExamples:
    """The examples of one family in files, by split and language.

    Reading everything once tells the languages and everything that is broken.
    """

    def __init__(self, family: Family, files: str | Mapping[str, str]):
        """Remembers the files; they are looked at when asked for.

        Args:
          family: of all examples.
          files: a file, directory or glob whose names tell the splits, or {split: pattern}.

        Raises:
          ValueError: a split that is none of train, validation and test, or a bad share.
        """
        self.family = family
        self._reader = ExampleReader(family)
        self.patterns: dict[str | None, tuple[str, Share]] = {}
        named: Mapping[Any, str] = {None: files} if isinstance(files, str) else files
        for split, pattern in named.items():
            if split is not None and split not in SPLITS:
                raise ValueError(
                    f"local_task_files: split {split!r} must be one of {list(SPLITS)}; name it so"
                )
            check_text("local_task_files", pattern)
            self.patterns[split] = parse_share(pattern)

    @functools.cached_property
    def _sources(self) -> dict[str | None, FilesSource]:
        return {split: FilesSource(pattern) for split, (pattern, _) in self.patterns.items()}

    @functools.cached_property
    def _slices(self) -> dict[str, list[ExampleSlice]]:
        """The slices of every split that has any."""
        found: dict[str, list[ExampleSlice]] = {}
        for named, source in self._sources.items():
            for part in source.parts():
                split = named or split_of_name(part.path)
                if split is None:
                    raise ValueError(
                        f"local_task_files: the name of {part.path} tells no split (train, dev, "
                        "test); give {'train': PATTERN, 'test': PATTERN} instead of a pattern"
                    )
                share = self.patterns[named][1]
                # A share of a short file may have no line.
                is_whole = part.is_whole_file and share == Share()
                settings = {**vars(part), "is_whole_file": is_whole, "share": share}
                found.setdefault(split, []).append(ExampleSlice(**settings))
        return {split: found[split] for split in SPLITS if split in found}

    @functools.cached_property
    def _scan(self) -> _Scan:
        found = _Scan({}, [], Counter(), [])
        for split, slices in self._slices.items():
            for part in slices:
                examples = self._reader.read(part, found.problems.append)
                counts = Counter(example.language for example in examples)
                for language, number in counts.items():
                    found.parts.setdefault((split, language), []).append(part)
                    found.num_examples[split, language] += number
                if not counts:
                    found.empty.append((split, part))
        return found

    def state(self) -> tuple[Any, ...]:
        """Returns path, size and time of change of every file; of a URL without the last."""
        found = [
            file for pattern, _ in self.patterns.values() for file in list_files(pattern).files
        ]
        return tuple(
            (
                file.path,
                file.num_bytes,
                os.path.exists(file.path) and os.stat(file.path).st_mtime_ns,
            )
            for file in found
        )

    @property
    def problems(self) -> list[Problem]:
        """Everything that is broken, by file and line; files of unknown kinds, too."""
        return self._scan.problems

    def check(self) -> None:
        """Raises ValueError with the first problem, and how many more there are.

        Files of unknown kinds are none, unless there is no example in any file.
        """
        has_examples = bool(self._scan.parts)
        problems = [p for p in self.problems if p.kind != UNKNOWN_KIND or not has_examples]
        if problems:
            more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
            raise ValueError(
                f"{problems[0]}{more}; python -m presence_t5x.prepare leaves broken lines out and "
                "lists them"
            )

    def languages(self, split: str) -> list[str]:
        """Returns the languages of a split, sorted."""
        return sorted(language for found, language in self._scan.parts if found == split)

    def source(self, language: str, splits: Sequence[str]) -> ExamplesSource:
        """Returns the seqio source of a language, with those of the splits that it has."""
        scan = self._scan
        chosen = [split for split in splits if (split, language) in scan.parts]

        def read(part: Part, report: Report) -> Iterator[LabelledExample]:
            assert isinstance(part, ExampleSlice)
            return self._reader.read(part, report, language)

        return ExamplesSource(
            self.family,
            {s: [*scan.parts[s, language], *self._empty_slices(s, language)] for s in chosen},
            read,
            num_examples={split: scan.num_examples[split, language] for split in chosen},
            content=self._content,
        )

    def _empty_slices(self, split: str, language: str) -> list[ExampleSlice]:
        """Slices without examples that a task reads all the same: to report what is wrong there.

        They are those of its language, by name, and of languages that have no task.
        """
        slices = [part for found, part in self._scan.empty if found == split]
        named = [(self._reader.language_of(part), part) for part in slices]
        return [
            part
            for name, part in named
            if name == language or (split, name) not in self._scan.parts
        ]

    def _content(self) -> dict[str, Any]:
        """What a prepared store depends on."""
        return {
            str(split): [*self.patterns[split][1], source.parameters()["files"]]
            for split, source in self._sources.items()
        }


def find_examples(family_name: str, files: str | Mapping[str, str]) -> LocalExamples:
    """Returns the examples of files, which are read again only if one of them has changed.

    Raises:
      ValueError: as `LocalExamples`, or no file is found.
    """
    patterns = files if isinstance(files, str) else tuple(files.items())
    state = LocalExamples(FAMILIES[family_name], files).state()
    return _open_examples(family_name, patterns, state)


@functools.lru_cache(maxsize=16)
def _open_examples(family_name, patterns, state) -> LocalExamples:
    del state  # told apart by it
    files = patterns if isinstance(patterns, str) else dict(patterns)
    return LocalExamples(FAMILIES[family_name], files)
