"""What preparing a source will give and cost, estimated from a sample of its documents."""

import itertools
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from presence_t5x.data.documents import Document, Part, Problem, Source
from presence_t5x.data.part_writer import Tokenizer
from presence_t5x.data.token_records import TokenizedDocument, encode_record

_SAMPLED_PARTS = 8
_SAMPLED_DOCUMENTS = 4000
_COMPRESSED = (".gz", ".zst", ".parquet")


class Preview(NamedTuple):
    """Numbers of the whole input; all but the first two are estimates unless `is_exact`.

    Attributes:
      num_parts: units of parallel work and of a restart.
      input_bytes: on disk; 0 is unknown.
      num_sampled: documents the estimates rest on.
      num_documents: that will be written; None is unknown (a source that cannot tell its size).
      num_text_bytes: UTF-8.
      num_tokens: without EOS.
      store_bytes: on disk.
      core_seconds: of one process on this machine, reading and tokenising.
      problems: of the sample, by kind.
      is_exact: the sample was everything.
    """

    num_parts: int
    input_bytes: int
    num_sampled: int
    num_documents: float | None
    num_text_bytes: float | None
    num_tokens: float | None
    store_bytes: float | None
    core_seconds: float | None
    problems: dict[str, int]
    is_exact: bool


class _Sample:
    """Sums over the documents read so far."""

    def __init__(self):
        self.num_documents = self.num_text_bytes = self.num_tokens = 0
        self.store_bytes = self.input_bytes = 0
        self.problems = Counter()

    def report(self, problem: Problem) -> None:
        self.problems[problem.kind] += 1

    def add(self, documents: Sequence[Document], tokenizer: Tokenizer, part: Part) -> None:
        texts = [document.text for document in documents]
        for document, tokens in zip(documents, tokenizer.encode_batch(texts)):
            record = encode_record(TokenizedDocument(tokens, *document[1:]))
            # ArrayRecord compresses every record on its own, at Zstandard's default level.
            self.store_bytes += len(zstandard.compress(record))
            self.num_tokens += tokens.size
        self.num_documents += len(documents)
        self.num_text_bytes += sum(len(text.encode()) for text in texts)
        self.input_bytes += _input_bytes(documents, part)


def preview(source: Source, parts: Sequence[Part], tokenizer: Tokenizer) -> Preview:
    """Reads up to 4,000 documents from the starts of up to 8 parts and extrapolates.

    Args:
      source: the documents.
      parts: of the source.
      tokenizer: of the store.
    """
    step = max(1, len(parts) // _SAMPLED_PARTS)
    chosen = parts[::step][:_SAMPLED_PARTS]
    sample = _Sample()
    finished_bytes = unfinished = 0
    start = time.perf_counter()
    for part in chosen:
        budget = _SAMPLED_DOCUMENTS // len(chosen)
        located = itertools.islice(source.read(part, sample.report), budget + 1)
        documents = [found.document for found in located]
        before = sample.input_bytes
        sample.add(documents[:budget], tokenizer, part)
        if len(documents) <= budget:
            # The whole part was read: its size is known, not estimated.
            sample.input_bytes = before + part.num_bytes
            finished_bytes += part.num_bytes
        else:
            unfinished += 1
    seconds = time.perf_counter() - start
    is_exact = not unfinished and len(chosen) == len(parts)
    factor = 1.0 if is_exact else _factor(sample, parts)
    estimates = [
        None if factor is None else factor * amount
        for amount in (
            sample.num_documents,
            sample.num_text_bytes,
            sample.num_tokens,
            sample.store_bytes,
            seconds,
        )
    ]
    return Preview(
        len(parts),
        sum(part.num_bytes for part in parts),
        sample.num_documents,
        *estimates,
        problems=dict(sample.problems),
        is_exact=is_exact,
    )


def _factor(sample: _Sample, parts: Sequence[Part]) -> float | None:
    """How many times the sample the input is: by bytes on disk."""
    total = sum(part.num_bytes for part in parts)
    return total / sample.input_bytes if total and sample.input_bytes else None


def _input_bytes(documents: Sequence[Document], part: Part) -> int:
    """About what these documents take on disk."""
    content = "\n".join("\t".join(document) for document in documents).encode("utf-8", "replace")
    name = part.file or part.name
    return len(zlib.compress(content)) if name.endswith(_COMPRESSED) else len(content)


def describe(
    found: Preview, directory: Path, num_processes: int, dollars_per_core_hour: float
) -> list[tuple[str, str]]:
    """Returns the preview as (label, text) lines for people."""
    about = "" if found.is_exact else "about "
    lines = [("input", f"{found.num_parts:,} parts, {_size(found.input_bytes)} on disk")]
    if found.num_documents is None or not found.num_sampled:
        lines.append(("size", "unknown: this source cannot tell how large it is"))
    else:
        seconds = found.core_seconds / min(num_processes, found.num_parts)
        core_hours = found.core_seconds / 3600
        dollars = core_hours * dollars_per_core_hour
        free = shutil.disk_usage(_existing(directory)).free
        lines += [
            ("documents", f"{about}{found.num_documents:,.0f} ({found.num_sampled:,} sampled)"),
            ("text", f"{about}{_size(found.num_text_bytes)}"),
            (
                "tokens",
                f"{about}{found.num_tokens:,.0f} "
                f"({found.num_text_bytes / max(found.num_tokens, 1):.2f} bytes each)",
            ),
            (
                "store",
                f"{about}{_size(found.store_bytes)}; {_size(free)} free in {directory.parent}",
            ),
            ("time", f"about {_duration(seconds)} with {num_processes} processes"),
            (
                "cost",
                f"about {core_hours:,.2f} core hours, ${dollars:,.2f} at "
                f"${dollars_per_core_hour:g} a core hour",
            ),
        ]
    if found.problems:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.problems.items()))
        lines.append(("left out", f"of the sample: {kinds}"))
    return lines


def lacks_space(found: Preview, directory: Path) -> bool:
    """Returns whether the store will not fit on the disk."""
    free = shutil.disk_usage(_existing(directory)).free
    return found.store_bytes is not None and found.store_bytes > free


def _existing(path: Path) -> Path:
    """The nearest directory above that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:,.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"
