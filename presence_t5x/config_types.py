"""The settings of a run: frozen keyword-only dataclasses, validated on construction.

Each class is what one part of the package takes; `config.load_config` builds them from gin files.
Nothing here touches a device, and the core (`influence`, `weighting`, `accumulation`) takes these
types without needing gin, seqio or TensorFlow.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from presence_t5x._validate import (
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_text,
)

GRANULARITIES = ("microbatch", "shard", "example")
NORMALIZERS = ("batch", "ema", "none")
ACCUMULATORS = ("stored", "streaming")
ROW_ORDERS = ("strided", "contiguous")
SCORES = ("self_influence", "loss")
SCORE_LOSSES = ("mean", "sum")
REMAT_POLICIES = ("none", "elementwise", "attention", "minimal", "full")
SCHEDULES = (
    "two_stage",
    "constant",
    "linear",
    "cosine",
    "piecewise",
    "learning_rate",
    "unweighted",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PresenceConfig:
    """What is a unit, how it is scored, and how its gradient is accumulated.

    Attributes:
      num_microbatches: slices of a step's batch that are differentiated one after another.
      layers: path patterns over whole segments (globs within a segment) of the scored parameters.
        "encoder/layers_0" also names element 0 of a scanned stack.
      granularity: what gets one score: "microbatch" (the paper), "shard" (the part of a microbatch
        on one data shard) or "example" (a row).
      normalizer: "batch" (this step's scores, the paper), "ema" (previous steps) or "none".
      accumulator: "stored" keeps microbatch gradients until the weights are known; "streaming"
        keeps one weighted sum. They apply to "microbatch" and "shard"; per-example weights are
        known before a microbatch's weighted gradient is formed: "example" never stores any.
      score: "self_influence", "loss", or a function of (selected gradients by path, loss sum,
        token count) to a scalar.
      score_loss: "mean" scores the gradient of a unit's mean token loss, "sum" of its summed loss
        (the paper and T5X).
      loss_normalizer: the constant C that divides every gradient: None (1), a positive number, or
        "num_real_target_tokens" of the whole batch.
      row_order: "strided" (unit i = rows i, i + n, ...) or "contiguous" (T5X).
      epsilon: relative to the squared mean score, under the root of the normalisation.
      max_abs_z: clips normalised scores; "default" is None for "microbatch" and 3.0 otherwise.
      target_effective_sample_size: in units; chooses |temperature| each step (normalizer "batch").
      ema_decay: of the score moments that normalizer "ema" uses.
      gradient_dtype: in which a microbatch's gradient is stored and sums cross devices;
        "bfloat16" halves both. Sums over microbatches are kept in float32 either way.

    Raises:
      ValueError: a value out of its bounds, or a combination that cannot be exact, with the remedy.
    """

    num_microbatches: int = 8
    layers: Sequence[str] = ("encoder/layers_0", "decoder/layers_0")
    granularity: Literal["microbatch", "shard", "example"] = "microbatch"
    normalizer: Literal["batch", "ema", "none"] = "batch"
    accumulator: Literal["stored", "streaming"] = "stored"
    score: str | Callable[..., Any] = "self_influence"
    score_loss: Literal["mean", "sum"] = "mean"
    loss_normalizer: float | str | None = None
    row_order: Literal["strided", "contiguous"] = "strided"
    epsilon: float = 1e-8
    max_abs_z: float | str | None = "default"
    target_effective_sample_size: float | None = None
    ema_decay: float = 0.99
    gradient_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_int("num_microbatches", self.num_microbatches, minimum=1)
        check_choice("granularity", self.granularity, GRANULARITIES)
        check_choice("normalizer", self.normalizer, NORMALIZERS)
        check_choice("accumulator", self.accumulator, ACCUMULATORS)
        check_choice("score_loss", self.score_loss, SCORE_LOSSES)
        check_choice("row_order", self.row_order, ROW_ORDERS)
        check_choice("gradient_dtype", self.gradient_dtype, ("float32", "bfloat16"))
        check_float("epsilon", self.epsilon, minimum=0.0)
        check_float("ema_decay", self.ema_decay, minimum=0.0, maximum=1.0 - 1e-7)
        if not callable(self.score):
            check_choice("score", self.score, SCORES)
        self._check_layers()
        self._check_loss_normalizer()
        self._check_sharpness()
        self._check_exactness()

    def _check_layers(self):
        layers = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
        if not layers:
            raise ValueError(
                "layers=() selects nothing; name at least one path, e.g. 'encoder/layers_0'"
            )
        for pattern in layers:
            check_text("layers", pattern)
        object.__setattr__(self, "layers", layers)

    def _check_loss_normalizer(self):
        value = self.loss_normalizer
        if isinstance(value, str):
            if value.lower() != "num_real_target_tokens":
                raise ValueError(
                    f"loss_normalizer={value!r} must be None, a positive number or "
                    "'num_real_target_tokens'; a normaliser of each microbatch or sequence would "
                    "turn the gradient (one constant divides the whole step here)"
                )
            object.__setattr__(self, "loss_normalizer", value.lower())
        elif value is not None:
            check_float("loss_normalizer", value, minimum=0.0, exclusive_minimum=True)

    def _check_sharpness(self):
        if self.max_abs_z not in (None, "default"):
            check_float("max_abs_z", self.max_abs_z, minimum=0.0, exclusive_minimum=True)
        if self.target_effective_sample_size is not None:
            check_float(
                "target_effective_sample_size", self.target_effective_sample_size, minimum=1.0
            )
            if self.normalizer != "batch":
                raise ValueError(
                    f"target_effective_sample_size needs every score before the weights; set "
                    f"normalizer='batch' (it is {self.normalizer!r})"
                )

    def _check_exactness(self):
        if self.granularity == "shard":
            if self.normalizer == "batch":
                raise ValueError(
                    "granularity='shard' cannot use normalizer='batch' (its scores are known one "
                    "microbatch at a time); set normalizer='ema' or 'none'"
                )
            if self.accumulator != "streaming":
                raise ValueError(
                    "granularity='shard' keeps no unit gradients; set accumulator='streaming'"
                )
        if (
            self.granularity == "microbatch"
            and self.accumulator == "streaming"
            and self.normalizer == "batch"
        ):
            raise ValueError(
                "accumulator='streaming' cannot be exact with normalizer='batch': z needs every "
                "score of the step first; set accumulator='stored', or normalizer='ema' or 'none'"
            )

    @property
    def score_clip(self) -> float | None:
        """The bound on |z| after the default for the granularity is filled in."""
        if self.max_abs_z == "default":
            return None if self.granularity == "microbatch" else 3.0
        return self.max_abs_z  # pyright: ignore[reportReturnType]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemperatureConfig:
    """Temperature over steps (Thakkar et al. 2023, section 4.2; the other schedules are ours).

    Attributes:
      schedule: "two_stage" (temperature_1 before `switch_step`, temperature_2 from it on; the first
        `switch_step` updates use temperature_1), "constant" (temperature_1), "linear" and "cosine"
        (from temperature_1 at step 0 to temperature_2 at `switch_step`), "piecewise" (linear
        between `points`), "learning_rate" (temperature_1 times learning rate over its peak), or
        "unweighted" (no score is computed: the plain step).
      points: (step, temperature) pairs of "piecewise", in order of step.
    """

    schedule: str = "two_stage"
    temperature_1: float = 1.0
    temperature_2: float = -1.0
    switch_step: int = 100_000
    points: Sequence[tuple[int, float]] = ()

    def __post_init__(self):
        check_choice("schedule", self.schedule, SCHEDULES)
        check_float("temperature_1", self.temperature_1)
        check_float("temperature_2", self.temperature_2)
        check_int("switch_step", self.switch_step, minimum=0)
        if self.schedule in ("linear", "cosine"):
            check_int("switch_step", self.switch_step, minimum=1)
        if (self.schedule == "piecewise") != bool(self.points):
            raise ValueError(
                f"points={self.points!r} belong to schedule='piecewise' and are needed there "
                f"(schedule={self.schedule!r})"
            )
        for step, temperature in self.points:
            check_int("points: step", step, minimum=0)
            check_float("points: temperature", temperature)
        if list(self.points) != sorted(self.points, key=lambda point: point[0]):
            raise ValueError(f"points={self.points!r} must be in order of step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
    """Sizes of a T5.1.1/mT5 encoder-decoder; parameters are always float32.

    Attributes:
      vocab_size: rows of the embedding table; None is filled in by the run: the vocabulary's size,
        rounded up to a multiple of 128.
      dtype: of activations, "float32" or "bfloat16"; logits are always float32.
      position_biases_per_layer: every layer has its own table of relative positions, as in umT5 and
        T5X's `scalable_t5`; otherwise the layers of a stack share one (T5, mT5).
      scan_layers: layer weights stacked along axis 1 instead of `layers_0`, `layers_1`, ...
      remat_policy: what the backward pass recomputes: "none", "elementwise" (all but matrix
        products), "attention" (also queries times keys: the logits are a layer's largest array),
        "minimal" (all products between activations) or "full" (each layer from its input).
    """

    vocab_size: int | None = None
    emb_dim: int = 512
    num_heads: int = 6
    head_dim: int = 64
    mlp_dim: int = 1024
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    mlp_activations: Sequence[str] = ("gelu", "linear")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    dropout_rate: float = 0.0
    logits_via_embedding: bool = False
    float32_attention_logits: bool = False
    position_biases_per_layer: bool = False
    scan_layers: bool = False
    remat_policy: Literal["none", "elementwise", "attention", "minimal", "full"] = "none"

    def __post_init__(self):
        if self.vocab_size is not None:
            check_int("vocab_size", self.vocab_size, minimum=1)
        for name in ("emb_dim", "num_heads", "head_dim", "mlp_dim"):
            check_int(name, getattr(self, name), minimum=1)
        check_int("num_encoder_layers", self.num_encoder_layers, minimum=1)
        check_int("num_decoder_layers", self.num_decoder_layers, minimum=1)
        for activation in self.mlp_activations:
            check_choice("mlp_activations", activation, ("gelu", "relu", "silu", "linear"))
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        check_float("dropout_rate", self.dropout_rate, minimum=0.0, maximum=0.99)
        check_choice("remat_policy", self.remat_policy, REMAT_POLICIES)
        for name in (
            "logits_via_embedding",
            "float32_attention_logits",
            "position_biases_per_layer",
            "scan_layers",
        ):
            check_bool(name, getattr(self, name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How targets are generated.

    Attributes:
      max_length: of targets, in tokens, the end-of-sequence token included.
      num_beams: hypotheses a row that beam search goes on with; None decodes greedily.
      alpha: exponent of beam search's length penalty; 0 compares summed log-probabilities.
      eos_id: ends a sequence.
      convention: whose beam search: "t5x" (alpha 0.6 by default there) or "huggingface" (alpha is
        its length_penalty, 1 by default); `decode.search_rules` tells how they differ.
    """

    max_length: int
    num_beams: int | None = None
    alpha: float = 0.6
    eos_id: int = 1
    convention: Literal["t5x", "huggingface"] = "t5x"

    def __post_init__(self):
        check_int("max_length", self.max_length, minimum=1)
        if self.num_beams is not None:
            check_int("num_beams", self.num_beams, minimum=1)
        check_float("alpha", self.alpha, minimum=0.0)
        check_int("eos_id", self.eos_id, minimum=1)
        check_choice("convention", self.convention, ("t5x", "huggingface"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer and learning-rate schedule, with T5X's names.

    Attributes:
      name: "adafactor" (as T5X runs it) or "adamw".
      factors: learning-rate factors joined by "*": constant, linear_warmup, linear_decay,
        rsqrt_decay, rsqrt_normalized_decay, decay_every, cosine_decay.
      warmup_steps: of linear_warmup, and the plateau of rsqrt_decay.
      decay_rate: exponent of Adafactor's second-moment schedule.
      step_offset: Adafactor's second-moment schedule counts from here (fine-tuning).
    """

    name: Literal["adafactor", "adamw"] = "adafactor"
    factors: str = "constant * rsqrt_decay"
    base_learning_rate: float = 1.0
    warmup_steps: int = 10_000
    decay_factor: float = 0.5
    steps_per_decay: int = 20_000
    steps_per_cycle: int = 100_000
    decay_rate: float = 0.8
    step_offset: int = 0
    multiply_by_parameter_scale: bool = True
    clipping_threshold: float | None = 1.0
    min_dim_size_to_factor: int = 128
    b1: float = 0.9
    b2: float = 0.999
    weight_decay: float = 0.0

    def __post_init__(self):
        check_choice("name", self.name, ("adafactor", "adamw"))
        check_text("factors", self.factors)
        check_float("base_learning_rate", self.base_learning_rate, minimum=0.0)
        for name in ("warmup_steps", "step_offset"):
            check_int(name, getattr(self, name), minimum=0)
        for name in ("steps_per_decay", "steps_per_cycle", "min_dim_size_to_factor"):
            check_int(name, getattr(self, name), minimum=1)
        check_float("decay_factor", self.decay_factor, minimum=0.0)
        check_float("decay_rate", self.decay_rate, minimum=0.0)
        check_bool("multiply_by_parameter_scale", self.multiply_by_parameter_scale)
        if self.clipping_threshold is not None:
            check_float(
                "clipping_threshold", self.clipping_threshold, minimum=0.0, exclusive_minimum=True
            )
        check_float("b1", self.b1, minimum=0.0, maximum=1.0)
        check_float("b2", self.b2, minimum=0.0, maximum=1.0)
        check_float("weight_decay", self.weight_decay, minimum=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the rows come from and how they are cut.

    Attributes:
      mixture_or_task_name: a registered seqio task or mixture, e.g. "encyclopedia" or "mc4";
        "local_text" for `local_text_files`, "local_nli_zeroshot" and the like (nli, qa, ner, paws;
        zeroshot, multilingual) for `local_task_files`, "prepared" for `prepared_stores`.
      task_feature_lengths: {"inputs": tokens, "targets": tokens} of a model row, EOS included.
      batch_size: rows of a step, over all devices.
      reader: "prepared" (a token store read by index) or "streaming" (seqio/tf.data).
      prepared_dir: where token stores live; None is MODEL_DIR/data.
      prepared_stores: directory, glob or tuple of them, each written by
        `python -m presence_t5x.prepare`; of the task "prepared" only.
      mix_by: what is mixed at rates and counted in epochs: "task", "language" or "source".
      mixing_exponent: rate = number of documents ** exponent (0.3 in mT5); None keeps the rates of
        the tasks, or draws every document of a language or source equally often.
      mixing_rates: given rates by name instead; they must name every task, language or source.
      pack: concatenate documents, so that no row is padded (mC4), and let pairs of inputs and
        targets share rows, told apart by segment ids; False keeps one document or pair a row.
      local_text_files: glob of the task "local_text"; None otherwise.
      local_task_files: of labelled examples (JSON lines), for the tasks "local_...": a glob of
        files whose names tell train, dev and test, or {"train": glob, "validation": glob, "test":
        glob}; a glob may end in a share of the lines, "dev.*.jsonl[:80%]".
      vocabulary_file: a SentencePiece model or "bytes" for files of your own and for fine-tuning
        tasks, or a local copy of mT5's model for "mc4"; None keeps the task's own.
      mc4_version: of TFDS c4/multilingual, for "mc4": "3.1.0" is what TFDS builds, "3.0.1" (the
        mT5 paper's) is read where it is already prepared.
      tydi_qa_version: of TFDS tydi_qa/goldp, for "mt5_tydiqa...": "3.0.0" is what TFDS builds,
        "2.1.0" (mT5's) is read where it is already prepared.
      seed: of order, masks and noise.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    batch_size: int = 128
    reader: Literal["prepared", "streaming"] = "prepared"
    prepared_dir: str | None = None
    prepared_stores: str | tuple[str, ...] | None = None
    mix_by: Literal["task", "language", "source"] = "task"
    mixing_exponent: float | None = None
    mixing_rates: Mapping[str, float] | None = None
    pack: bool = False
    local_text_files: str | None = None
    local_task_files: str | Mapping[str, str] | None = None
    vocabulary_file: str | None = None
    mc4_version: str = "3.1.0"
    tydi_qa_version: str = "3.0.0"
    seed: int = 0
    noise_density: float = 0.15
    mean_noise_span_length: float = 3.0

    def __post_init__(self):
        check_text("mixture_or_task_name", self.mixture_or_task_name)
        if not isinstance(self.task_feature_lengths, Mapping) or set(self.task_feature_lengths) != {
            "inputs",
            "targets",
        }:
            raise ValueError(
                f"task_feature_lengths={self.task_feature_lengths!r} must be a dict with the keys "
                "'inputs' and 'targets', e.g. {'inputs': 1024, 'targets': 229}"
            )
        for feature, length in self.task_feature_lengths.items():
            check_int(f"task_feature_lengths[{feature!r}]", length, minimum=2)
        check_int("batch_size", self.batch_size, minimum=1)
        check_choice("reader", self.reader, ("prepared", "streaming"))
        check_bool("pack", self.pack)
        self._check_mixing()
        check_int("seed", self.seed, minimum=0)
        check_float(
            "noise_density", self.noise_density, minimum=0.0, maximum=0.99, exclusive_minimum=True
        )
        check_float("mean_noise_span_length", self.mean_noise_span_length, minimum=1.0)
        for name in ("prepared_dir", "local_text_files", "vocabulary_file"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        if self.local_task_files is not None:
            files = self.local_task_files
            for pattern in files.values() if isinstance(files, Mapping) else (files,):
                check_text("local_task_files", pattern)
        for name in ("mc4_version", "tydi_qa_version"):
            version = getattr(self, name)
            check_text(name, version)
            if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version):
                raise ValueError(
                    f"{name}={version!r} must be three numbers joined by points, e.g. '3.1.0'"
                )

    def _check_mixing(self):
        """Refuses rates that no reader could follow."""
        check_choice("mix_by", self.mix_by, ("task", "language", "source"))
        for pattern in self.store_patterns():
            check_text("prepared_stores", pattern)
        if self.mixing_exponent is not None:
            check_float("mixing_exponent", self.mixing_exponent, minimum=0.0, maximum=1.0)
        for name, rate in (self.mixing_rates or {}).items():
            check_float(f"mixing_rates[{name!r}]", rate, minimum=0.0)
        if self.mixing_rates is not None and self.mixing_exponent is not None:
            raise ValueError(
                f"mixing_exponent={self.mixing_exponent} and mixing_rates={self.mixing_rates!r} "
                "exclude each other; keep one"
            )
        mixes = self.mix_by != "task" or self.mixing_exponent is not None or self.mixing_rates
        if mixes and self.reader == "streaming":
            raise ValueError(
                "mix_by, mixing_exponent and mixing_rates need reader='prepared'; a streamed "
                "mixture has the rates of its registration"
            )

    def store_patterns(self) -> tuple[str, ...]:
        """Returns the directories or globs of `prepared_stores`; none if it is not set."""
        if self.prepared_stores is None:
            return ()
        found = self.prepared_stores
        return (found,) if isinstance(found, str) else tuple(found)


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
        an evaluation is their mean, each averaged over languages.
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
      keep_checkpoints: how many are kept, the newest, and the best beside them; None keeps all.
      eval_rows: held-out rows of each language and noise label, at most.
      probe_period: steps between probes of how scores and losses rank those rows; 0 is never.
    """

    model: T5Config
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
    keep_checkpoints: int | None = None
    log_period: int = 10
    eval_period: int = 1000
    eval_rows: int = 256
    probe_period: int = 0

    def __post_init__(self):
        check_text("model_dir", self.model_dir)
        if self.train_steps_relative is None:
            check_int("train_steps", self.train_steps, minimum=1)
        elif self.train_steps:
            raise ValueError(
                f"train_steps={self.train_steps} and train_steps_relative="
                f"{self.train_steps_relative} exclude each other; keep one (TRAIN_STEPS=0, or "
                "TRAIN_STEPS_RELATIVE=None)"
            )
        for name in ("checkpoint_period", "log_period", "eval_period", "eval_rows"):
            check_int(name, getattr(self, name), minimum=1)
        for name in ("random_seed", "probe_period"):
            check_int(name, getattr(self, name), minimum=0)
        check_float("z_loss", self.z_loss, minimum=0.0)
        if self.initial_checkpoint is not None:
            check_text("initial_checkpoint", self.initial_checkpoint)
        for name in ("keep_checkpoints", "train_steps_relative"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), minimum=1)
        if self.data.batch_size % self.presence.num_microbatches:
            divisors = [
                n
                for n in range(1, 1 + min(64, self.data.batch_size))
                if self.data.batch_size % n == 0
            ]
            raise ValueError(
                f"num_microbatches={self.presence.num_microbatches} must divide "
                f"batch_size={self.data.batch_size}; use one of {divisors}"
            )

    def counting_from(self, step: int) -> "RunConfig":
        """Returns the run with `train_steps` filled in, if it is given relative to a step."""
        if self.train_steps_relative is None:
            return self
        last = step + self.train_steps_relative
        return dataclasses.replace(self, train_steps=last, train_steps_relative=None)
