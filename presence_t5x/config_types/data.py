"""Where rows come from."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from presence_t5x._validate import (
    LARGEST_INT64,
    check_bool,
    check_choice,
    check_float,
    check_int,
    check_mapping,
    check_sequence,
    check_text,
)

# Of a batch or a row: far beyond any, and small enough that products of them do not overflow.
_LARGEST_SIZE = 2**20

COMPOSITIONS = ("random", "language", "source")
# What a model learns from a row, with the lengths of `task_feature_lengths` that make its rows.
OBJECTIVES = {
    "span_corruption": ("inputs", "targets"),
    "masked_tokens": ("inputs",),
    "next_token": ("targets",),
    "prefix": ("inputs", "targets"),
    "classification": ("inputs",),
}
Objective = Literal["span_corruption", "masked_tokens", "next_token", "prefix", "classification"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the rows come from and how they are cut.

    Attributes:
      mixture_or_task_name: a registered seqio task or mixture, e.g. "encyclopedia" or "mc4";
        "local_text" for `local_text_files`, "local_nli_zeroshot" and the like (nli, qa, ner, paws,
        glue_cola, super_glue_boolq ...; zeroshot, multilingual) for `local_task_files`, "prepared"
        for `prepared_stores`.
      task_feature_lengths: {"inputs": tokens, "targets": tokens} of a model row, EOS included; of
        "next_token" the targets alone, of "masked_tokens" and "classification" the inputs alone
        (targets of masked tokens may be given, as long). Rows of "prefix" have both, in line.
      objective: what is learnt from a row. Of text: "span_corruption" (encoder-decoder; of pairs,
        targets from inputs), "masked_tokens" (encoder-only), "next_token" (decoder-only). Of pairs
        of inputs and targets: "prefix" (decoder-only), "classification" (encoder-only).
      label_names: of "classification": what the targets may be, in the order of their numbers; None
        takes the task's own.
      batch_size: rows of a step, over all devices.
      reader: "prepared" (a token store read by index) or "streaming" (seqio/tf.data).
      prepared_dir: where token stores live; None is MODEL_DIR/data.
      prepared_stores: directory, glob or tuple of them, each written by
        `python -m presence_t5x.prepare`; of the task "prepared" only.
      mix_by: what is mixed at rates and counted in epochs: "task", "language" or "source".
      mixing_exponent: rate = number of documents ** exponent (0.3 in mT5); None keeps the rates of
        the tasks, or draws every document of a language or source equally often.
      mixing_rates: given rates by name instead; they must name every task, language or source.
      microbatch_composition: which rows of a step's batch share a microbatch: "random" ones, or as
        many as possible of one "language" or "source". The batch's rows are the same.
      pack: concatenate documents, so that no row is padded (mC4), and let pairs of inputs and
        targets share rows, told apart by segment ids; False keeps one document or pair a row.
        Documents in a row are told apart, too, by all objectives but "span_corruption".
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
      noise_density: share of a row's tokens that span corruption drops, or that are masked.
      mean_noise_span_length: of span corruption, in tokens.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    objective: Objective = "span_corruption"
    label_names: tuple[str, ...] | None = None
    batch_size: int = 128
    reader: Literal["prepared", "streaming"] = "prepared"
    prepared_dir: str | None = None
    prepared_stores: str | tuple[str, ...] | None = None
    mix_by: Literal["task", "language", "source"] = "task"
    mixing_exponent: float | None = None
    mixing_rates: Mapping[str, float] | None = None
    microbatch_composition: Literal["random", "language", "source"] = "random"
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
        self._check_objective()
        check_int("batch_size", self.batch_size, minimum=1, maximum=_LARGEST_SIZE)
        check_choice("reader", self.reader, ("prepared", "streaming"))
        check_bool("pack", self.pack)
        self._check_mixing()
        self._check_composition()
        check_int("seed", self.seed, minimum=0, maximum=LARGEST_INT64)
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

    @property
    def most_targets(self) -> int | None:
        """The most tokens of a row that have a loss; None where all may."""
        lengths = self.task_feature_lengths
        if self.objective == "masked_tokens":
            if self.pack and self.reader == "streaming":  # every document is rounded by itself
                return None
            return max(1, round(lengths["inputs"] * self.noise_density))  # as `mask_rows` does
        if self.objective == "prefix" and not self.pack:
            return lengths["targets"]
        return None

    def _check_objective(self):
        """Refuses lengths that make no row of the objective, and labels that nothing asks for."""
        check_choice("objective", self.objective, OBJECTIVES)
        needed, lengths = OBJECTIVES[self.objective], self.task_feature_lengths
        allowed = {*needed, *(("targets",) if needed == ("inputs",) else ())}
        if not isinstance(lengths, Mapping) or not {*needed} <= {*lengths} <= allowed:
            example = {name: {"inputs": 1024, "targets": 229}[name] for name in needed}
            keys = f"key{'s'[: len(needed) - 1]} {' and '.join(map(repr, needed))}"
            raise ValueError(
                f"task_feature_lengths={lengths!r} must be a dict with the {keys} for "
                f"objective={self.objective!r}, e.g. {example}"
            )
        for feature, length in lengths.items():
            check_int(
                f"task_feature_lengths[{feature!r}]", length, minimum=2, maximum=_LARGEST_SIZE
            )
        if self.objective == "masked_tokens" and len({*lengths.values()}) > 1:
            raise ValueError(
                f"task_feature_lengths={dict(lengths)!r}: objective='masked_tokens' has a target "
                "for every input; leave 'targets' out, or give both the same length"
            )
        if self.pack and self.objective == "classification":
            raise ValueError(
                "objective='classification' packs nothing: a row has one label; set pack=False"
            )
        if self.label_names is None:
            return
        check_sequence("label_names", self.label_names)
        for name in self.label_names:
            check_text("label_names", name)
        if self.objective != "classification":
            raise ValueError(
                f"label_names={self.label_names!r} belongs to objective='classification', not "
                f"{self.objective!r}; remove one of them"
            )
        if len({*self.label_names}) < max(len(self.label_names), 2):
            raise ValueError(
                f"label_names={self.label_names!r} must be at least two different names"
            )

    def _check_mixing(self):
        """Refuses rates that no reader could follow."""
        check_choice("mix_by", self.mix_by, ("task", "language", "source"))
        for pattern in self.store_patterns():
            check_text("prepared_stores", pattern)
        if self.mixing_exponent is not None:
            check_float("mixing_exponent", self.mixing_exponent, minimum=0.0, maximum=1.0)
        if self.mixing_rates is not None:
            check_mapping("mixing_rates", self.mixing_rates)
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

    def _check_composition(self):
        """Refuses to compose what only the host that reads it knows."""
        check_choice("microbatch_composition", self.microbatch_composition, COMPOSITIONS)
        if self.microbatch_composition != "random" and self.reader == "streaming":
            raise ValueError(
                f"microbatch_composition={self.microbatch_composition!r} needs reader='prepared': "
                "of a stream no host knows the rows of the others; prepare the task, or set "
                "microbatch_composition='random'"
            )

    def store_patterns(self) -> tuple[str, ...]:
        """Returns the directories or globs of `prepared_stores`; none if it is not set."""
        if self.prepared_stores is None:
            return ()
        found = self.prepared_stores
        if isinstance(found, str):
            return (found,)
        check_sequence("prepared_stores", found)
        return tuple(found)
