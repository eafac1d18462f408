"""PRESENCE-Sequential: `python -m presence_t5x.filter --scores=FILE.parquet --output=DIR --keep=N`.

Keeps the documents of a store that a scored model is influenced by least (or, as controls, most, or
any) and writes them as a new store, which pre-training reads; and what was dropped. Source: Thakkar
et al. 2023, section 3; N is the caller's, the paper states none.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.data.store_subset import write_subset
from presence_t5x.data.token_store import TokenStore, open_store
from presence_t5x.json_files import read_json_object
from presence_t5x.scoring import dropped
from presence_t5x.scoring.choice import MEASURES, ORDERS, Rule, choose
from presence_t5x.scoring.parts import manifest_path

_AGAIN = "write it again with python -m presence_t5x.score"
_SCORE = "score"
_COLUMNS = ("example_id", "language", "source", "noise", "split", "num_tokens", "loss", _SCORE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Filters and reports; errors are one line and exit status 2."""
    command = ["presence_t5x.filter", *(sys.argv[1:] if arguments is None else arguments)]
    return exit_status(lambda: filter_store(_parser().parse_args(command[1:]), command))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.filter",
        description="Keep the documents of a store with the lowest (or highest, or any) scores.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--scores", required=True, metavar="FILE.parquet", help="of presence_t5x.score")
    add("--output", required=True, metavar="DIR", help="the new store")
    add("--input", metavar="DIR", help="the store that was scored (default: as the scores tell)")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--keep", type=int, metavar="N", help="documents or tokens, at most")
    amount.add_argument("--keep_share", type=float, metavar="X", help="of those with a score, 0..1")
    add("--order", choices=ORDERS, default="lowest", help="which are kept (default: lowest)")
    add("--by", choices=MEASURES, default="documents", help="what is counted")
    add("--per_language", action="store_true", help="the amount is that of every language")
    add("--column", default="score", metavar="NAME", help="e.g. score_encoder, or loss")
    add("--splits", default="train", help="that are filtered; others stay whole (default: train)")
    add("--seed", type=int, default=0, help="of a random choice, and of ties")
    return parser


def filter_store(options: argparse.Namespace, command: Sequence[str]) -> None:
    """Filters as a command line says.

    Raises:
      ValueError: scores of another store, or a rule that keeps nothing of a task.
    """
    scores = _read_scores(Path(options.scores), options.column)
    store = _open_scored(options)
    if len(scores) != len(store):
        raise ValueError(
            f"{options.scores} has {len(scores)} rows, but {store.directory} {len(store)} "
            f"documents; {_AGAIN}"
        )
    _check_rows(options.scores, scores, store)
    is_share = options.keep is None
    rule = Rule(
        order=options.order,
        amount=options.keep_share if is_share else options.keep,
        is_share=is_share,
        measure=options.by,
        per_language=options.per_language,
        seed=options.seed,
    )
    judged = _in_splits(store, options.splits.split(","))
    values = np.where(judged, scores[options.column].to_numpy(), np.nan)
    kept = choose(rule, values, np.asarray(store.token_counts), np.asarray(store.codes["language"]))
    if not kept.any():
        raise ValueError(f"{rule} keeps no document; keep more")
    _check_tasks(store, kept | ~judged, rule)
    described = {**dataclasses.asdict(rule), "column": options.column, "splits": options.splits}
    output = Path(options.output)
    write_subset(store, kept | ~judged, output, parameters=described, command=command)
    rows = dropped.summarize(scores, kept, judged, sorted({_SCORE, options.column}))
    lost = output.with_name(f"{output.name}.dropped.parquet")
    dropped.write_dropped(lost, scores, judged & ~kept)
    dropped.write_report(output.with_name(f"{output.name}.report.json"), described, rows)
    dropped.print_report(Console(width=None if sys.stdout.isatty() else 100), rows)
    print(f"store:   {output} (train on it with --gin.PREPARED_STORES='\"{output}\"')")
    print(f"dropped: {lost}")


def _read_scores(path: Path, column: str) -> pa.Table:
    """Returns the labels, the score, and the column that decides.

    Raises:
      ValueError: no such file or column.
    """
    if not path.is_file():
        raise ValueError(f"--scores={path} is no file; write one with python -m presence_t5x.score")
    try:
        schema = pq.read_schema(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable Parquet file ({error}); {_AGAIN}") from error
    names = schema.names
    if missing := [name for name in _COLUMNS if name not in names]:
        raise ValueError(f"{path} has no columns {missing}; {_AGAIN}")
    if column not in names:
        known = [name for name in names if name == "loss" or name.startswith("score")]
        raise ValueError(f"--column={column!r} is not in {path}; it has {known}")
    for name in dict.fromkeys((column, _SCORE, "num_tokens")):
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise ValueError(f"{path}: column {name!r} is of the type {kind}, no number; {_AGAIN}")
    return pq.read_table(path, columns=list(dict.fromkeys((*_COLUMNS, column))))


def _open_scored(options: argparse.Namespace) -> TokenStore:
    """Opens the store that was scored.

    Raises:
      ValueError: another one.
    """
    path = manifest_path(Path(options.scores))
    if not path.is_file():
        raise ValueError(f"{options.scores} has no manifest {path.name} beside it; {_AGAIN}")
    manifest = read_json_object(path, _AGAIN)
    for name in ("store", "content_sha256"):
        if not isinstance(manifest.get(name), str):
            raise ValueError(f"{path} is damaged: it does not tell {name!r}; {_AGAIN}")
    store = open_store(options.input or manifest["store"])
    if store.manifest["content_sha256"] != manifest["content_sha256"]:
        raise ValueError(
            f"{store.directory} holds other documents than those that {options.scores} scored "
            f"({manifest['store']}); name that store with --input"
        )
    return store


def _check_rows(path: str, scores: pa.Table, store: TokenStore) -> None:
    """Raises ValueError if a row of the scores is not of the store's document at its place."""
    for place, (example_id, document) in enumerate(zip(scores["example_id"], store)):
        if example_id.as_py() != document.id:
            raise ValueError(
                f"{path}: row {place} is of document {example_id.as_py()!r}, but that of "
                f"{store.directory} is {document.id!r}: its rows were sorted or edited; {_AGAIN}"
            )


def _check_tasks(store: TokenStore, kept: np.ndarray, rule: Rule) -> None:
    """Raises ValueError if a task of a mixture keeps nothing, as no store can be of it."""
    for task in store.tasks:
        if not kept[task.first_document : task.first_document + task.num_documents].any():
            raise ValueError(
                f"{rule} keeps no document of the task {task.name!r}; keep more, or so many of "
                "every language (--per_language)"
            )


def _in_splits(store: TokenStore, splits: Sequence[str]) -> np.ndarray:
    """Which documents are in the splits.

    Raises:
      ValueError: the store has no such split.
    """
    known = store.labels("split")
    for split in splits:
        if split not in known:
            raise ValueError(f"--splits: {store.directory} has no split {split!r}; it has {known}")
    return np.isin(store.codes["split"], [known.index(split) for split in splits])


if __name__ == "__main__":
    sys.exit(main())
