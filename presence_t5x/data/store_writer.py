"""Writes a token store from a source, part by part, in one process or several.

Finished parts stay in a work directory beside the store until all are there, so that a run that was
killed continues where it stopped; then they are joined and the directory is renamed. Nothing
depends on which process writes which part, or when.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

from presence_t5x.data.documents import Listing, Part, Source
from presence_t5x.data.part_writer import PartJob, Progress, Tokenizer, is_written, write_part
from presence_t5x.data.store_merge import merge_parts
from presence_t5x.data.token_store import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    VOCABULARY_NAME,
    TokenStore,
    open_store,
    read_manifest,
)
from presence_t5x.files import write_text_atomically

_PLAN_NAME = "plan.json"
_POLL_SECONDS = 0.2
ReportTotal = Callable[[Progress], None]
# How parts are written: (job, the numbered parts that are missing, report).
WriteParts = Callable[[PartJob, Sequence[tuple[int, Part]], ReportTotal], None]


def prepare_store(
    source: Source,
    directory: str | os.PathLike,
    tokenizer: Tokenizer,
    *,
    vocabulary: Mapping[str, Any],
    vocabulary_model: bytes | None = None,
    strict: bool = False,
    write_parts: WriteParts | None = None,
    progress: ReportTotal = lambda progress: None,
    command: Sequence[str] = (),
) -> TokenStore:
    """Tokenises a source into a new store and opens it.

    A store that is there already is opened if it was made of the same things. Several programs may
    call this at once: one writes while the others wait. If writing is interrupted, the parts that
    were finished are used the next time; a source that turns out to be wrong leaves nothing behind.

    Args:
      source: the documents.
      directory: of the store, on a file system this machine can rename in.
      tokenizer: gives ids without EOS.
      vocabulary: recorded in the manifest: "sha256" and whatever else describes it.
      vocabulary_model: the content of its file, copied into the store.
      strict: the first document that cannot be read is an error; otherwise it is left out, counted
        and listed in `problems.jsonl`.
      write_parts: writes all the parts it is given; None is one by one in this process.
      progress: called with the totals so far, this run's part of them only.
      command: recorded in the manifest.

    Raises:
      ValueError: a task has no document, `directory` is no store or was made of other things.
    """

    def write(work: Path, missing: Sequence[tuple[int, Part]]) -> None:
        job = PartJob(source, work, tokenizer, strict)
        (write_parts or write_in_this_process)(job, missing, progress)

    return assemble_store(
        source,
        directory,
        write,
        vocabulary=vocabulary,
        vocabulary_model=vocabulary_model,
        command=command,
    )


def assemble_store(
    listing: Listing,
    directory: str | os.PathLike,
    write: Callable[[Path, Sequence[tuple[int, Part]]], None],
    *,
    vocabulary: Mapping[str, Any],
    vocabulary_model: bytes | None = None,
    command: Sequence[str] = (),
) -> TokenStore:
    """Does what `prepare_store` does, with parts that `write` makes of whatever they are.

    Args:
      write: (work directory, the numbered parts that are missing) writes them, as
        `part_writer.write_documents` leaves them.
    """
    directory = Path(directory)
    expected = {"parameters": dict(listing.parameters()), "vocabulary": dict(vocabulary)}
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = directory.with_name(f".{directory.name}.partial")
    with _lock(directory.with_name(f".{directory.name}.lock")):
        if (directory / MANIFEST_NAME).is_file():
            _check_same(directory, expected)
            return open_store(directory)
        if directory.exists():
            raise ValueError(
                f"{directory} exists but is no token store (no {MANIFEST_NAME}); remove it or "
                "choose another directory"
            )
        try:
            parts = listing.parts()
            _start_or_continue(work, expected, parts)
            missing = [(i, part) for i, part in enumerate(parts) if not is_written(work, i)]
            write(work.absolute(), missing)
            manifest = merge_parts(work, parts, listing.task_rates())
        except ValueError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        if vocabulary_model is not None:
            (work / VOCABULARY_NAME).write_bytes(vocabulary_model)
        (work / _PLAN_NAME).unlink()
        for leftover in work.glob(".*"):  # of processes that were killed while they wrote
            leftover.unlink()
        # Its versions break ties between equally likely pieces differently.
        versions = {"sentencepiece": importlib.metadata.version("sentencepiece")}
        manifest |= {**expected, "versions": versions, "command": list(command)}
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_text_atomically(text + "\n", work / MANIFEST_NAME)
        os.rename(work, directory)
    return open_store(directory)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the system releases it when the process dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_same(directory: Path, expected: Mapping[str, Any]) -> None:
    """Refuses a store that was made of other things, and names them."""
    manifest = read_manifest(directory)
    differences = [
        f"{name} (store {_short(found.get(name))}, wanted {_short(wanted.get(name))})"
        for wanted, found in (
            (expected["parameters"], manifest["parameters"]),
            (expected["vocabulary"], manifest["vocabulary"]),
        )
        for name in sorted({*wanted, *found})
        if wanted.get(name) != found.get(name)
    ]
    if differences:
        raise ValueError(
            f"{directory} was prepared with other settings: {', '.join(differences)}; delete it or "
            "choose another directory"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _start_or_continue(work: Path, expected: Mapping[str, Any], parts: Sequence[Part]) -> None:
    """Keeps the finished parts of an earlier run of the same plan; removes those of another."""
    plan = json.dumps([FORMAT_VERSION, expected, [part.name for part in parts]], ensure_ascii=False)
    path = work / _PLAN_NAME
    if not path.is_file() or path.read_text("utf-8") != plan:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        write_text_atomically(plan, path)


def write_in_this_process(
    job: PartJob, parts: Sequence[tuple[int, Part]], progress: ReportTotal
) -> None:
    """Writes the parts one after the other."""
    total = Progress(0, 0, 0)

    def add(done: Progress) -> None:
        nonlocal total
        total = Progress(*map(sum, zip(total, done)))
        progress(total)

    for number, part in parts:
        write_part(job, number, part, add)


class ProcessPool:
    """Writes parts in several processes, the largest first."""

    def __init__(self, num_processes: int):
        """Args: how many processes, at least 1."""
        self._num_processes = num_processes

    def __call__(
        self, job: PartJob, parts: Sequence[tuple[int, Part]], progress: ReportTotal
    ) -> None:
        """Writes the parts; see `WriteParts`.

        Raises:
          ValueError: as `write_part`.
          RuntimeError: a process died.
        """
        context = multiprocessing.get_context("spawn")
        totals = context.Array("q", len(Progress._fields))
        pool = futures.ProcessPoolExecutor(
            self._num_processes,
            mp_context=context,
            initializer=_start_worker,
            initargs=(job, totals),
        )
        waiting = sorted(parts, key=lambda numbered: -numbered[1].num_bytes)
        try:
            pending = {pool.submit(_write_in_worker, number, part) for number, part in waiting}
            while pending:
                done, pending = futures.wait(
                    pending, _POLL_SECONDS, return_when=futures.FIRST_EXCEPTION
                )
                progress(Progress(*totals))
                for future in done:
                    future.result()
        except futures.process.BrokenProcessPool as error:
            raise RuntimeError(
                "a process that writes parts died (out of memory?); run the same command again to "
                "continue, with fewer processes if memory is short"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# What a worker process was started with: (job, totals).
_worker: tuple[Any, ...] = ()


def _start_worker(*arguments: Any) -> None:
    global _worker
    _worker = arguments
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed program must not leave processes that go on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_in_worker(number: int, part: Part) -> None:
    job, totals = _worker

    def add(done: Progress) -> None:
        with totals.get_lock():
            for i, amount in enumerate(done):
                totals[i] += amount

    write_part(job, number, part, add)
