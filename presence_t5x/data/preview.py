"""What preparing a source will give and cost, estimated from a sample of its documents."""

import shutil
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import zstandard

from presence_t5x.data.documents import Document, Part, Problem, Source
from presence_t5x.data.part_writer import Tokenizer, num_text_bytes, tokenize_documents
from presence_t5x.data.token_records import encode_record

_SAMPLED_PARTS = 8
_SAMPLED_DOCUMENTS = 4000
_SAMPLED_CHARACTERS = 16_000_000
_COMPRESSED = (".gz", ".zst", ".parquet")


class Amounts(NamedTuple):
    """What preparing yields and takes.

    Attributes:
      num_documents: that will be written.
      num_text_bytes: UTF-8.
      num_tokens: without EOS.
      store_bytes: on disk.
      core_seconds: of one process on this machine, reading and tokenising.
    """

    num_documents: float
    num_text_bytes: float
    num_tokens: float
    store_bytes: float
    core_seconds: float


class Preview(NamedTuple):
    """What is known of an input before it is prepared.

    Attributes:
      num_parts: units of parallel work and of a restart.
      input_bytes: on disk; 0 is unknown.
      num_sampled: documents the estimate rests on.
      estimate: of the whole input; None where a source cannot tell its size.
      problems: of the sample, by kind.
      is_exact: the sample was everything.
    """

    num_parts: int
    input_bytes: int
    num_sampled: int
    estimate: Amounts | None
    problems: dict[str, int]
    is_exact: bool


def preview(source: Source, parts: Sequence[Part], tokenizer: Tokenizer) -> Preview:
    """Reads up to 4,000 documents from the starts of up to 8 parts and extrapolates by bytes.

    Args:
      source: the documents.
      parts: of the source.
      tokenizer: of the store.
    """
    chosen = parts[:: max(1, len(parts) // _SAMPLED_PARTS)][:_SAMPLED_PARTS]
    sample = Amounts(0, 0, 0, 0, 0)
    problems = Counter()
    sampled_bytes, num_unfinished = 0, len(parts) - len(chosen)
    for part in chosen:
        start = time.perf_counter()
        documents, is_whole = _first_documents(source, part, len(chosen), problems)
        amounts = _measure(documents, tokenizer)._replace(core_seconds=time.perf_counter() - start)
        sample = Amounts(*map(sum, zip(sample, amounts)))
        # Of a part that was read to its end the size is known.
        sampled_bytes += part.num_bytes if is_whole else _input_bytes(documents, part)
        num_unfinished += not is_whole
    input_bytes = sum(part.num_bytes for part in parts)
    factor = None
    if not num_unfinished:
        factor = 1.0
    elif input_bytes and sampled_bytes:
        factor = max(1.0, input_bytes / sampled_bytes)
    return Preview(
        len(parts),
        input_bytes,
        int(sample.num_documents),
        None if factor is None else Amounts(*(factor * amount for amount in sample)),
        dict(problems),
        is_exact=not num_unfinished,
    )


def _first_documents(
    source: Source, part: Part, num_parts: int, problems: Counter
) -> tuple[list[Document], bool]:
    """The first documents of a part within its share of the sample, and whether they are all."""

    def count(problem: Problem) -> None:
        problems[problem.kind] += 1

    documents: list[Document] = []
    num_characters = 0
    for located in source.read(part, count):
        if (
            len(documents) >= _SAMPLED_DOCUMENTS // num_parts
            or num_characters >= _SAMPLED_CHARACTERS // num_parts
        ):
            return documents, False
        documents.append(located.document)
        num_characters += len(located.document.text) + len(located.document.inputs)
    return documents, True


def _measure(documents: Sequence[Document], tokenizer: Tokenizer) -> Amounts:
    """What these documents come to."""
    num_tokens = store_bytes = 0
    for document in tokenize_documents(documents, tokenizer):
        # ArrayRecord compresses every record on its own, at Zstandard's default level.
        store_bytes += len(zstandard.compress(encode_record(document)))
        num_tokens += document.tokens.size
    text_bytes = sum(map(num_text_bytes, documents))
    return Amounts(len(documents), text_bytes, num_tokens, store_bytes, 0)


def _input_bytes(documents: Sequence[Document], part: Part) -> int:
    """About what these documents take on disk."""
    content = "\n".join("\t".join(document) for document in documents).encode("utf-8", "replace")
    name = part.file or part.name
    return len(zlib.compress(content)) if name.endswith(_COMPRESSED) else len(content)


def describe(
    found: Preview, directory: Path, num_processes: int, dollars_per_core_hour: float
) -> list[tuple[str, str]]:
    """Returns the preview as (label, text) lines for people."""
    lines = [("input", f"{found.num_parts:,} parts, {_size(found.input_bytes)} on disk")]
    if found.estimate is None:
        lines.append(("size", "unknown: this source cannot tell how large it is"))
    else:
        lines += _describe_amounts(found, found.estimate, directory)
        lines += _describe_cost(found, found.estimate, num_processes, dollars_per_core_hour)
    if found.problems:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(found.problems.items()))
        lines.append(("left out", f"of the sample: {kinds}"))
    return lines


def _describe_amounts(found: Preview, whole: Amounts, directory: Path) -> list[tuple[str, str]]:
    about = "" if found.is_exact else "about "
    bytes_per_token = whole.num_text_bytes / max(whole.num_tokens, 1)
    free = _size(shutil.disk_usage(_existing(directory)).free)
    return [
        ("documents", f"{about}{whole.num_documents:,.0f} ({found.num_sampled:,} sampled)"),
        ("text", f"{about}{_size(whole.num_text_bytes)}"),
        ("tokens", f"{about}{whole.num_tokens:,.0f} ({bytes_per_token:.2f} bytes each)"),
        ("store", f"about {_size(whole.store_bytes)}; {free} free on its disk"),
    ]


def _describe_cost(
    found: Preview, whole: Amounts, num_processes: int, dollars_per_core_hour: float
) -> list[tuple[str, str]]:
    core_hours = whole.core_seconds / 3600
    dollars = core_hours * dollars_per_core_hour
    seconds = whole.core_seconds / max(min(num_processes, found.num_parts), 1)
    return [
        ("time", f"about {_duration(seconds)}, --num_processes={num_processes}"),
        (
            "cost",
            f"about {core_hours:,.2f} core hours, ${dollars:,.2f} at ${dollars_per_core_hour:g} "
            "a core hour",
        ),
    ]


def lacks_space(found: Preview, directory: Path) -> bool:
    """Returns whether the store will not fit on the disk."""
    free = shutil.disk_usage(_existing(directory)).free
    return found.estimate is not None and found.estimate.store_bytes > free


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
