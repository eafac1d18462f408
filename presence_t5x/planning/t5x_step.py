"""T5X's own train step, compiled for the same topology: the third column of a plan.

Where T5X is installed (it is not on PyPI; tested at commit cc342d4), `--t5x` compiles the step that
its `Trainer` hands to its partitioner: its network with unrolled layers, its one-hot embedding, its
Adafactor, data parallel, unweighted; sizes, batch and number of microbatches are the run's.
"""

import numpy as np
from jax.sharding import Mesh

from presence_t5x import objective
from presence_t5x.benchmarking.peers import find_absence
from presence_t5x.benchmarking.peers_t5x import t5x_step
from presence_t5x.config_types import RunConfig
from presence_t5x.planning.compilation import StepPlan, plan_of
from presence_t5x.planning.topology import Topology


def check_t5x_installed() -> None:
    """Refuses to go on without T5X.

    Raises:
      ValueError: what is missing, and where it comes from.
    """
    missing = find_absence("t5x")
    if missing is not None:
        raise ValueError(f"--t5x: T5X is not installed ({missing.reason}); {missing.install}")


def compile_t5x_step(config: RunConfig, topology: Topology) -> StepPlan:
    """Returns the plan of T5X's step on a topology, without model parallelism."""
    mesh = Mesh(np.asarray(topology.devices).reshape(-1, 1), ("data", "model"))
    batch = objective.abstract_batch(config, None)
    _, initializer, step = t5x_step(config, batch, mesh)
    return plan_of(step, initializer.global_train_state_shape, batch, topology)
