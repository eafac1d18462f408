"""Any corpus to a token store: `python -m presence_t5x.prepare --input=... --output=DIR`.

Tells what it will give and cost, then writes; running the same command again continues after an
interruption. With `--dry_run` it only tells.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from presence_t5x._validate import check_int
from presence_t5x.command_line import (
    OneLineParser,
    exit_status,
    import_modules,
    parse_task_files,
)
from presence_t5x.data.documents import TRAIN, Document, Problem, Source, id_hash, split_of
from presence_t5x.prepare_display import ProgressDisplay, print_problems

_DOLLARS_PER_CORE_HOUR = 0.05


def parse_settings(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the command line's settings; ends the program if they do not fit each other."""
    parser = OneLineParser(
        prog="python -m presence_t5x.prepare",
        description="Tokenise a corpus once, into a store that training reads by index.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--input", required=True, metavar="GLOB_OR_TASK",
        help="files (.txt .jsonl .json .parquet, .gz or .zst; a folder, a glob, an fsspec URL, the "
        "published mC4/C4 shards), a seqio task or mixture, or tfds:NAME")  # fmt: skip
    add("--output", metavar="DIR", help="the store; needed unless only a vocabulary is trained")
    add("--vocabulary", metavar="FILE",
        help="a SentencePiece model, a Hugging Face folder with one, or 'bytes'; a task has its "
        "own")  # fmt: skip
    add("--train_vocabulary", type=int, metavar="SIZE",
        help="first train one of SIZE ids on the input, and write it to --vocabulary")  # fmt: skip
    add("--vocabulary_training_bytes", type=int, default=64 << 20, metavar="BYTES",
        help="of text that --train_vocabulary uses, sampled to balance the languages")  # fmt: skip
    add("--num_processes", type=int, default=os.cpu_count() or 1)
    add("--dry_run", action="store_true", help="tell what it will give and cost, write nothing")
    add("--splits", default="train,validation,noisy_validation", help="of a task")
    add("--module_import", action="append", default=[], metavar="MODULE",
        help="imported first, e.g. to register tasks; may be repeated")  # fmt: skip
    add("--text_field", default="text", help="of JSON lines, parquet and tfds: input")
    add("--language", default="", help="of files that do not say")
    add("--max_document_bytes", type=int, default=10_000_000, help="longer ones are left out")
    add("--mc4_version", default="3.1.0", help="of TFDS c4/multilingual, for the tasks mc4")
    add("--tydi_qa_version", default="3.0.0", help="of TFDS tydi_qa/goldp, for mt5_tydiqa")
    add("--task_files", action="append", default=[], metavar="[SPLIT=]GLOB",
        help="JSON lines of labelled examples, for inputs like local_nli_multilingual; of files "
        "whose names tell the split, or once for train=, validation= and test= each")  # fmt: skip
    add("--strict", action="store_true", help="stop at the first problem of the input")
    add(
        "--beam",
        action="store_true",
        help="write with Apache Beam (the extra beam)",
    )
    add("--beam_options", default="", help="e.g. '--runner=FlinkRunner --flink_master=...'")
    add("--dollars_per_core_hour", type=float, default=_DOLLARS_PER_CORE_HOUR)
    settings = parser.parse_args(arguments)
    if settings.train_vocabulary is not None and settings.vocabulary in (None, "bytes"):
        parser.error("--train_vocabulary needs --vocabulary=FILE, where the model is written")
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; a wrong setting ends it with one line and status 2."""
    command = ["presence_t5x.prepare", *(sys.argv[1:] if arguments is None else arguments)]
    # RuntimeError: a process that writes parts died.
    return exit_status(lambda: prepare(parse_settings(arguments), command), RuntimeError)


def prepare(settings: argparse.Namespace, command: Sequence[str]) -> None:
    """Previews and writes a store.

    Raises:
      ValueError: settings that do not fit each other, or an input that cannot be read.
    """
    check_int("num_processes", settings.num_processes, minimum=1)
    import_modules(settings.module_import)
    # It imports TensorFlow and seqio, which takes seconds: not before the arguments are checked.
    from presence_t5x.data.prepared import write_store

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    source = _source(settings)
    vocabulary = _vocabulary(settings, source, console)
    if settings.output is None:
        return
    estimate = _tell(settings, source, vocabulary, console)
    if settings.dry_run:
        return
    with ProgressDisplay(console, estimate and estimate.num_text_bytes) as display:
        store = write_store(
            source,
            settings.output,
            vocabulary,
            strict=settings.strict,
            write_parts=_writer(settings),
            progress=display.show,
            command=command,
        )
    _say_result(console, store)


def _tell(settings: argparse.Namespace, source: Source, vocabulary: Any, console: Console) -> Any:
    """Prints the preview; returns its estimate, None where there is none.

    Raises:
      ValueError: the store will not fit on its disk.
    """
    from presence_t5x.data.prepared import describe_vocabulary
    from presence_t5x.data.preview import describe, lacks_space, preview
    from presence_t5x.data.tokenizers import Tokenizer
    from presence_t5x.data.vocabularies import (
        MT5_VOCABULARY_SIZE,
        check_mt5_vocabulary,
        specification_of,
    )

    directory = Path(settings.output)
    found = preview(source, source.parts(), Tokenizer.from_vocabulary(vocabulary))
    described = describe_vocabulary(vocabulary)
    lines = describe(found, directory, settings.num_processes, settings.dollars_per_core_hour)
    lines.insert(1, ("vocabulary", f"{described['kind']}, {described['num_ids']:,} ids"))
    if described["num_ids"] == MT5_VOCABULARY_SIZE:
        lines.insert(2, ("", check_mt5_vocabulary(specification_of(vocabulary))))
    for label, text in lines:
        console.print(f"{label:>10}  {text}", markup=False)
    if lacks_space(found, directory):
        raise ValueError(
            f"the store will not fit on the disk of {directory}; choose another --output"
        )
    return found.estimate


def _source(settings: argparse.Namespace) -> Source:
    """The task of this name, or the files of this pattern."""
    from presence_t5x.data.inputs import find_source

    return find_source(
        settings.input,
        splits=settings.splits.split(","),
        modules=settings.module_import,
        task_files=parse_task_files(settings.task_files),
        text_field=settings.text_field,
        language=settings.language,
        max_document_bytes=settings.max_document_bytes,
        mc4_version=settings.mc4_version,
        tydi_qa_version=settings.tydi_qa_version,
    )


def _vocabulary(settings: argparse.Namespace, source: Source, console: Console) -> Any:
    """The vocabulary that is named, trained first if asked for, or the task's own."""
    from presence_t5x.data.task_source import TaskSource
    from presence_t5x.data.vocabularies import load_vocabulary, specification_of

    if settings.train_vocabulary is not None:
        _train_vocabulary(settings, source, console)
    if settings.vocabulary is not None:
        return load_vocabulary(settings.vocabulary)
    own = source.vocabulary() if isinstance(source, TaskSource) else None
    if own is None or settings.task_files:
        raise ValueError("--vocabulary=FILE is needed: a SentencePiece model, or 'bytes'")
    return load_vocabulary(specification_of(own))


def _train_vocabulary(settings: argparse.Namespace, source: Source, console: Console) -> None:
    """Trains the vocabulary unless an earlier run of the same command has."""
    from presence_t5x.data.vocabulary_training import train_vocabulary

    if os.path.exists(settings.vocabulary):
        console.print(f"{settings.vocabulary} exists: not trained again", markup=False)
        return
    if settings.dry_run:
        raise ValueError(
            f"--dry_run needs a vocabulary and {settings.vocabulary} is not trained yet; leave "
            "--train_vocabulary out and take --vocabulary=bytes for an upper bound"
        )
    documents = _train_documents(source, problems := Counter())
    summary = train_vocabulary(
        documents,
        settings.vocabulary,
        vocabulary_size=settings.train_vocabulary,
        max_training_bytes=settings.vocabulary_training_bytes,
    )
    console.print(str(summary), markup=False)
    if problems:
        console.print(f"left out of the vocabulary's text: {dict(problems)}", markup=False)


def _train_documents(source: Source, problems: Counter) -> Iterator[Document]:
    """Yields what is not held out, and counts what cannot be read."""

    def count(problem: Problem) -> None:
        problems[problem.kind] += 1

    for part in source.parts():
        for located in source.read(part, count):
            split = part.split or split_of(id_hash(located.document.id))
            if split == TRAIN:
                yield located.document


def _writer(settings: argparse.Namespace) -> Any:
    """Beam, a pool of processes, or this one alone (None)."""
    if settings.beam:
        from presence_t5x.data.beam_writer import BeamWriter

        return BeamWriter(settings.beam_options.split())
    if settings.num_processes == 1:
        return None
    from presence_t5x.data.store_writer import ProcessPool

    return ProcessPool(settings.num_processes)


def _say_result(console: Console, store: Any) -> None:
    manifest = store.manifest
    console.print(
        f"wrote {manifest['num_documents']:,} documents, {manifest['num_tokens']:,} tokens to "
        f"{store.directory} (content {manifest['content_sha256'][:12]}...)",
        markup=False,
    )
    print_problems(console, store)


if __name__ == "__main__":
    sys.exit(main())
