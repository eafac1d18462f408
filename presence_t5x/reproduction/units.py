"""A unit of work: one command of a plan, with its own directory, needs and fingerprint."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from presence_t5x.reproduction.plan_parts import Evaluation

OUTPUT = "{output}"  # in arguments: the plan's directory
MODEL_DIR = "run"
KINDS = ("prepare", "pretrain", "score", "filter", "finetune", "evaluate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """One command of a plan.

    Attributes:
      name: its directory below the plan's, kind first.
      module: of this package, run with `python -m`.
      arguments: with `{output}` for the plan's directory.
      needs: names of units that must be done before.
      fingerprint: of its command, settings and needs; not of the source code, nor of what the files
        hold that it reads (a data_dir's): remove the directory of a unit whose files have changed.
      settings: of a training, all of them, as `config_to_dict` gives them.
      step_flops: of a training's step, matrix products alone; None where the size of the vocabulary
        is not known before its data.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    fingerprint: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    step_flops: int | None = None

    @property
    def num_steps(self) -> int:
        """Updates of a training; 0 for other units."""
        if not self.settings:
            return 0
        return self.settings["train_steps_relative"] or self.settings["train_steps"]

    @property
    def kind(self) -> str:
        """What it does, one of `KINDS`."""
        return self.name.split("/")[0]

    def command(self, output: Path, python: str) -> list[str]:
        """Returns the command in a plan's directory."""
        found = (argument.replace(OUTPUT, str(output)) for argument in self.arguments)
        return [python, "-m", self.module, *found]


class Cell(NamedTuple):
    """Where the scores of one model and evaluation are.

    Attributes:
      directory: below the plan's.
    """

    pretraining: str
    setting: str
    seed: int
    evaluation: Evaluation
    directory: str


class Trained(NamedTuple):
    """A pre-training whose own held-out losses are shown; `unit` is its training's name."""

    pretraining: str
    seed: int
    unit: str


class Work(NamedTuple):
    """All units of a plan in an order in which they can run, and what of them fills tables."""

    units: tuple[Unit, ...]
    cells: tuple[Cell, ...]
    trained: tuple[Trained, ...] = ()
