"""A plan as commands: every unit of work that its tables need.

The fingerprint of a unit covers its command, every setting of its run (gin files included) and the
fingerprints of what it needs; where the plan's directory lies and which commit runs are not part of
it. Every gin file is loaded here, so that a wrong setting is known before anything runs.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from presence_t5x.config import config_to_dict, load_config
from presence_t5x.config_types import RunConfig
from presence_t5x.planning.analytic import weighted_training_flops
from presence_t5x.reproduction.arguments import data_arguments, gin_argument
from presence_t5x.reproduction.plan_parts import (
    TRAIN_STEPS,
    Evaluation,
    Filtering,
    Finetuning,
    Preparation,
    Pretraining,
)
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.units import MODEL_DIR, OUTPUT, Cell, Trained, Unit, Work

SCORES_DIR = "evaluation"
_SCORES, _STORE = "scores.parquet", "store"


def expand(plan: Plan) -> Work:
    """Returns the units of a plan; what several cells need is there once.

    Raises:
      ValueError: a gin file or setting that a run would refuse, or two units of one name.
    """
    builder = _Builder(plan)  # adds what is needed before what needs it
    for seed in range(max(map(plan.num_seeds, plan.pretrainings))):
        for found in plan.judged_by_loss():
            if seed < plan.num_seeds(found):
                builder.add_trained(found, seed)
        for run in plan.runs():
            if seed < plan.num_seeds(run.pretraining):
                for evaluation in run.evaluations:
                    builder.add_cell(run.pretraining, run.finetuning, evaluation, seed)
    return Work(tuple(builder.units.values()), tuple(builder.cells), tuple(builder.trained))


class _Builder:
    """Collects units by name."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.units: dict[str, Unit] = {}
        self.cells: list[Cell] = []
        self.trained: list[Trained] = []
        self._flops: dict[str, int] = {}

    def add_trained(self, pretraining: Pretraining, seed: int) -> None:
        """Adds a pre-training that is judged by itself."""
        name = self._pretraining(pretraining, seed)
        self.trained.append(Trained(pretraining.name, seed, name))

    def add_cell(
        self, pretraining: Pretraining, finetuning: Finetuning, evaluation: Evaluation, seed: int
    ) -> None:
        """Adds an evaluation and all that it needs."""
        trained = self._pretraining(pretraining, seed)
        tuned = self._finetuning(pretraining, finetuning, seed, trained)
        needed, extra = tuned, ()
        if pretraining.only_evaluated:
            needed = trained
            call = self._finetuning_call(pretraining, finetuning, seed, trained)
            extra = data_arguments(config_to_dict(self._resolve(*call))["data"])
        name = _path("evaluate", pretraining.name, finetuning.name, evaluation.mixture, seed)
        arguments = (
            f"--checkpoint={OUTPUT}/{needed}/{MODEL_DIR}",
            f"--select={evaluation.select}",
            f"--task={evaluation.mixture}",
            f"--split={evaluation.split}",
            f"--output_dir={OUTPUT}/{name}/{SCORES_DIR}",
            *extra,
            *evaluation.arguments,
        )
        self._add(name, "presence_t5x.evaluate", arguments, (needed,))
        cell = Cell(pretraining.name, finetuning.setting, seed, evaluation, f"{name}/{SCORES_DIR}")
        self.cells.append(cell)

    def _pretraining(self, found: Pretraining, seed: int) -> str:
        name = _path("pretrain", found.name, seed)
        settings = {"MODEL_DIR": f"{OUTPUT}/{name}/{MODEL_DIR}", "RANDOM_SEED": seed}
        needs: tuple[str, ...] = ()
        if found.filtered is not None:
            needs = (self._filter(found.name, found.filtered, seed),)
            settings["PREPARED_STORES"] = f"{OUTPUT}/{needs[0]}/{_STORE}"
        settings = {**found.settings, **self._lengths(found), **settings}
        self._add_training(name, found.gin_files, settings, needs)
        return name

    def _lengths(self, found: Pretraining) -> dict[str, int]:
        """A pre-training's numbers of steps in the plan's proportion."""
        steps = self.plan.steps
        if steps is None:
            return {}
        share = steps.share
        if steps.equal_flops_of:
            reference = self.plan.pretraining(steps.equal_flops_of)
            share *= self._training_flops(reference) / self._training_flops(found)
        exact = {n: found.settings[n] * share for n in steps.macros if n in found.settings}
        # Phases are rounded up, so that no cycle of a learning rate starts anew at the last step.
        return {
            name: max(1, round(number)) if name == TRAIN_STEPS else math.ceil(number)
            for name, number in exact.items()
        }

    def _training_flops(self, found: Pretraining) -> int:
        """What the steps that a pre-training's settings ask for cost.

        Raises:
          ValueError: as `load_config`, or the vocabulary has no size yet.
        """
        if found.name not in self._flops:
            run = self._resolve(found.gin_files, {"MODEL_DIR": OUTPUT, **found.settings})
            flops = weighted_training_flops(run) * found.settings[TRAIN_STEPS]
            self._flops[found.name] = flops
        return self._flops[found.name]

    def _filter(self, name: str, found: Filtering, seed: int) -> str:
        """Adds the corpus of a pre-training, and the scores that it is chosen by."""
        scorer = self._pretraining(self.plan.pretraining(found.scorer), seed)
        corpus = re.sub(r"\W+", "_", found.corpus).strip("_")
        scores = _path("score", found.scorer, corpus, seed)
        arguments = (
            f"--checkpoint={OUTPUT}/{scorer}/{MODEL_DIR}",
            f"--input={found.corpus}",
            f"--output={OUTPUT}/{scores}/{_SCORES}",
            *found.score_arguments,
        )
        self._add(scores, "presence_t5x.score", arguments, (scorer,))
        filtered = _path("filter", name, seed)
        arguments = (
            f"--scores={OUTPUT}/{scores}/{_SCORES}",
            f"--output={OUTPUT}/{filtered}/{_STORE}",
            f"--seed={seed}",
            *found.arguments,
        )
        self._add(filtered, "presence_t5x.filter", arguments, (scores,))
        return filtered

    def _finetuning(
        self, pretraining: Pretraining, found: Finetuning, seed: int, trained: str
    ) -> str:
        name = _path("finetune", pretraining.name, found.name, seed)
        if not pretraining.only_evaluated:
            call = self._finetuning_call(pretraining, found, seed, trained)
            self._add_training(name, *call, (trained,))
        return name

    def _finetuning_call(
        self, pretraining, found, seed, trained
    ) -> tuple[list[str], dict[str, Any]]:
        """The gin files and the macros of a fine-tuning."""
        name = _path("finetune", pretraining.name, found.name, seed)
        settings = {
            "MODEL_DIR": f"{OUTPUT}/{name}/{MODEL_DIR}",
            "INITIAL_CHECKPOINT": f"{OUTPUT}/{trained}/{MODEL_DIR}",
            "RANDOM_SEED": seed,
        }
        gin_files = [file.replace("{model}", pretraining.model) for file in found.gin_files]
        return gin_files, {**found.settings, **settings}

    def _add_training(
        self,
        name: str,
        gin_files: Sequence[str],
        settings: Mapping[str, Any],
        needs: tuple[str, ...],
    ) -> None:
        bindings = (gin_argument(macro, value) for macro, value in settings.items())
        # A training that SIGTERM stopped is saved, but not done.
        files = (f"--gin_file={file}" for file in gin_files)
        arguments = (*files, *bindings, "--stopped_status=1")
        needs = (*needs, *map(self._preparation, self.plan.preparations))
        if self._is_there(name, arguments):
            return
        run = self._resolve(gin_files, settings)
        flops = None if run.model.vocab_size is None else weighted_training_flops(run)
        self._add(name, "presence_t5x.train", arguments, needs, config_to_dict(run), flops)

    def _preparation(self, found: Preparation) -> str:
        name = _path("prepare", found.name)
        self._add(name, "presence_t5x.prepare", tuple(found.arguments), ())
        return name

    def _resolve(self, gin_files: Sequence[str], settings: Mapping[str, Any]) -> RunConfig:
        """All settings of a run.

        Raises:
          ValueError: as `load_config`.
        """
        bindings = [gin_argument(*item).removeprefix("--gin.") for item in settings.items()]
        try:
            return load_config(gin_files, bindings)
        except ValueError as error:
            raise ValueError(f"plan {self.plan.name!r}, {gin_files[0]}: {error}") from error

    def _is_there(self, name: str, arguments: tuple[str, ...]) -> bool:
        """Whether a unit was added already.

        Raises:
          ValueError: another one has its name, and would share its directory.
        """
        known = self.units[name].arguments if name in self.units else arguments
        if known != arguments:
            differing = [
                word for word in (*known, *arguments) if (word in known) != (word in arguments)
            ]
            raise ValueError(
                f"plan {self.plan.name!r}: two commands would write to {name}, and differ in "
                f"{differing}; let their finetuning, mixture, scorer or corpus differ, too"
            )
        return name in self.units

    def _add(
        self,
        name: str,
        module: str,
        arguments: tuple[str, ...],
        needs: tuple[str, ...],
        settings: Mapping[str, Any] = MappingProxyType({}),
        step_flops: int | None = None,
    ) -> None:
        if self._is_there(name, arguments):
            return
        known = {need: self.units[need].fingerprint for need in needs}
        fingerprint = _digest([module, arguments, known, settings])
        self.units[name] = Unit(
            name=name,
            module=module,
            arguments=arguments,
            needs=needs,
            fingerprint=fingerprint,
            settings=settings,
            step_flops=step_flops,
        )


def _path(kind: str, *parts: str | int) -> str:
    """A unit's name; the last part is its seed where it is a number."""
    *names, last = parts
    return "/".join([kind, *map(str, names), f"seed{last}" if isinstance(last, int) else last])


def _digest(content: Sequence[Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
