"""Held-out rows of a run, evaluated and probed every few steps."""

import json
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from presence_t5x import held_out, run_log
from presence_t5x.config_types import RunConfig
from presence_t5x.files import write_text_atomically
from presence_t5x.objective import row_loss_fun


class HeldOutJudge:
    """Evaluates and probes the run's held-out rows."""

    def __init__(
        self,
        config: RunConfig,
        evaluation: list[Any],
        batches: Any,
        log: run_log.RunLog,
        mesh: jax.sharding.Mesh | None,
    ):
        """Compiles nothing yet.

        Args:
          config: of the run.
          evaluation: batches of the rows, with labels; none is nothing to judge.
          batches: of the training, which know epochs if they are prepared.
          log: where results go.
          mesh: of the training.
        """
        self._config, self._evaluation = config, evaluation
        self._batches, self._log = batches, log
        self._losses = held_out.loss_rows(row_loss_fun(config), config.presence, mesh)
        self._scores = held_out.score_rows(row_loss_fun(config), config.presence, mesh)

    def evaluate(self, step: int, params: PyTree) -> None:
        """Logs the mean token loss of every language and noise label."""
        if not self._evaluation:
            return
        rows = held_out.run_rows(self._losses, params, self._evaluation)
        self._log.rows(run_log.EVALUATION, step, held_out.mean_losses(rows), "eval/loss", "loss")

    def count_epochs(self, step: int) -> None:
        """Logs how often the rows of each task, language or source of the mixture were seen."""
        epochs_fn = getattr(self._batches, "epochs", None)  # a stream does not know
        if epochs_fn is not None:
            rows = epochs_fn()  # not those of `step`: it may count on from another run's
            self._log.rows(run_log.EPOCHS, step, rows, "data/epochs", "epochs", ("group",))

    def probe(self, step: int, params: PyTree, *, final: bool) -> None:
        """Logs how well scores and losses rank noise above clean text."""
        if not self._evaluation:
            return
        rows = held_out.run_rows(self._scores, params, self._evaluation)
        separations = held_out.separations(rows)
        self._log.rows(run_log.PROBE, step, separations, "probe/auroc_score", "auroc_score")
        if final and jax.process_index() == 0:
            path = Path(self._config.model_dir) / run_log.PROBE_SCORES
            lines = [json.dumps(row) for row in held_out.score_table(rows, step)]
            write_text_atomically("\n".join(lines) + "\n", path)
