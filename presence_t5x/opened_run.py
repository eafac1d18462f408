"""From settings to a run that can start: every check that needs no compilation, and its data."""

import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

from presence_t5x import initial_checkpoint
from presence_t5x.accumulation import rows_of_units
from presence_t5x.checkpoint import check_resumable
from presence_t5x.config import config_to_dict
from presence_t5x.config_types import RunConfig
from presence_t5x.convert.content import Content
from presence_t5x.data.labels import check_num_classes, label_names
from presence_t5x.evaluation.during_training import TaskJudge
from presence_t5x.host_rows import host_rows
from presence_t5x.objective import make_mesh, make_objective
from presence_t5x.partitioning import num_unit_parts
from presence_t5x.resilience import hosts
from presence_t5x.resilience.fingerprints import (
    check_same_on_all_hosts,
    data_fingerprint,
    program_fingerprint,
)
from presence_t5x.run_directory import check_same_run, with_vocabulary
from presence_t5x.train_step import Objective


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


def prepare(config: RunConfig) -> Run:
    """Checks a run and opens its data; compiles nothing.

    Raises:
      ValueError: anything that could be known to be wrong before the first step.
    """
    from presence_t5x.data import evaluation, sources  # these import TensorFlow and seqio

    check_same_on_all_hosts("program", program_fingerprint(config_to_dict(config)))
    model_dir = Path(config.model_dir)
    config, initial = initial_checkpoint.resolve(config)
    config = with_vocabulary(config, sources)
    if config.data.objective == "classification":
        names, classes = label_names(config.data), getattr(config.model, "num_classes", None)
        check_num_classes(config.data.mixture_or_task_name, names, classes)
    objective = make_objective(config, make_mesh(config))
    check_resumable(model_dir)
    check_same_run(config, model_dir)
    root = model_dir / "data"
    say = functools.partial(print, file=sys.stderr, flush=True)
    say(f"opening {config.data.mixture_or_task_name!r} ({config.data.reader})")
    if config.data.mixture_or_task_name.split(".")[0] == "mc4":
        say(sources.describe_mt5_vocabulary(config.data))
    tasks = TaskJudge(config, objective.mesh)
    for line in tasks.describe():
        say(line)
    rows = host_rows(objective.mesh)
    batches = hosts.first_host_first(
        "data",
        lambda: sources.open_batches(
            config.data,
            prepared_root=root,
            process_index=rows.index,
            process_count=rows.count,
            units=rows_of_units(
                config.data.batch_size, config.presence, num_unit_parts(objective.mesh)
            ),
        ),
    )
    check_same_on_all_hosts("data", data_fingerprint(batches))
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
    return Run(config, config_to_dict(config), objective, batches, held_out, tasks, initial)
