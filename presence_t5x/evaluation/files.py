"""What an evaluation leaves in its directory, each file whole or not at all.

`evaluation.json` says what is evaluated, `predictions/TASK[.LANGUAGE].jsonl` holds the answers to a
set, `scores.json` is written last. An evaluation that was stopped takes up the answers that are
there, if they are of the same model, settings, examples and source code.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presence_t5x.evaluation.predictor import Answers
from presence_t5x.evaluation.scores import SetResult
from presence_t5x.files import write_text_atomically
from presence_t5x.run_log import plain_numbers

if TYPE_CHECKING:  # it imports TensorFlow
    from presence_t5x.data.finetuning.evaluation_sets import EvaluationSet

PREDICTIONS, SCORES, _IDENTITY = "predictions", "scores.json", "evaluation.json"
EXAMPLES = "examples"
_FREE = ("commit", EXAMPLES)  # of the identity: where they differ, answers are given anew
_SHORT_INPUTS = 200  # characters


def example_digests(sets: "Sequence[EvaluationSet]") -> dict[str, str]:
    """Returns the SHA-256 of each set's examples by the set's key: ids, inputs and targets."""
    found = {}
    for one in sets:
        digest = hashlib.sha256()
        for example in one.examples:
            text = json.dumps([example.id, example.inputs, example.targets])
            digest.update(f"{text}\n".encode())
        found[one.key] = digest.hexdigest()
    return found


class PredictionFiles:
    """The directory of one evaluation."""

    def __init__(
        self,
        directory: Path,
        identity: Mapping[str, Any],
        *,
        overwrite: bool = False,
        full_inputs: bool = False,
    ):
        """Opens a directory, creating it; its scores are gone until the evaluation is done.

        Args:
          directory: holds nothing, or an evaluation.
          identity: everything that answers depend on, for JSON; "commit" and "examples"
            (`example_digests`) may differ: answers of other source code or to other examples are
            given anew.
          overwrite: replace an evaluation of something else.
          full_inputs: write inputs whole, not their beginnings.

        Raises:
          ValueError: it holds an evaluation of something else.
        """
        self.directory = directory
        self._full_inputs = full_inputs
        identity = json.loads(json.dumps(identity))  # as it will be read
        found = self._read_identity()
        differing = [
            f"{name}={found.get(name)!r} there, {identity.get(name)!r} here"
            for name in sorted(found.keys() | identity.keys())
            if found and name not in _FREE and found.get(name) != identity.get(name)
        ]
        if differing and not overwrite:
            raise ValueError(
                f"{directory} holds another evaluation: {'; '.join(differing)}; choose another "
                "--output_dir, or --overwrite it"
            )
        if found != identity:
            for old in (directory / PREDICTIONS).glob("*.jsonl"):
                old.unlink()
        (directory / SCORES).unlink(missing_ok=True)
        write_text_atomically(json.dumps(identity, indent=2) + "\n", directory / _IDENTITY)

    def _read_identity(self) -> dict[str, Any]:
        """Returns what the directory's evaluation is of; {} where there is none."""
        try:
            return json.loads((self.directory / _IDENTITY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ValueError(
                f"{self.directory / _IDENTITY} is damaged ({error}); choose another --output_dir"
            ) from error

    def read(self, found: "EvaluationSet") -> Answers | None:
        """Returns the answers to a set that are there already, or None."""
        try:
            text = self._path(found).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        # Not splitlines: answers may hold what it takes for the end of a line.
        rows = [json.loads(line) for line in text.split("\n")[:-1]]
        if [row["id"] for row in rows] != [example.id for example in found.examples]:
            return None  # the data have changed
        scores = [math.nan if row["score"] is None else row["score"] for row in rows]
        return Answers([row["prediction"] for row in rows], scores)

    def write(self, result: SetResult) -> None:
        """Writes the answers to a set, one object an example."""
        answers, judgement = result.answers, result.judgement
        rows = zip(result.found.examples, answers.texts, answers.scores, judgement.examples)
        lines = []
        for example, text, score, values in rows:
            row: dict[str, Any] = {
                "id": example.id,
                "language": example.language,
                "inputs": self._inputs(example.inputs),
                "prediction": text,
                "targets": example.targets,
                "score": score,
                "values": values,
            }
            if isinstance(example.gold, list):
                row["answers"] = example.gold
            lines.append(json.dumps(plain_numbers(row), ensure_ascii=False))
        write_text_atomically("".join(f"{line}\n" for line in lines), self._path(result.found))

    def finish(self, scores: Mapping[str, Any], sets: "Sequence[EvaluationSet]") -> dict[str, Any]:
        """Writes scores.json and returns its content: `scores`, and where the answers are."""
        names = {found.key: str(self._path(found).relative_to(self.directory)) for found in sets}
        content = plain_numbers({**scores, PREDICTIONS: names})
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_text_atomically(text, self.directory / SCORES)
        return content

    def _inputs(self, text: str) -> str:
        is_short = self._full_inputs or len(text) <= _SHORT_INPUTS
        return text if is_short else f"{text[:_SHORT_INPUTS]}…"

    def _path(self, found: "EvaluationSet") -> Path:
        return self.directory / PREDICTIONS / f"{found.key}.jsonl"
