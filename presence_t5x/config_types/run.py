"""A whole run."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from presence_t5x._validate import (
    LARGEST_INT64,
    check_bool,
    check_choice,
    check_float,
    check_instance,
    check_int,
    check_num_microbatches,
    check_text,
)
from presence_t5x.config_types.data import DataConfig
from presence_t5x.config_types.families import MODEL_CONFIGS
from presence_t5x.config_types.model import ModelConfig
from presence_t5x.config_types.optimizer import OptimizerConfig
from presence_t5x.config_types.weighting import (
    FIRST_BLOCKS,
    UNWEIGHTED,
    PresenceConfig,
    TemperatureConfig,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitioningConfig:
    """How the devices are arranged; those left over hold rows (data parallelism).

    Attributes:
      num_fsdp_partitions: parts into which parameters and optimizer state are cut; each part's
        devices also take their own rows, and gather the parameters layer by layer.
      num_tensor_partitions: parts into which heads, MLP and vocabulary are cut (T5X's
        `num_partitions`).
    """

    num_fsdp_partitions: int = 1
    num_tensor_partitions: int = 1

    def __post_init__(self):
        check_int("num_fsdp_partitions", self.num_fsdp_partitions, minimum=1)
        check_int("num_tensor_partitions", self.num_tensor_partitions, minimum=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskEvaluationConfig:
    """Which tasks a run answers every `eval_period` steps, and which checkpoint is its best.

    Attributes:
      task: a fine-tuning task or mixture; None is none.
      split: of the task.
      languages: whose sets are evaluated, e.g. ("en",) for a choice that sees no other language;
        None is all.
      max_examples: of each set, the first ones; None is all.
      max_decode_length: of answers, in tokens; None is the length of the run's targets.
      metrics: names of those that the choice is made by; one may be given as a string. The value of
        an evaluation is their mean, each averaged over languages. "task_average" is the mean over
        tasks of the mean of each one's metrics.
      selection: "best" keeps the checkpoint of the evaluation with the highest value, "last" makes
        no choice.
    """

    task: str | None = None
    split: str = "validation"
    languages: Sequence[str] | None = None
    max_examples: int | None = None
    max_decode_length: int | None = None
    metrics: str | Sequence[str] = ()
    selection: Literal["best", "last"] = "last"

    def __post_init__(self):
        check_text("split", self.split)
        check_choice("selection", self.selection, ("best", "last"))
        for name in ("max_examples", "max_decode_length"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), minimum=1)
        for name in ("metrics", "languages"):
            value = getattr(self, name)
            value = (value,) if isinstance(value, str) else value
            for text in value or ():
                check_text(name, text)
            object.__setattr__(self, name, value if value is None else tuple(value))
        if self.task is not None:
            check_text("task", self.task)
        if self.selection == "best" and (self.task is None or not self.metrics):
            raise ValueError(
                f"selection='best' needs a task and metrics to choose by (task={self.task!r}, "
                f"metrics={self.metrics!r}); set EVAL_TASK and EVAL_METRIC, or SELECTION='last'"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole training run, as `python -m presence_t5x.train` takes it.

    Attributes:
      model: of any family; "first_blocks" among the scored layers of `presence` becomes its own.
      model_dir: everything the run writes.
      initial_checkpoint: whose parameters the run starts with, and whose step it counts on from: a
        MODEL_DIR of this package, a checkpoint or MODEL_DIR of T5X, or a folder of Hugging Face's
        (step 0). The optimizer starts fresh, its second-moment schedule at that step, as T5X
        fine-tunes. None starts with random parameters.
      train_steps: updates, those of the initial checkpoint included.
      train_steps_relative: updates beyond the initial checkpoint's step (T5X's relative_steps), in
        place of `train_steps`, which is 0 then; the run fills that in.
      random_seed: of parameters, dropout, data order and masks.
      z_loss: factor of log(Z)^2 in the token loss.
      checkpoint_seconds: after so many seconds since the last checkpoint another one is saved,
        beside those every `checkpoint_period` steps; None is never. With several hosts it is looked
        at every `log_period` steps. Results do not depend on it.
      stop_seconds: how long the end of a step and its save may take after SIGTERM or Ctrl-C; of
        several hosts, the save at the step that they agree on.
      host_timeout_seconds: a host of several may be silent, or behind the others, for so long
        before they name it and stop.
      max_skipped_updates: after so many skipped updates in a row the run stops and leaves what
        `presence_t5x.replay` needs; None goes on for ever.
      keep_checkpoints: how many are kept, the newest, and the best beside them; None keeps all.
      eval_rows: held-out rows of each language and noise label, at most.
      probe_period: steps between probes of how scores and losses rank those rows; 0 is never.
      influence_log: every unit's documents, score and weight of every step go to
        `influence.parquet`.
    """

    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    presence: PresenceConfig
    temperature: TemperatureConfig
    model_dir: str
    train_steps: int = 0
    train_steps_relative: int | None = None
    initial_checkpoint: str | None = None
    partitioning: PartitioningConfig = PartitioningConfig()
    task_evaluation: TaskEvaluationConfig = TaskEvaluationConfig()
    random_seed: int = 0
    z_loss: float = 1e-4
    checkpoint_period: int = 1000
    checkpoint_seconds: int | None = None
    stop_seconds: int = 120
    host_timeout_seconds: int = 300
    max_skipped_updates: int | None = 10
    keep_checkpoints: int | None = None
    log_period: int = 10
    eval_period: int = 1000
    eval_rows: int = 256
    probe_period: int = 0
    influence_log: bool = False

    def __post_init__(self):
        self._check_parts()
        self._check_rows()
        self._name_first_blocks()
        check_text("model_dir", self.model_dir)
        check_bool("influence_log", self.influence_log)
        if self.influence_log and self.temperature.schedule == UNWEIGHTED:
            raise ValueError(
                "influence_log needs scores, and an unweighted run has none; set "
                "INFLUENCE_LOG=False, or weigh by temperature 0 (TEMPERATURE_SCHEDULE='constant', "
                "TAU_1=0.0)"
            )
        self._check_composition()
        if self.train_steps_relative is None:
            check_int("train_steps", self.train_steps, minimum=1)
        elif self.train_steps:
            raise ValueError(
                f"train_steps={self.train_steps} and train_steps_relative="
                f"{self.train_steps_relative} exclude each other; keep one (TRAIN_STEPS=0, or "
                "TRAIN_STEPS_RELATIVE=None)"
            )
        periods = ("checkpoint_period", "log_period", "eval_period", "eval_rows")
        for name in (*periods, "stop_seconds", "host_timeout_seconds"):
            check_int(name, getattr(self, name), minimum=1)
        check_int("random_seed", self.random_seed, minimum=0, maximum=LARGEST_INT64)
        check_int("probe_period", self.probe_period, minimum=0)
        check_float("z_loss", self.z_loss, minimum=0.0)
        if self.initial_checkpoint is not None:
            check_text("initial_checkpoint", self.initial_checkpoint)
        optional = ("keep_checkpoints", "train_steps_relative", "checkpoint_seconds")
        for name in (*optional, "max_skipped_updates"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), minimum=1)
        rows = self.data.batch_size
        check_num_microbatches(self.presence.num_microbatches, rows, f"batch_size={rows}")

    def _check_parts(self):
        """Refuses other things in the places of settings, as gin puts them there."""
        check_instance("model", self.model, *MODEL_CONFIGS)
        for field in dataclasses.fields(self):
            if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
                check_instance(field.name, getattr(self, field.name), field.type)

    def _check_rows(self):
        """Refuses rows that the model does not read."""
        self.model.check_objective(self.data.objective)
        self.model.row_lengths(self.data.task_feature_lengths)  # says what is wrong
        self._check_answers()

    def _check_answers(self):
        """Refuses tasks that the model cannot answer, or that nothing tells the length of."""
        task = self.task_evaluation.task
        if task is None:
            return
        if self.model.answers is None:
            raise ValueError(
                f"task={task!r}: {type(self.model).__name__} without classes answers nothing; "
                "set EVAL_TASK=None"
            )
        if "inputs" not in self.data.task_feature_lengths:
            raise ValueError(
                f"task={task!r}: rows of objective={self.data.objective!r} have no inputs, so "
                "nothing tells how long those of a task are; set EVAL_TASK=None, or "
                "OBJECTIVE='prefix'"
            )

    def _name_first_blocks(self):
        """Writes out which layers are scored where the model decides."""
        named = []
        for pattern in self.presence.layers:
            named += self.model.first_blocks if pattern == FIRST_BLOCKS else (pattern,)
        presence = dataclasses.replace(self.presence, layers=tuple(named))
        object.__setattr__(self, "presence", presence)

    @property
    def row_lengths(self) -> dict[str, int]:
        """Tokens of a row in each of the model's stacks."""
        return self.model.row_lengths(self.data.task_feature_lengths)

    def counting_from(self, step: int) -> "RunConfig":
        """Returns the run with `train_steps` filled in, if it is given relative to a step."""
        if self.train_steps_relative is None:
            return self
        last = step + self.train_steps_relative
        return dataclasses.replace(self, train_steps=last, train_steps_relative=None)

    def _check_composition(self):
        """Refuses to compose units that are single rows."""
        composition = self.data.microbatch_composition
        if composition != "random" and self.presence.granularity == "example":
            raise ValueError(
                f"microbatch_composition={composition!r} changes nothing where every row is a unit "
                "(granularity='example'); set MICROBATCH_COMPOSITION='random', or GRANULARITY="
                "'microbatch'"
            )
