"""The command line of a scoring, for `presence_t5x.score` and for other commands that score."""

import argparse
import re

from presence_t5x.command_line import OneLineParser
from presence_t5x.scoring.settings import Request, parse_learning_rates

_EPILOG = """\
PATH is a MODEL_DIR of presence_t5x.train (its newest checkpoint) or a checkpoint of it, of T5X or
of Hugging Face. How rows are made comes from the checkpoint's run; --gin_file and
--gin.NAME=VALUE say it where it has none.
"""


def parser() -> argparse.ArgumentParser:
    """Returns what reads the command line."""
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


def parse_shard(shard: str | None) -> slice:
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


def request_of(options: argparse.Namespace) -> Request:
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
