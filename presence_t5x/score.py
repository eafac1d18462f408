"""Every document's self-influence: `python -m presence_t5x.score --checkpoint=... --input=...`.

Writes one row a document to a parquet file, in one pass over the documents for each checkpoint; the
same command goes on where it was stopped. With several checkpoints a score is TracInCP's: the sum
of learning rate times squared gradient norm.
"""

import argparse
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
from presence_t5x.scoring.arguments import parse_shard, parser, request_of
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
    Settings,
    describe,
    resolve,
)


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
    shard = parse_shard(options.shard)
    output = Path(options.output)
    check_writable("--output", output.with_name(f".{output.name}.test"))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    request = request_of(options)
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
        most_targets=settings.most_targets,
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


if __name__ == "__main__":
    sys.exit(main())
