"""Every document's self-influence: `python -m presence_t5x.score --checkpoint=... --input=...`.

Writes one row a document to a parquet file, in one pass over the documents for each checkpoint; the
same command goes on where it was stopped. With several checkpoints a score is TracInCP's: the sum
of learning rate times squared gradient norm.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging
from rich.console import Console

from presence_t5x import partitioning
from presence_t5x._validate import check_int
from presence_t5x.command_line import (
    OneLineParser,
    exit_status,
    import_modules,
    parse_task_files,
)
from presence_t5x.config import parse_arguments
from presence_t5x.evaluation import checkpoints
from presence_t5x.files import check_writable
from presence_t5x.host_memory import keep_freed_memory
from presence_t5x.prepare_display import ProgressDisplay, print_problems
from presence_t5x.provenance import source_commit
from presence_t5x.scoring import display
from presence_t5x.scoring.corpus import Corpus, open_input
from presence_t5x.scoring.parts import (
    FORMAT_VERSION,
    Part,
    PartFiles,
    check_same_result,
    manifest_path,
    parts_of,
)
from presence_t5x.scoring.scorer import Scorer
from presence_t5x.scoring.settings import (
    Request,
    Settings,
    describe,
    parse_learning_rates,
    resolve,
)

_EPILOG = """\
PATH is a MODEL_DIR of presence_t5x.train (its newest checkpoint) or a checkpoint of it, of T5X or
of Hugging Face. How rows are made comes from the checkpoint's run; --gin_file and
--gin.NAME=VALUE say it where it has none.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores and reports; errors are one line and exit status 2."""
    keep_freed_memory()
    logging.set_verbosity(logging.ERROR)  # Orbax warns about files that T5X does not write
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        output = score(parser().parse_args(rest), files, bindings)
        if output.is_file():  # a shard alone has no result
            display.print_languages(Console(width=None if sys.stdout.isatty() else 100), output)

    return exit_status(command)


def parser() -> argparse.ArgumentParser:
    """Returns what reads the command line, for other commands that score."""
    found = OneLineParser(
        prog="python -m presence_t5x.score",
        description="Score every document of a corpus by its self-influence.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = found.add_argument
    add("--checkpoint", required=True, metavar="PATH[,PATH...]", help="one, or several to sum over")
    add("--input", required=True, metavar="GLOB_OR_TASK",
        help="a store of presence_t5x.prepare, a task or mixture, tfds:NAME, or files (.txt .jsonl "
        ".json .parquet, .gz or .zst; a folder, a glob, a URL)")  # fmt: skip
    add("--output", required=True, metavar="FILE.parquet")
    add("--layers", metavar="PATTERN,...", help="scored parameters (default: the run's)")
    add("--by_layer", action="store_true", help="a column for every pattern of --layers, too")
    add("--score_loss", choices=("mean", "sum"), help="of a row's tokens (default: the run's)")
    add("--learning_rates", metavar="X,...",
        help="one for each checkpoint (default: of its run's last update before it)")  # fmt: skip
    add("--batch_size", type=int, default=64, help="rows at a time (default: 64)")
    add("--seed", type=int, default=0, help="of the masks (default: 0)")
    add("--vocabulary", metavar="FILE",
        help="a SentencePiece model, a folder with one, 'bytes' (default: the run's)")  # fmt: skip
    add("--splits", default="train", help="of a task (default: train)")
    add("--text_field", default="text", help="of JSON lines, parquet and tfds: input")
    add("--language", default="", help="of files that do not say")
    add("--task_files", action="append", default=[], metavar="[SPLIT=]GLOB",
        help="JSON lines, of tasks like local_nli_zeroshot; see presence_t5x.prepare")  # fmt: skip
    add("--shard", metavar="I/N",
        help="score the I-th of N shards alone, I from 0, as one of N hosts that share a disk; "
        "afterwards the same command without it makes the result")  # fmt: skip
    add("--module_import", action="append", default=[], metavar="MODULE",
        help="imported first, e.g. to register tasks; may be repeated")  # fmt: skip
    return found


def score(
    options: argparse.Namespace, gin_files: Sequence[str] = (), bindings: Sequence[str] = ()
) -> Path:
    """Scores what a command line asks for; returns the parquet file, which a shard does not make.

    Raises:
      ValueError: anything that could be known to be wrong before the first document, or an output
        of other scores.
    """
    check_int("--batch_size", options.batch_size, minimum=1)
    import_modules(options.module_import)
    shard = _parse_shard(options.shard)
    output = Path(options.output)
    check_writable("--output", output.with_name(f".{output.name}.test"))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    request = _request(options)
    settings = resolve(request, gin_files, bindings)
    for note in settings.notes:
        console.print(f"note: {note}", markup=False)
    mesh = partitioning.make_mesh(settings.partitioning, settings.model, jax.local_devices())
    mesh = mesh if mesh.size > 1 else None
    scorer = Scorer(
        settings.model,
        settings.presence,
        settings.z_loss,
        batch_size=options.batch_size,
        by_layer=options.by_layer,
        mesh=mesh,
    )
    corpus = _corpus(options, settings, output, console)

    params = checkpoints.OneAtATime(settings.checkpoints, mesh)
    digests = [checkpoints.digest(params.load(i)) for i in range(len(settings.checkpoints))]
    manifest = {
        "format_version": FORMAT_VERSION,
        **describe(settings, request, digests),
        "columns": list(scorer.columns),
        "input": options.input,
        "content_sha256": corpus.store.manifest["content_sha256"],
        "num_documents": len(corpus.store),
        "commit": source_commit(),
    }
    if check_same_result(output, manifest):
        console.print(f"{output} is there already", markup=False)
    else:
        files = PartFiles(output, manifest)
        parts = parts_of(len(corpus.store), len(settings.checkpoints))
        _score_parts(corpus, scorer, params, files, parts[shard], console)
        if options.shard is None:
            _join(corpus, scorer, settings, files, manifest, console)
        else:
            num_open = sum(not files.is_done(part) for part in parts)
            console.print(
                f"shard {options.shard} is scored; {num_open} of {len(parts)} parts are not, of "
                "other shards; the same command without --shard makes the result",
                markup=False,
            )
    return output


def _parse_shard(shard: str | None) -> slice:
    """Returns which parts are scored.

    Raises:
      ValueError: not I/N with I < N.
    """
    if shard is None:
        return slice(None)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError(f"--shard={shard!r} must be I/N, with I from 0 to N - 1, such as 0/4")
    return slice(int(found[1]), None, int(found[2]))


def _score_parts(
    corpus: Corpus,
    scorer: Scorer,
    params: checkpoints.OneAtATime,
    files: PartFiles,
    parts: Sequence[Part],
    console: Console,
) -> None:
    """Scores what is not scored yet."""
    missing = [part for part in parts if not files.is_done(part)]
    total, left = (sum(len(part.documents) for part in some) for some in (parts, missing))
    done = total - left
    with display.progress_bar(console) as bar:
        task = bar.add_task("", total=total, completed=done, done_before=done)
        for part in missing:
            found = scorer.documents(
                params.load(part.checkpoint),
                corpus.batches(part.documents, scorer.batch_size),
                part.documents,
                report=lambda number, done=done: bar.update(task, completed=done + number),
            )
            files.write(part, found)
            done += len(part.documents)


def _join(
    corpus: Corpus,
    scorer: Scorer,
    settings: Settings,
    files: PartFiles,
    manifest: dict[str, Any],
    console: Console,
) -> None:
    """Makes the result of all parts."""
    store, output = corpus.store, files.output
    num_unscored = files.join(store, settings.learning_rates, scorer.columns)
    found = {"problems": store.manifest["problems"], "store": str(store.directory.absolute())}
    files.finish({**manifest, "num_unscored": num_unscored, **found})
    console.print(
        f"scored {len(store):,} documents ({num_unscored:,} of them are too short or have no "
        f"finite loss): {output}, {manifest_path(output).name}",
        markup=False,
    )


def _corpus(
    options: argparse.Namespace, settings: Settings, output: Path, console: Console
) -> Corpus:
    """Opens the input, and says what is wrong in it."""
    with ProgressDisplay(console, None) as shown:
        store = open_input(
            options.input,
            settings.vocabulary,
            output.with_name(f"{output.name}.tokens"),
            progress=shown.show,
            splits=options.splits.split(","),
            modules=options.module_import,
            task_files=parse_task_files(options.task_files),
            text_field=options.text_field,
            language=options.language,
        )
    print_problems(console, store)
    return Corpus(store, settings.data, settings.vocabulary, options.seed)


def _request(options: argparse.Namespace) -> Request:
    """Returns what the command line asks for.

    Raises:
      ValueError: no number, or a learning rate that is not positive.
    """
    text = options.learning_rates
    return Request(
        checkpoints=options.checkpoint.split(","),
        layers=None if options.layers is None else options.layers.split(","),
        score_loss=options.score_loss,
        learning_rates=None if text is None else parse_learning_rates(text),
        vocabulary=options.vocabulary,
        seed=options.seed,
    )


if __name__ == "__main__":
    sys.exit(main())
