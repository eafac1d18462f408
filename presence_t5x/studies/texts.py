"""What the studies that score share: their options, the texts that they draw, their scores."""

import argparse
import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from presence_t5x import score
from presence_t5x.evaluation import checkpoints
from presence_t5x.files import check_same, write_text_atomically
from presence_t5x.provenance import source_commit
from presence_t5x.scoring.parts import manifest_path
from presence_t5x.studies.sample import Sampling, draw, write_spoiled
from presence_t5x.studies.spoiling import KINDS, parse_kinds

PROTOCOL_NAME = "protocol.json"
_TEXTS_NAME = "texts.jsonl"
_OF_TEXTS = ("input", "splits", "documents", "sources", "kinds", "out_of_domain", "seed")


class Scored(NamedTuple):
    """Documents under one checkpoint.

    Attributes:
      step: of the checkpoint.
      rows: of `presence_t5x.score`, in order of the texts.
      protocol: the checkpoint and the scored layers, for JSON.
    """

    step: int
    rows: list[dict[str, Any]]
    protocol: dict[str, Any]


def add_text_options(parser: argparse.ArgumentParser, documents: int = 200) -> None:
    """Adds what every study that scores needs."""
    add = parser.add_argument
    add(
        "--checkpoint",
        required=True,
        metavar="PATH[,PATH...]",
        help="each is studied by itself; a glob stands for all that it finds",
    )
    add("--input", required=True, metavar="GLOB_OR_TASK", help="as for presence_t5x.score")
    add("--output", required=True, metavar="DIR", help="the same command goes on where it stopped")
    add("--splits", default="train", help="of a task (default: train)")
    add(
        "--documents",
        type=int,
        default=documents,
        metavar="N",
        help=f"of each language (default: {documents})",
    )
    add("--sources", default="*", metavar="GLOB", help="of the documents drawn, e.g. 'wiki_*'")
    add("--batch_size", type=int, default=64, help="rows at a time (default: 64)")
    add("--seed", type=int, default=0, help="of the draw, the noise and the masks")


def add_noise_options(parser: argparse.ArgumentParser, kinds: Sequence[str] = tuple(KINDS)) -> None:
    """Adds what says how texts are spoiled."""
    parser.add_argument(
        "--kinds",
        default=",".join(kinds),
        metavar="KIND[:DEGREE],...",
        help=f"of noise, of {', '.join(KINDS)} (default: {','.join(kinds)})",
    )
    parser.add_argument(
        "--out_of_domain", metavar="GLOB", help="texts of another kind (default: generated)"
    )


def claim_texts(options: argparse.Namespace, *names: str, clean: bool = True) -> Path:
    """Returns the file of a study's texts, in a directory that belongs to the study: JSON lines.

    Every document once as it is, and once in each kind of noise, if the study has any. They are
    written unless they are there; a directory belongs to a study once they are.

    Args:
      options: of the command.
      *names: of the options that its results depend on, beside those of its texts.
      clean: leave out what the corpus itself labels as noise.

    Raises:
      ValueError: a directory of another study, no document, or an unknown kind.
    """
    kinds = parse_kinds(options.kinds) if hasattr(options, "kinds") else []
    directory = Path(options.output)
    wanted = (name for name in (*_OF_TEXTS, *names) if hasattr(options, name))
    settings = {"study": options.study, **{name: getattr(options, name) for name in wanted}}
    protocol, path = directory / PROTOCOL_NAME, directory / _TEXTS_NAME
    if protocol.is_file():
        check_same(json.loads(protocol.read_text("utf-8")), settings, directory, "results")
    else:
        _write_texts(options, kinds, path, clean)
        write_text_atomically(json.dumps(settings, indent=2) + "\n", protocol)
    return path


def _write_texts(
    options: argparse.Namespace, kinds: Sequence[str], path: Path, clean: bool
) -> None:
    from presence_t5x.data.inputs import find_source  # imports TensorFlow

    sampling = Sampling(options.documents, sources=options.sources, seed=options.seed, clean=clean)
    documents = draw(find_source(options.input, splits=options.splits.split(",")), sampling)
    others: list[str] = []
    if getattr(options, "out_of_domain", None):
        other = find_source(options.out_of_domain, splits=["train"])
        others = [
            found.text for found in draw(other, Sampling(options.documents, seed=options.seed))
        ]
    write_spoiled(documents, kinds, path, out_of_domain=others, seed=options.seed)


def find_checkpoints(text: str) -> list[str]:
    """Returns the checkpoints of PATH[,PATH...], those of a glob in order of their steps.

    Raises:
      ValueError: a glob without a match, no checkpoint, or two of one step, by which a study's rows
        are told apart.
    """
    found: list[str] = []
    by_step: dict[int, str] = {}
    for path in text.split(","):
        matches = glob.glob(path) if glob.has_magic(path) else [path]
        if not matches:
            raise ValueError(f"--checkpoint={path}: nothing matches")
        steps = {match: checkpoints.find(match).step for match in matches}
        for match in sorted(matches, key=steps.__getitem__):
            if steps[match] in by_step:
                raise ValueError(
                    f"--checkpoint: {by_step[steps[match]]} and {match} are both of step "
                    f"{steps[match]}, and a study tells checkpoints apart by their steps; study "
                    "each by itself, with an --output of its own"
                )
            by_step[steps[match]] = match
            found.append(match)
    return found


def score_texts(
    options: argparse.Namespace, texts: Path, directory: Path, *arguments: str
) -> list[Scored]:
    """Scores a study's texts under each of its checkpoints; what is scored already is read.

    Args:
      *arguments: more of `presence_t5x.score`.

    Raises:
      ValueError: as `score.score` does, or no document has a score.
    """
    found = []
    for number, checkpoint in enumerate(find_checkpoints(options.checkpoint)):
        output = directory / f"scores-{number}.parquet"
        words = [
            f"--checkpoint={checkpoint}",
            f"--input={texts}",
            f"--output={output}",
            f"--batch_size={options.batch_size}",
            f"--seed={options.seed}",
            *arguments,
        ]
        one = read_scores(score.score(score.parser().parse_args(words), *options.gin))
        if all(row["score"] is None for row in one.rows):
            raise ValueError(f"{checkpoint} gives no finite score to any document of {texts}")
        found.append(one)
    return found


def read_scores(path: Path) -> Scored:
    """Returns what a scoring left."""
    manifest = json.loads(manifest_path(path).read_text("utf-8"))
    checkpoint = manifest["checkpoints"][0]
    protocol = {**checkpoint, "layers": manifest["layers"], "score_loss": manifest["score_loss"]}
    return Scored(checkpoint["step"], pq.read_table(path).to_pylist(), protocol)


def protocol_of(options: argparse.Namespace, scored: Sequence[Scored]) -> dict[str, Any]:
    """Returns how a study's rows came about."""
    names = (name for name in _OF_TEXTS if hasattr(options, name))
    return {
        **{name: getattr(options, name) for name in names},
        "checkpoints": [one.protocol for one in scored],
        "commit": source_commit(),
    }
