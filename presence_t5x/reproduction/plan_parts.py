"""What a plan is made of: pre-trainings, fine-tunings, evaluations, tasks and tables.

Texts may name `{output}` (the plan's directory), `{data_dir}` and, in a fine-tuning, `{model}`.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from presence_t5x._validate import check_choice, check_float, check_int, check_text

FINETUNED, HELD_OUT = ("zero_shot", "translate_train"), "held_out"
SETTINGS = (*FINETUNED, HELD_OUT)
_NAME = re.compile(r"\w[\w.+:-]*")  # of folders and files
LAYOUTS = ("variants", "temperatures")
# Of answers: each example contributes a value, and guessing has a score.
METRICS = ("accuracy", "em", "f1", "span_f1")
TRAIN_STEPS = "TRAIN_STEPS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """A token store that trainings share.

    Attributes:
      arguments: of `python -m presence_t5x.prepare`.
    """

    name: str
    arguments: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filtering:
    """A corpus of which a pre-training sees what another one's model scored lowest, say.

    Attributes:
      scorer: name of the pre-training that scores, seed by seed.
      corpus: what is scored, as `python -m presence_t5x.score --input` takes it.
      arguments: of `python -m presence_t5x.filter`.
      score_arguments: of `python -m presence_t5x.score`.
    """

    scorer: str
    corpus: str
    arguments: Sequence[str]
    score_arguments: Sequence[str] = ()

    def __post_init__(self):
        for name in ("scorer", "corpus"):
            check_text(f"pretrainings: filtered.{name}", getattr(self, name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """One row of the tables: a model before fine-tuning.

    Attributes:
      model: as rows tell it, and as `{model}` in the gin files of fine-tunings.
      variant: "baseline", "direct", "inverse", "inverse_direct", "presence" ...
      gin_files: of `presence_t5x.train`, later ones over earlier ones.
      settings: gin macros by name, as TOML values.
      temperature: of a constant one; its place in a table of temperatures.
      filtered: the run reads the filtered corpus (PREPARED_STORES); None leaves its data alone.
      only_evaluated: judged as it is, without fine-tuning.
      seeds: how many; None is the plan's number.
      unavailable: why it cannot be run; its cells stay empty.
    """

    name: str
    model: str
    variant: str
    gin_files: Sequence[str] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    temperature: float | None = None
    filtered: Filtering | None = None
    only_evaluated: bool = False
    seeds: int | None = None
    unavailable: str = ""

    def __post_init__(self):
        for name in ("name", "model", "variant"):
            check_text(f"pretrainings: {name}", getattr(self, name))
        if self.seeds is not None:
            check_int(f"pretraining {self.name!r}: seeds", self.seeds, minimum=1)
        if not self.unavailable:
            _check_gin_files(f"pretraining {self.name!r}", self.gin_files)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One `python -m presence_t5x.evaluate` of a fine-tuned model.

    Attributes:
      mixture: its `--task`.
      tasks: names of the plan's tasks whose scores it gives.
      split: that is answered.
      select: "best" or "newest" checkpoint of the fine-tuning.
      arguments: further ones.
    """

    mixture: str
    tasks: Sequence[str]
    split: str = "test"
    select: str = "newest"
    arguments: Sequence[str] = ()

    def __post_init__(self):
        check_folder_name("evaluations: mixture", self.mixture)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetuning:
    """One fine-tuning of every pre-trained model, and what is evaluated after it.

    Attributes:
      setting: "zero_shot" or "translate_train".
      gin_files: as of a pre-training; they may hold `{model}`.
      settings: gin macros by name; MODEL_DIR, INITIAL_CHECKPOINT and RANDOM_SEED are added.
    """

    name: str
    setting: str
    gin_files: Sequence[str]
    evaluations: Sequence[Evaluation]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_text("finetunings: name", self.name)
        check_choice(f"finetuning {self.name!r}: setting", self.setting, FINETUNED)
        _check_gin_files(f"finetuning {self.name!r}", self.gin_files)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a column of the tables is.

    Attributes:
      title: of the column.
      family: of the evaluated tasks, their names without the language.
      metric: of `scores.json`, one of `METRICS`; "span_f1" is shown times 100, as the paper
        prints it.
      chance: of a guess that knows nothing but the classes, in percent.
      noise: in place of `family`: the column is the pre-training's own loss on its held-out rows of
        this noise label ("clean" is one), or of all but clean ones ("noise"); metric "loss".
    """

    name: str
    title: str
    family: str = ""
    metric: str = "loss"
    chance: float = 0.0
    noise: str = ""

    def __post_init__(self):
        if bool(self.family) == bool(self.noise) or (self.metric == "loss") != bool(self.noise):
            raise ValueError(
                f"task {self.name!r}: give either family and a metric of the answers, or noise "
                "alone (the loss on held-out rows)"
            )
        if self.family:
            check_choice(f"task {self.name!r}: metric", self.metric, METRICS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """One table: pre-trained models by tasks.

    Attributes:
      layout: "variants" (a row a model, a column a task) or "temperatures" (a column a
        temperature).
      rows: names of pre-trainings.
      settings: of fine-tunings, or "held_out" alone for held-out losses of pre-trainings.
      language: whose scores are shown; "average" is the mean over languages.
      paper: the table of the paper whose figures stand beside, see `paper_figures`; "" is none.
    """

    name: str
    title: str
    rows: Sequence[str]
    tasks: Sequence[str]
    settings: Sequence[str] = FINETUNED
    layout: str = "variants"
    language: str = "average"
    paper: str = ""

    def __post_init__(self):
        check_text("tables: name", self.name)
        check_choice(f"table {self.name!r}: layout", self.layout, LAYOUTS)
        for setting in self.settings:
            check_choice(f"table {self.name!r}: settings", setting, SETTINGS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """How long pre-trainings are, in proportion.

    Attributes:
      macros: numbers of steps among the settings of pre-trainings, which grow and shrink together.
      equal_flops_of: name of a pre-training: the others get as many steps as cost what its own do
        (matrix products, `planning.analytic.weighted_training_flops`); "" leaves them alone.
      share: of the numbers that are given.
    """

    macros: Sequence[str]
    equal_flops_of: str = ""
    share: float = 1.0

    def __post_init__(self):
        check_float("steps: share", self.share, minimum=0.0, exclusive_minimum=True)
        if TRAIN_STEPS not in self.macros:
            raise ValueError(f"steps: macros={self.macros!r} must hold {TRAIN_STEPS!r}")


def check_folder_name(label: str, name: Any) -> None:
    """Refuses what would lead out of the plan's directory as a part of a path."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{label}={name!r} becomes a name of files; use letters, digits and, after the first, "
            "any of . _ + : -"
        )


def _check_gin_files(label: str, files: Any) -> None:
    if isinstance(files, str) or not files:
        raise ValueError(f"{label}: gin_files={files!r} must be a list of at least one file")
    for file in files:
        check_text(f"{label}: gin_files", file)
