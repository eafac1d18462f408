"""The pre-training run: `python -m presence_t5x.train --gin_file=... --gin.MODEL_DIR='"DIR"'`.

The loop and nothing else; the one place where all modules meet. Running the same command again
continues from the newest checkpoint, bit for bit, whatever ended it.
"""

import argparse
import functools
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from presence_t5x import initial_checkpoint, run_log
from presence_t5x.checkpointer import Checkpointer, SaveError
from presence_t5x.command_line import OneLineParser, report_error
from presence_t5x.config import load_config, parse_arguments
from presence_t5x.config_types import RunConfig
from presence_t5x.evaluation.held_out_judge import HeldOutJudge
from presence_t5x.host_memory import keep_freed_memory
from presence_t5x.host_rows import host_rows
from presence_t5x.influence_log import InfluenceLog
from presence_t5x.objective import (
    abstract_state,
    compile_ready_step,
    gather_parameters,
    initial_state,
)
from presence_t5x.opened_run import Run, prepare
from presence_t5x.partitioning import batch_sharding
from presence_t5x.resilience import hosts
from presence_t5x.resilience.bad_steps import save_bad_step
from presence_t5x.resilience.connecting import add_host_arguments, connect, hosts_of
from presence_t5x.resilience.host_watch import HostWatch
from presence_t5x.resilience.quiet_saves import quieten
from presence_t5x.resilience.skip_watch import Skipped, SkipWatch
from presence_t5x.resilience.stopping import StopError, StopRequest
from presence_t5x.resilience.weight_watch import WeightWatch
from presence_t5x.run_clocks import SaveClock, StepTimer
from presence_t5x.run_directory import write_settings
from presence_t5x.train_step import TrainState


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
      0 when the run is done, or was preempted and saved; 130 after Ctrl-C; 2 for a wrong setting, 1
      for what went wrong later, each with one line.
    """
    keep_freed_memory()
    quieten()
    words = list(sys.argv[1:] if arguments is None else arguments)
    stop = StopRequest(["python -m presence_t5x.train", shlex.join(words)])
    if arguments is None:
        stop.install()
    files, bindings, rest = parse_arguments(words)
    try:
        options = _parser().parse_args(rest)
        told, stop.stopped_status = hosts_of(options), options.stopped_status
        config = load_config(files, bindings)
        stop.grace_seconds = config.stop_seconds
        connect(told, config.host_timeout_seconds)
    except (ValueError, OSError) as error:
        report_error(error)
        return 2
    watch = HostWatch(config.host_timeout_seconds, stop.how_to_resume())
    try:
        run = prepare(config)
    except (ValueError, OSError) as error:
        report_error(error)
        return hosts.leave(2)
    try:
        state = train(run, stop, watch)
    except (StopError, SaveError) as error:
        report_error(error)
        return hosts.leave(1)
    except OSError as error:
        report_error(OSError(f"{error}; {stop.how_to_resume()}"))
        return hosts.leave(1)
    except Exception:
        traceback.print_exc()
        watch.wait_for_a_name()  # an exchange with a host that died fails before it is missed
        return hosts.leave(1)
    watch.close()
    return stop.status if int(state.step) < run.config.train_steps else 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.train",
        description="Train, or continue a run: --gin_file=FILE and --gin.NAME=VALUE say what.",
    )
    add_host_arguments(parser)
    parser.add_argument(
        "--stopped_status",
        type=int,
        default=0,
        metavar="STATUS",
        help="exit status of a run that SIGTERM stopped and that saved, for schedulers that start "
        "again only what failed (default: 0)",
    )
    return parser


def train(run: Run, stop: StopRequest | None = None, watch: HostWatch | None = None) -> TrainState:
    """Trains until `train_steps` or a stop, from the newest checkpoint if there is one.

    Args:
      run: what `prepare` returned.
      stop: tells when to save and return early; None is never.
      watch: is told how far this host is.

    Returns:
      The state after the last step; its checkpoint is on the disk.

    Raises:
      SaveError: a checkpoint could not be written.
      StopError: every checkpoint of the run is damaged, the one to start from cannot be read, or
        too many updates in a row were skipped.
    """
    config, stop = run.config, stop or StopRequest()
    checkpointer = Checkpointer(config.model_dir, keep=config.keep_checkpoints)
    state = _state_to_go_on_from(run, checkpointer)
    if jax.process_index() == 0:
        write_settings(config, Path(config.model_dir))
    log = run_log.RunLog(
        Path(config.model_dir),
        resume_step=int(state.step),
        total_steps=config.train_steps,
        enabled=jax.process_index() == 0,
    )
    with log:
        state, stopped = _take_steps(run, state, checkpointer, log, stop, watch)
        checkpointer.close()
        stop.saved()
        run.tasks.record()
        how = f"stopped and saved; {stop.how_to_resume()}" if stopped else "done"
        log.say(f"step {int(state.step)}: {how}. Results are in {config.model_dir}")
    return state


def _take_steps(
    run: Run,
    state: TrainState,
    checkpointer: Checkpointer,
    log: run_log.RunLog,
    stop: StopRequest,
    watch: HostWatch | None,
) -> tuple[TrainState, bool]:
    """Returns the state after the last step, which is being saved, and whether it was a stop."""
    config, objective, step = run.config, run.objective, int(state.step)
    influences = InfluenceLog(config, objective.mesh, resume_step=step)
    judge = HeldOutJudge(config, run.evaluation, run.batches, log, objective.mesh)
    run.tasks.resume(step)
    compiled = compile_ready_step(config, objective)
    batches = run.batches.iterate() if step < config.train_steps else ()
    skips = SkipWatch(config.max_skipped_updates, int(state.num_skipped_updates))
    weights = WeightWatch()
    weights.resume(log.rows_so_far(run_log.METRICS))
    timer, clock, stopped, started = StepTimer(step), SaveClock(config), False, False
    for batch in batches:
        # Told before the step, since a host that waits for another one is ahead of it, but not
        # before the first, which each host compiles in its own time.
        if watch is not None and started:
            watch.step = step + 1
        started = True
        state, metrics = compiled(state, _to_devices(batch.features, config, objective.mesh))
        step += 1
        stop.start_saving()
        if skipped := skips.add(step, batch, metrics):
            _stop_for_bad_numbers(run, state, skipped)
        influences.add(step, batch, metrics)
        last = step == config.train_steps
        if logs := step % config.log_period == 0 or last:
            metrics = jax.device_get(metrics)
            log.step(step, metrics, timer.lap(step, float(metrics["train/num_tokens"])))
            log.warnings(step, weights.look(step, metrics))
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
        stopped = not last and stop.reached(step)
        is_due = step % config.checkpoint_period == 0 or clock.is_due(logs)
        if saves := is_due or last or stopped or run.tasks.best_step == step:
            log.sync()
            influences.write()
            checkpointer.best_step = run.tasks.best_step
            checkpointer.save(state, run.batches.get_state(), run.settings)
            run.tasks.record()
            clock.start()
        checkpointer.check()
        if last or stopped:
            break
        if evaluates or saves:
            timer = StepTimer(step)
    return state, stopped


def _state_to_go_on_from(run: Run, checkpointer: Checkpointer) -> TrainState:
    """Returns the newest undamaged checkpoint's state, with the batches set behind it, or the
    state before the first step."""
    say = functools.partial(print, file=sys.stderr, flush=True)
    try:
        restored = checkpointer.restore_newest(abstract_state(run.config, run.objective), say)
        if restored is not None and restored.data_state:  # a converted checkpoint has none
            run.batches.set_state(restored.data_state)
    except ValueError as error:
        raise StopError(str(error)) from error
    if restored is not None:
        return restored.state
    state = initial_state(run.config, run.objective)
    if run.initial is None:
        return state
    try:
        return initial_checkpoint.start_from(run.initial, state)
    except ValueError as error:
        raise StopError(f"INITIAL_CHECKPOINT: {error}") from error


def _stop_for_bad_numbers(run: Run, state: TrainState, skipped: Skipped) -> NoReturn:
    """Saves the step that was skipped last, and stops."""
    model_dir, host = run.config.model_dir, host_rows(run.objective.mesh)
    folder = save_bad_step(model_dir, skipped.step, state, skipped.batch, run.settings, host)
    raise StopError(
        f"step {skipped.step}: the last {skipped.num_in_a_row} updates were skipped, no unit or "
        "gradient was finite (MAX_SKIPPED_UPDATES); the batch and its example ids are in "
        f"{folder}; see what went wrong: python -m presence_t5x.replay {shlex.quote(model_dir)}"
    )


def _to_devices(features: dict[str, np.ndarray], config: RunConfig, mesh) -> dict[str, Any]:
    """Returns this process's rows as (part of) global arrays sharded over the data axis."""
    if mesh is None:
        return features
    sharding, rows = batch_sharding(mesh), config.data.batch_size
    return {
        name: jax.make_array_from_process_local_data(sharding, value, (rows, *value.shape[1:]))
        for name, value in features.items()
    }


if __name__ == "__main__":
    sys.exit(main())
