"""What self-influence sees: `python -m presence_t5x.study noise --checkpoint=... --input=...`.

`noise` draws clean documents of every language, spoils each in several ways, scores all of them
under one checkpoint or several, and tells how well score, loss, length and a random number separate
noise from clean text. Stopped, the same command goes on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from presence_t5x import score
from presence_t5x._validate import check_choice
from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.files import write_text_atomically
from presence_t5x.provenance import source_commit
from presence_t5x.studies.results import markdown, write_results
from presence_t5x.studies.sample import Sampling, draw, with_noise, write_spoiled
from presence_t5x.studies.separation import separations
from presence_t5x.studies.spoiling import KINDS

_MEASURES = {"score": "score", "loss": "loss", "length": "num_tokens"}
_TEXTS, _PROTOCOL = "texts.jsonl", "protocol.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a study; errors are one line and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    return exit_status(lambda: study_noise(_parser().parse_args(words)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m presence_t5x.study", allow_abbrev=False)
    studies = parser.add_subparsers(dest="study", required=True, parser_class=OneLineParser)
    noise = studies.add_parser("noise", help="spoiled text against clean text", allow_abbrev=False)
    add = noise.add_argument
    add("--checkpoint", required=True, metavar="PATH[,PATH...]", help="each is studied by itself")
    add(
        "--input",
        required=True,
        metavar="GLOB_OR_TASK",
        help="clean text; as for presence_t5x.score",
    )
    add("--output", required=True, metavar="DIR")
    add("--documents", type=int, default=200, metavar="N", help="of each language (default: 200)")
    add("--sources", default="*", metavar="GLOB", help="of the documents drawn, e.g. 'wiki_*'")
    add("--kinds", default=",".join(KINDS), help="of noise (default: all)")
    add("--out_of_domain", metavar="GLOB", help="texts of another kind (default: generated)")
    add("--layers", metavar="PATTERN,...", help="as for presence_t5x.score")
    add("--batch_size", type=int, default=64, help="rows at a time (default: 64)")
    add("--seed", type=int, default=0, help="of the draw, the noise and the masks")
    return parser


def study_noise(options: argparse.Namespace) -> None:
    """Runs the study of noise.

    Raises:
      ValueError: a wrong setting, or a directory of another study.
    """
    kinds = options.kinds.split(",")
    for kind in kinds:
        check_choice("--kinds", kind, tuple(KINDS))
    directory = Path(options.output)
    settings = {name: value for name, value in vars(options).items() if name in _OF_TEXTS}
    _prepare_texts(options, kinds, directory, settings)
    rows: list[dict[str, Any]] = []
    scored = []
    for number, checkpoint in enumerate(options.checkpoint.split(",")):
        path = directory / f"scores-{number}.parquet"
        _score(options, checkpoint, directory / _TEXTS, path)
        manifest = json.loads(path.with_name(f"{path.name}.manifest.json").read_text("utf-8"))
        found = manifest["checkpoints"][0]
        scored.append({**found, "layers": manifest["layers"]})
        table = with_noise(pq.read_table(path).to_pylist())
        rows += [{"step": found["step"], **row} for row in separations(table, _MEASURES)]
    protocol = {**settings, "checkpoints": scored, "commit": source_commit()}
    write_results(directory, protocol, rows)
    Console(width=None if sys.stdout.isatty() else 120).print(markdown({}, rows), markup=False)
    print(f"results: {directory / 'study.md'}, study.csv, study.json")


_OF_TEXTS = ("input", "documents", "sources", "kinds", "out_of_domain", "seed")


def _prepare_texts(
    options: argparse.Namespace, kinds: Sequence[str], directory: Path, settings: dict[str, Any]
) -> None:
    """Writes the texts of a study, unless they are there.

    Raises:
      ValueError: they were made otherwise.
    """
    from presence_t5x.data.inputs import find_source

    path = directory / _PROTOCOL
    if path.is_file():
        found = json.loads(path.read_text("utf-8"))
        if found != settings:
            raise ValueError(
                f"{directory} holds a study of {found}, not of {settings}; choose another --output"
            )
        return
    source = find_source(options.input, splits=["train"])
    sampling = Sampling(options.documents, sources=options.sources, seed=options.seed)
    documents = draw(source, sampling)
    others: list[str] = []
    if options.out_of_domain:
        other = find_source(options.out_of_domain, splits=["train"])
        others = [
            found.text for found in draw(other, Sampling(options.documents, seed=options.seed))
        ]
    write_spoiled(documents, kinds, directory / _TEXTS, out_of_domain=others, seed=options.seed)
    write_text_atomically(json.dumps(settings, indent=2) + "\n", path)


def _score(options: argparse.Namespace, checkpoint: str, texts: Path, output: Path) -> None:
    """Scores the texts under one checkpoint.

    Raises:
      ValueError: it could not; the reason has been printed.
    """
    status = score.main(
        [
            f"--checkpoint={checkpoint}",
            f"--input={texts}",
            f"--output={output}",
            f"--batch_size={options.batch_size}",
            f"--seed={options.seed}",
            *([f"--layers={options.layers}"] if options.layers else []),
        ]
    )
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise ValueError(f"{checkpoint} could not be scored")


if __name__ == "__main__":
    sys.exit(main())
