"""A model judged by its answers: `python -m presence_t5x.evaluate --checkpoint=PATH --task=NAME`.

Answers every language of a task or mixture and scores it. Writes the answers as JSON lines and
`scores.json` (see `evaluation.files`); the same command takes up an evaluation that was stopped.
"""

import argparse
import json
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
from presence_t5x.evaluation import checkpoints, display, scores, settings
from presence_t5x.evaluation.answering import make_predictor
from presence_t5x.evaluation.checkpoints import SELECTS, Checkpoint
from presence_t5x.evaluation.evaluator import Evaluator
from presence_t5x.evaluation.files import EXAMPLES, PredictionFiles, example_digests
from presence_t5x.evaluation.settings import Request, Settings
from presence_t5x.host_memory import keep_freed_memory
from presence_t5x.provenance import source_commit

_EPILOG = """\
PATH is a MODEL_DIR of presence_t5x.train or one of its checkpoints, a checkpoint of T5X, or a
folder of Hugging Face's. Settings come from the checkpoint's run; --gin_file and --gin.NAME=VALUE
give others, as for presence_t5x.train.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates and reports; errors are one line and exit status 2."""
    keep_freed_memory()
    logging.set_verbosity(logging.ERROR)  # Orbax warns about files that T5X does not write
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    return exit_status(lambda: evaluate(_parser().parse_args(rest), files, bindings))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.evaluate",
        description="Answer the examples of a fine-tuning task, in all its languages, and score.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PATH")
    add("--task", required=True, metavar="NAME", help="a task, or a mixture: its members' sets")
    add("--split", default="test", help="of the task (default: test)")
    add("--select", choices=SELECTS, default="newest",
        help="of a MODEL_DIR: the newest checkpoint, or the best by its run's rule")  # fmt: skip
    add("--output_dir", metavar="DIR",
        help="(default: evaluations/TASK.SPLIT.STEP in a MODEL_DIR)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace another evaluation in DIR")
    add("--batch_size", type=int, default=64, help="examples at a time (default: 64)")
    add("--max_examples", type=int, metavar="N", help="of each set, the first ones")
    add("--num_beams", type=int, metavar="N", help="beam search as T5X's (default: greedy)")
    add("--alpha", type=float, help="exponent of beam search's length penalty (default: 0.6)")
    add("--max_decode_length", type=int, metavar="TOKENS", help="(default: the run's targets)")
    add("--input_length", type=int, metavar="TOKENS", help="(default: the run's inputs)")
    add("--vocabulary", metavar="FILE",
        help="a SentencePiece model, a folder with one, 'bytes' (default: the run's)")  # fmt: skip
    add("--task_files", action="append", default=[], metavar="[SPLIT=]GLOB",
        help="JSON lines, for tasks like local_nli_zeroshot; see presence_t5x.prepare")  # fmt: skip
    add("--module_import", action="append", default=[], metavar="MODULE",
        help="imported first, e.g. to register tasks; may be repeated")  # fmt: skip
    add("--full_inputs", action="store_true", help="write inputs whole beside the answers")
    add("--json", action="store_true", help="print scores.json instead of a table")
    return parser


def evaluate(
    options: argparse.Namespace, gin_files: Sequence[str] = (), bindings: Sequence[str] = ()
) -> dict[str, Any]:
    """Evaluates what a command line asks for; returns the content of scores.json.

    Raises:
      ValueError: anything that could be known to be wrong before the first answer.
    """
    check_int("--batch_size", options.batch_size, minimum=1)
    import_modules(options.module_import)
    checkpoint = checkpoints.find(options.checkpoint, options.select)
    run = settings.run_settings(checkpoint, gin_files, bindings)
    checkpoint = checkpoints.with_dtype(checkpoint, run.dtype)
    request = _request(options)
    found = settings.resolve(request, checkpoint, run)
    mesh = partitioning.make_mesh(run.partitioning, checkpoint.model)
    mesh = mesh if mesh.size > 1 else None
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    content, own = _run(options, checkpoint, request, found, mesh, console)
    if options.json:
        print(json.dumps(content, ensure_ascii=False))
    else:
        out = Console(width=None if sys.stdout.isatty() else 100)
        display.print_scores(out, content, own)
    return content


def _run(
    options: argparse.Namespace,
    checkpoint: Checkpoint,
    request: Request,
    found: Settings,
    mesh: jax.sharding.Mesh | None,
    console: Console,
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Answers and scores; returns the content of scores.json and each family's own metrics."""
    from presence_t5x.data.finetuning.evaluation_sets import evaluation_sets

    directory = _output_dir(options, checkpoint)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"reading {request.task!r}, split {request.split!r}", markup=False)
    sets = evaluation_sets(found.data, request.split, max_examples=request.max_examples)
    problems = list(dict.fromkeys(str(p) for one in sets for p in one.problems))
    display.say_problems(console, problems)
    predictor = make_predictor(
        checkpoint.model,
        found.answering,
        found.vocabulary,
        input_length=found.data.task_feature_lengths["inputs"],
        batch_size=options.batch_size,
        mesh=mesh,
    )
    evaluator = Evaluator(sets, predictor)
    for key, num in evaluator.num_cut.items():
        console.print(f"{key}: {num:,} inputs are longer than {predictor.input_length} tokens")
    params = checkpoints.load(checkpoint, mesh)
    protocol = settings.describe(request, found)
    protocol |= {"dtype": checkpoint.model.dtype, "commit": source_commit()}
    what = {
        "checkpoint": str(checkpoint.location),
        "step": checkpoint.step,
        "task": request.task,
        "split": request.split,
    }
    identity = {
        **what,
        **protocol,
        "parameters": checkpoints.digest(params),
        EXAMPLES: example_digests(sets),
    }
    files = PredictionFiles(
        directory, identity, overwrite=options.overwrite, full_inputs=options.full_inputs
    )
    results, rows = [], []
    with display.progress_bar(console) as bar:
        task = bar.add_task("", total=sum(len(one.examples) for one in sets))
        answered = evaluator.evaluate(
            params,
            known=files.read,
            report=lambda number: bar.advance(task, number),
            by_example=True,
        )
        for result in answered:
            files.write(result)
            results.append(result)
            rows += scores.score_rows(result)
            bar.update(task, description=result.found.key)
    content = {
        **what,
        "protocol": {
            **protocol,
            "select": options.select,
            "selection_rule": checkpoints.selection_rule(checkpoint, options.select),
        },
        "scores": rows,
        "averages": scores.averages(rows),
        "inputs_cut": evaluator.num_cut,
        "problems": problems,
    }
    written = files.finish(content, sets)
    console.print(f"scores and answers are in {directory}", markup=False)
    return written, scores.own_metrics(results)


def _request(options: argparse.Namespace) -> Request:
    """Returns what the command line asks for.

    Raises:
      ValueError: numbers out of their bounds, or without effect.
    """
    for name in ("max_examples", "num_beams", "max_decode_length", "input_length"):
        if getattr(options, name) is not None:
            check_int(f"--{name}", getattr(options, name), minimum=1)
    if options.alpha is not None and options.num_beams is None:
        raise ValueError(f"--alpha={options.alpha} belongs to beam search; add --num_beams")
    return Request(
        task=options.task,
        split=options.split,
        max_examples=options.max_examples,
        input_length=options.input_length,
        max_decode_length=options.max_decode_length,
        num_beams=options.num_beams,
        alpha=0.6 if options.alpha is None else options.alpha,
        vocabulary=options.vocabulary,
        task_files=parse_task_files(options.task_files),
    )


def _output_dir(options: argparse.Namespace, checkpoint: Checkpoint) -> Path:
    """Returns where results go.

    Raises:
      ValueError: nowhere, beside a checkpoint of another library.
    """
    if options.output_dir:
        return Path(options.output_dir)
    if checkpoint.content is not None:
        raise ValueError("--output_dir is missing: results go beside checkpoints of this package")
    model_dir = checkpoint.location.parent.parent
    return model_dir / "evaluations" / f"{options.task}.{options.split}.{checkpoint.step}"


if __name__ == "__main__":
    sys.exit(main())
