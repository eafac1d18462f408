"""The pre-training run: `python -m presence_t5x.train --gin_file=... --gin.MODEL_DIR='"DIR"'`.

The loop and nothing else; the one place where all modules meet. Running the same command again
continues from the newest checkpoint, bit for bit.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from presence_t5x import held_out, initial_checkpoint, run_log
from presence_t5x.accumulation import rows_of_units
from presence_t5x.checkpoint import Checkpointer, check_resumable
from presence_t5x.command_line import report_error
from presence_t5x.config import (
    config_to_dict,
    config_to_gin,
    flatten_settings,
    load_config,
    parse_arguments,
)
from presence_t5x.config_types import RunConfig
from presence_t5x.convert.content import Content
from presence_t5x.evaluation.during_training import TaskJudge
from presence_t5x.files import write_text_atomically
from presence_t5x.host_memory import keep_freed_memory
from presence_t5x.influence_log import InfluenceLog
from presence_t5x.objective import (
    compile_ready_step,
    gather_parameters,
    initial_state,
    make_mesh,
    make_objective,
    row_loss_fun,
)
from presence_t5x.partitioning import batch_sharding, num_unit_parts
from presence_t5x.train_step import Objective, TrainState
from presence_t5x.vocabulary_table import check_table_is_used, table_rows

# Settings that may change when a run continues: they alter how long and how it is watched.
_FREE_SETTINGS = {
    "model_dir",
    "train_steps",
    "checkpoint_period",
    "keep_checkpoints",
    "log_period",
    "eval_period",
    "eval_rows",
    "probe_period",
    "influence_log",
    "data.prepared_dir",
}


class Run(NamedTuple):
    """A run that passed every check that needs no compilation.

    Attributes:
      tasks: what it answers on the way.
      initial: the checkpoint that the run starts from; None if it is resumed or starts at random.
    """

    config: RunConfig
    settings: dict[str, Any]
    objective: Objective
    batches: Any
    evaluation: list[Any]
    tasks: TaskJudge
    initial: Content | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; a wrong setting ends it with one line and status 2."""
    keep_freed_memory()
    files, bindings, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        if rest:
            raise ValueError(
                f"unknown arguments {rest}; this command takes --gin_file=FILE and --gin.NAME=VALUE"
            )
        run = prepare(load_config(files, bindings))
    except (ValueError, OSError) as error:
        report_error(error)
        return 2
    try:
        train(run)
    except OSError as error:  # a file that is damaged, or a disk that is full
        report_error(error)
        return 1
    return 0


def prepare(config: RunConfig) -> Run:
    """Checks a run and opens its data; compiles nothing.

    Raises:
      ValueError: anything that could be known to be wrong before the first step.
    """
    from presence_t5x.data import evaluation, sources  # these import TensorFlow and seqio

    model_dir = Path(config.model_dir)
    config, initial = initial_checkpoint.resolve(config)
    config = _with_vocabulary(config, sources)
    objective = make_objective(config, make_mesh(config))
    check_resumable(model_dir)
    _check_same_run(config, model_dir)
    root = model_dir / "data"
    say = functools.partial(print, file=sys.stderr, flush=True)
    say(f"opening {config.data.mixture_or_task_name!r} ({config.data.reader})")
    if config.data.mixture_or_task_name.split(".")[0] == "mc4":
        say(sources.describe_mt5_vocabulary(config.data))
    tasks = TaskJudge(config, objective.mesh)
    for line in tasks.describe():
        say(line)
    batches = sources.open_batches(
        config.data,
        prepared_root=root,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        units=rows_of_units(
            config.data.batch_size, config.presence, _num_unit_parts(objective.mesh)
        ),
    )
    for found in getattr(batches, "trimmed", list)():
        if found["inputs"] or found["targets"]:
            say(
                f"{found['group']}: of {found['pairs']:,} pairs {found['inputs']:,} inputs and "
                f"{found['targets']:,} targets are longer than a row and are cut"
            )
    held_out = evaluation.evaluation_batches(
        config.data,
        rows_per_group=config.eval_rows,
        prepared_root=root,
        plant_noise=config.probe_period > 0,
    )
    settings = config_to_dict(config)
    if jax.process_index() == 0:
        write_text_atomically(json.dumps(settings, indent=2) + "\n", model_dir / "config.json")
        write_text_atomically(config_to_gin(config), model_dir / "config.gin")
    return Run(config, settings, objective, batches, held_out, tasks, initial)


def train(run: Run) -> TrainState:
    """Trains until `train_steps`, from the newest checkpoint if there is one; returns the state."""
    config, objective = run.config, run.objective
    checkpointer = Checkpointer(config.model_dir, keep=config.keep_checkpoints)
    state = initial_state(config, objective)
    if run.initial is not None:
        state = initial_checkpoint.start_from(run.initial, state)
    state = _restore(run, checkpointer, state)
    step = int(state.step)
    log = run_log.RunLog(
        Path(config.model_dir),
        resume_step=step,
        total_steps=config.train_steps,
        enabled=jax.process_index() == 0,
    )
    parts = _num_unit_parts(objective.mesh)
    influences = InfluenceLog(config, num_parts=parts, resume_step=step)
    judge = _Judge(run, log)
    run.tasks.resume(step)
    compiled = compile_ready_step(config, objective)
    batches = run.batches.iterate() if step < config.train_steps else ()
    timer = _Timer(step)
    for batch in batches:
        state, metrics = compiled(state, _to_devices(batch.features, objective.mesh))
        step += 1
        influences.add(step, batch, metrics)
        last = step == config.train_steps
        if step % config.log_period == 0 or last:
            metrics = jax.device_get(metrics)
            log.step(step, metrics, timer.lap(step, float(metrics["train/num_tokens"])))
        evaluates = step % config.eval_period == 0 or last
        probes = config.probe_period and (step % config.probe_period == 0 or last)
        if evaluates or probes:
            params = gather_parameters(state.params, objective)
        if evaluates:
            judge.evaluate(step, params)
            run.tasks.evaluate(step, params, log)
            judge.count_epochs(step)
        if probes:
            judge.probe(step, params, final=last)
        if step % config.checkpoint_period == 0 or last or run.tasks.best_step == step:
            log.sync()
            influences.write()
            checkpointer.best_step = run.tasks.best_step
            checkpointer.save(state, run.batches.get_state(), run.settings)
            run.tasks.record()
        if last:
            break
        if evaluates or step % config.checkpoint_period == 0:
            timer = _Timer(step)
    checkpointer.close()
    run.tasks.record()
    log.say(f"done: step {step}, results in {config.model_dir}")
    log.close()
    return state


class _Judge:
    """Evaluates and probes the run's held-out rows."""

    def __init__(self, run: Run, log: run_log.RunLog):
        self._run, self._log = run, log
        self._losses = held_out.loss_rows(row_loss_fun(run.config))
        self._scores = held_out.score_rows(row_loss_fun(run.config), run.config.presence)

    def evaluate(self, step: int, params: PyTree) -> None:
        """Logs the mean token loss of every language and noise label."""
        if not self._run.evaluation:
            return
        rows = held_out.run_rows(self._losses, params, self._run.evaluation)
        self._log.rows(run_log.EVALUATION, step, held_out.mean_losses(rows), "eval/loss", "loss")

    def count_epochs(self, step: int) -> None:
        """Logs how often the rows of each task, language or source of the mixture were seen."""
        epochs_at = getattr(self._run.batches, "epochs_at", None)  # a stream does not know
        if epochs_at is not None:
            rows = epochs_at(step)
            self._log.rows(run_log.EPOCHS, step, rows, "data/epochs", "epochs", ("group",))

    def probe(self, step: int, params: PyTree, *, final: bool) -> None:
        """Logs how well scores and losses rank noise above clean text."""
        if not self._run.evaluation:
            return
        rows = held_out.run_rows(self._scores, params, self._run.evaluation)
        separations = held_out.separations(rows)
        self._log.rows(run_log.PROBE, step, separations, "probe/auroc_score", "auroc_score")
        if final and jax.process_index() == 0:
            path = Path(self._run.config.model_dir) / run_log.PROBE_SCORES
            lines = [json.dumps(row) for row in held_out.score_table(rows, step)]
            write_text_atomically("\n".join(lines) + "\n", path)


class _Timer:
    """Seconds per step since the last lap; the device has finished when a lap is taken."""

    def __init__(self, step: int):
        self._step, self._start = step, time.perf_counter()

    def lap(self, step: int, num_tokens: float) -> dict[str, float]:
        """Returns the time a step took since the last lap, and target tokens per second."""
        now = time.perf_counter()
        seconds = (now - self._start) / max(step - self._step, 1)
        self._step, self._start = step, now
        return {"seconds_per_step": seconds, "tokens_per_second": num_tokens / seconds}


def _with_vocabulary(config: RunConfig, sources) -> RunConfig:
    """Returns the run with the model's table sized, after every check of its data."""
    table = config.model.vocab_size
    vocabulary = sources.check_data(config.data, sys.maxsize if table is None else table)
    if table is None:
        model = dataclasses.replace(config.model, vocab_size=table_rows(vocabulary.vocab_size))
        return dataclasses.replace(config, model=model)
    check_table_is_used(config.data.mixture_or_task_name, vocabulary.vocab_size, table)
    return config


def _check_same_run(config: RunConfig, model_dir: Path) -> None:
    """Refuses a MODEL_DIR that was written with other settings, and names them."""
    file = model_dir / "config.json"
    if not file.exists():
        return
    try:
        found = flatten_settings(json.loads(file.read_text()))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); choose another MODEL_DIR") from error
    wanted = flatten_settings(config_to_dict(config))
    differing = [
        f"{name}={found.get(name)!r} there, {wanted.get(name)!r} here"
        for name in sorted(found.keys() | wanted.keys())
        if name not in _FREE_SETTINGS and found.get(name) != wanted.get(name)
    ]
    if differing:
        raise ValueError(
            f"{model_dir} holds a run with other settings: {'; '.join(differing)}. Choose another "
            "MODEL_DIR, or the settings of that run"
        )


def _restore(run: Run, checkpointer: Checkpointer, state: TrainState) -> TrainState:
    """Returns the newest checkpoint's state, with the batches set behind it, or the state given."""
    if checkpointer.latest_step() is None:
        return state
    restored = checkpointer.restore(state)
    if restored.data_state:  # a converted checkpoint has none
        run.batches.set_state(restored.data_state)
    return restored.state


def _num_unit_parts(mesh: jax.sharding.Mesh | None) -> int:
    """Returns how many devices, or groups of them, hold rows of their own."""
    return 1 if mesh is None else num_unit_parts(mesh)


def _to_devices(features: dict[str, np.ndarray], mesh) -> dict[str, Any]:
    """Returns this process's rows as (part of) global arrays sharded over the data axis."""
    if mesh is None:
        return features
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in features.items()
    }


if __name__ == "__main__":
    sys.exit(main())
