"""Joins the finished parts of a store: label codes, index arrays, counts, hashes, problems.

Only the arrays of one part are in memory at a time, and while looking for ids that occur twice the
hashes of 67 million documents (in as many passes as that takes).
"""

import collections
import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from presence_t5x.data.documents import TRAIN, VALIDATION, Part, Problem, id_hash
from presence_t5x.data.part_writer import ID_HASHES, LINES, part_file
from presence_t5x.data.token_store import (
    FORMAT_VERSION,
    INPUT_COUNTS,
    LABEL_NAMES,
    PROBLEMS_NAME,
    TOKEN_COUNTS,
    file_sha256,
)

_DUPLICATE = "duplicate_id"
_LISTED_DUPLICATES = 10_000
# Looking for equal ids takes about 40 bytes for each of these at a time.
_HASHES_PER_PASS = 1 << 26


def merge_parts(
    directory: Path, parts: Sequence[Part], task_rates: dict[str, float]
) -> dict[str, Any]:
    """Writes the index arrays and `problems.jsonl`, removes the parts' own; returns the manifest.

    The manifest holds everything that follows from the content: counts, hashes, names of files.

    Raises:
      ValueError: a task has no document.
    """
    summaries = [
        json.loads(part_file(directory, number, "json").read_text("utf-8"))
        for number in range(len(parts))
    ]
    tasks = _task_ranges(summaries, task_rates)
    labels = _label_tables(summaries)
    num_documents = sum(summary["num_documents"] for summary in summaries)
    num_pairs = sum(summary["num_pairs"] for summary in summaries)
    types = _index_types(labels, has_pairs=num_pairs > 0)
    counts = _write_index(directory, summaries, labels, types, num_documents)
    duplicates = _duplicates(directory, summaries, num_documents)
    problem_counts = _write_problems(directory, summaries, duplicates)
    content = hashlib.sha256("".join(s["content_sha256"] for s in summaries).encode())
    manifest = {
        "format_version": FORMAT_VERSION,
        "num_documents": num_documents,
        "num_pairs": num_pairs,
        "num_tokens": sum(count["num_tokens"] for count in counts["split"].values()),
        "content_sha256": content.hexdigest(),
        "labels": labels,
        **{f"{name}s": counts[name] for name in LABEL_NAMES},
        "tasks": tasks,
        "problems": problem_counts,
        "parts": [
            {
                "name": part_file(directory, number, "array_record").name,
                "input": summary["part"],
                **{key: summary[key] for key in ("num_documents", "num_bytes", "sha256")},
            }
            for number, summary in enumerate(summaries)
            if summary["num_documents"]
        ],
        "index": {
            name: {
                "num_bytes": (path := directory / f"{name}.npy").stat().st_size,
                "sha256": file_sha256(path),
            }
            for name in types
        },
    }
    for number in range(len(parts)):
        part_file(directory, number, "npz").unlink()
        part_file(directory, number, "json").unlink()
    return manifest


def _task_ranges(summaries, task_rates) -> list[dict[str, Any]]:
    """The contiguous documents of each task."""
    sizes = collections.Counter()
    for summary in summaries:
        sizes[summary["task"]] += summary["num_documents"]
    ranges, first_document = [], 0
    for name, rate in task_rates.items():
        if not sizes[name]:
            raise ValueError(
                f"task {name!r} has no document with a token; nothing to write"
                f"{_first_problem(summaries, name)}"
            )
        ranges.append(
            {
                "name": name,
                "rate": float(rate),
                "first_document": first_document,
                "num_documents": sizes[name],
            }
        )
        first_document += sizes[name]
    return ranges


def _first_problem(summaries, task: str) -> str:
    """The first of what was left out of a task, with the number of the others."""
    listed = [p for summary in summaries if summary["task"] == task for p in summary["problems"]]
    if not listed:
        return "; give files with text"
    more = f" (and {len(listed) - 1} more problems)" if len(listed) > 1 else ""
    return f": {Problem(**listed[0])}{more}"


def _label_tables(summaries) -> dict[str, list[str]]:
    """The labels of all parts, in order of first appearance."""
    tables = {name: {} for name in LABEL_NAMES}
    for summary in summaries:
        for name in LABEL_NAMES:
            tables[name].update(dict.fromkeys(summary["labels"][name]))
    # Every store has both splits: see `_lone_held_out`.
    tables["split"].update(dict.fromkeys((TRAIN, VALIDATION)))
    return {name: list(table) for name, table in tables.items()}


def _arrays(directory: Path, number: int) -> dict[str, np.ndarray]:
    with np.load(part_file(directory, number, "npz"), allow_pickle=False) as archive:
        return dict(archive)


def _write_index(directory, summaries, labels, types, num_documents) -> dict[str, dict[str, Any]]:
    """Writes the arrays of the whole store; returns documents and tokens of every label."""
    counts = {
        name: {label: {"num_documents": 0, "num_tokens": 0} for label in labels[name]}
        for name in LABEL_NAMES
    }
    held_out = _lone_held_out(directory, summaries)
    with contextlib.ExitStack() as stack:
        columns = {
            name: stack.enter_context(_new_array(directory / f"{name}.npy", dtype, num_documents))
            for name, dtype in types.items()
        }
        start = 0
        for number, summary in enumerate(summaries):
            arrays = _arrays(directory, number)
            stop = start + summary["num_documents"]
            for name in {TOKEN_COUNTS, INPUT_COUNTS} & columns.keys():
                columns[name][start:stop] = arrays[name]
            for name in LABEL_NAMES:
                own = list(summary["labels"][name])
                codes = np.array([labels[name].index(label) for label in own], np.int64)
                codes = codes[arrays[name]] if own else arrays[name]
                if name == "split" and held_out is not None and start <= held_out < stop:
                    codes[held_out - start] = labels[name].index(VALIDATION)
                columns[name][start:stop] = codes
                _add_counts(counts[name], labels[name], codes, arrays[TOKEN_COUNTS])
            start = stop
    return counts


def _index_types(labels, *, has_pairs: bool) -> dict[str, Any]:
    """The arrays of the store with their types; of a label the smallest that holds every code."""
    types = {name: np.min_scalar_type(max(len(table) - 1, 0)) for name, table in labels.items()}
    counts = (TOKEN_COUNTS, INPUT_COUNTS) if has_pairs else (TOKEN_COUNTS,)
    return dict.fromkeys(counts, np.dtype(np.int32)) | types


@contextlib.contextmanager
def _new_array(path: Path, dtype, size: int) -> Iterator[np.ndarray]:
    array = np.lib.format.open_memmap(path, "w+", dtype, (size,))
    yield array
    array.flush()


def _add_counts(counts, table, codes, token_counts) -> None:
    documents = np.bincount(codes, minlength=len(table))
    tokens = np.bincount(codes, token_counts, minlength=len(table))
    for label, num_documents, num_tokens in zip(table, documents.tolist(), tokens.tolist()):
        counts[label]["num_documents"] += num_documents
        counts[label]["num_tokens"] += int(num_tokens)


def _lone_held_out(directory, summaries) -> int | None:
    """The document with the smallest hash, where splits are by hash and none was held out.

    Small inputs can have no id whose hash says "validation"; a run needs one all the same.
    """
    splits = {split for summary in summaries for split in summary["labels"]["split"]}
    if splits != {TRAIN} or not all(summary["split"] is None for summary in summaries):
        return None
    hashes = [
        (int(hashes.min()), start + int(hashes.argmin()))
        for start, _, hashes in _id_hashes(directory, summaries)
    ]
    return min(hashes)[1]


def _id_hashes(directory, summaries) -> Iterator[tuple[int, dict[str, Any], np.ndarray]]:
    """Yields (first document, summary, id hashes) of every part that has documents."""
    start = 0
    for number, summary in enumerate(summaries):
        if summary["num_documents"]:
            yield start, summary, _arrays(directory, number)[ID_HASHES]
        start += summary["num_documents"]


def _duplicates(directory, summaries, num_documents) -> list[Problem]:
    """One problem for every document whose id an earlier one of the same split bears."""
    num_passes = max(1, -(-num_documents // _HASHES_PER_PASS))
    repeated = [_repeated(directory, summaries, num_passes, turn) for turn in range(num_passes)]
    return list(_describe(directory, summaries, np.sort(np.concatenate(repeated))))


def _repeated(directory, summaries, num_passes: int, turn: int) -> np.ndarray:
    """The later documents of equal ids among those whose hash falls to this turn."""
    hashes, documents = [], []
    for start, summary, own in _id_hashes(directory, summaries):
        chosen = np.flatnonzero(own % np.uint64(num_passes) == turn)
        # An encyclopedia's noisy held-out documents bear the ids of the clean ones.
        hashes.append(own[chosen] ^ np.uint64(id_hash(summary["split"] or "")))
        documents.append(start + chosen)
    hashes, documents = np.concatenate(hashes), np.concatenate(documents)
    order = np.argsort(hashes, kind="stable")
    return documents[order[1:][hashes[order[1:]] == hashes[order[:-1]]]]


def _describe(directory, summaries, documents: np.ndarray) -> Iterator[Problem]:
    start = 0
    for number, summary in enumerate(summaries):
        stop = start + summary["num_documents"]
        own = documents[(documents >= start) & (documents < stop)] - start
        if own.size:
            for line in _arrays(directory, number)[LINES][own].tolist():
                message = "its id is that of an earlier document; both are kept"
                yield Problem(summary["file"], line, _DUPLICATE, message)
        start = stop


def _write_problems(directory, summaries, duplicates: list[Problem]) -> dict[str, int]:
    """Writes one line a problem, part by part; returns the number of each kind.

    Several tasks may have read one file: what they all found is one problem.
    """
    counts = collections.Counter()
    written = set()
    with open(directory / PROBLEMS_NAME, "w", encoding="utf-8") as file:
        for summary in summaries:
            counts.update(summary["problem_counts"])
            for problem in summary["problems"]:
                line = json.dumps(problem, ensure_ascii=False)
                if line in written:
                    counts[problem["kind"]] -= 1
                else:
                    file.write(line + "\n")
                    written.add(line)
        for problem in duplicates[:_LISTED_DUPLICATES]:
            file.write(json.dumps(problem._asdict(), ensure_ascii=False) + "\n")
    if duplicates:
        counts[_DUPLICATE] = len(duplicates)
    return dict(sorted(counts.items()))
