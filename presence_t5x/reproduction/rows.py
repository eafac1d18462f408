"""The rows of tables.json: one a table, setting, task, language and variant.

Figures are percentages, F1 of entities too, or held-out losses of pre-trainings ("loss"). `mean`,
`std` (None with one seed) and `interval` are over seeds; `difference` is against the baseline of
the same model over the seeds that both have, drawn together. `guess` is what the most frequent
answer alone scores, `above_guess` whether the whole interval lies above it and above chance.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from presence_t5x.reproduction.bootstrap import (
    BootstrapConfig,
    Values,
    interval,
    metric_of,
    replicates,
    seed_interval,
)
from presence_t5x.reproduction.measured import Group, Measured
from presence_t5x.reproduction.paper_figures import PAPER, PaperCell
from presence_t5x.reproduction.plan_parts import Pretraining, Table, Task
from presence_t5x.reproduction.plans import Plan

AVERAGE, BASELINE = "average", "baseline"
LOSS = "loss"
NOT_RUN, DIVERGED = "not run", "diverged"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of a table; what was not measured is None, the loss of runs that diverged too.

    Beside a held-out loss stand what the run took: `steps`, `relative_flops` and `relative_seconds`
    (a step's) over the baseline's, and `sample_share`, the effective sample size over the units.
    """

    table: str
    setting: str
    task: str
    language: str
    variant: str
    model: str
    pretraining: str
    metric: str
    temperature: float | None = None
    mean: float | None = None
    std: float | None = None
    interval: tuple[float, float] | None = None
    seeds: int = 0
    num_examples: int | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    guess: float | None = None
    chance: float = 0.0
    above_guess: bool | None = None
    paper: float | None = None
    steps: int | None = None
    relative_flops: float | None = None
    relative_seconds: float | None = None
    sample_share: float | None = None
    status: str = NOT_RUN

    @property
    def missing(self) -> str:
        """What stands in place of a figure that is None."""
        return DIVERGED if self.status == DIVERGED else NOT_RUN


def make_rows(plan: Plan, measured: Mapping[Group, Measured], config: BootstrapConfig) -> list[Row]:
    """Returns the rows of all tables of a plan, those that were not run too."""
    maker = _Maker(plan, measured, config)
    return [row for table in plan.tables for row in maker.table_rows(table)]


def decimals(row: Row) -> int:
    """Returns with how many decimals a row's figures are written."""
    return 3 if row.metric == LOSS else 1


def row_as_json(row: Row) -> dict[str, Any]:
    """Returns a row as tables.json has it."""
    return dataclasses.asdict(row)


class _Maker:
    """Makes rows; what two tables share is drawn once."""

    def __init__(self, plan: Plan, measured: Mapping[Group, Measured], config: BootstrapConfig):
        self._plan, self._measured, self._config = plan, measured, config
        self._known: dict[tuple[Group, str, str | None], dict[str, Any]] = {}

    def table_rows(self, table: Table) -> list[Row]:
        """The rows of one table, an average behind its languages."""
        return [
            self._row(table, setting, task, language, self._plan.pretraining(name))
            for setting in table.settings
            for task in map(self._plan.task, table.tasks)
            for name in table.rows
            for language in self._languages(table, setting, task)
        ]

    def _languages(self, table: Table, setting: str, task: Task) -> list[str]:
        """The languages of any row of a table, and their average."""
        found = (self._measured.get(Group(name, setting, task.name)) for name in table.rows)
        languages = dict.fromkeys(code for one in found if one for code in one.values)
        wanted = [AVERAGE] if table.language == AVERAGE else []
        if table.language != AVERAGE:
            return [table.language]
        return [*languages, *wanted]

    def _row(
        self, table: Table, setting: str, task: Task, language: str, found: Pretraining
    ) -> Row:
        group = Group(found.name, setting, task.name)
        rival = self._rival(table, group, found)
        key = (group, language, rival and rival.pretraining)
        if key not in self._known:
            self._known[key] = self._figures(group, rival, task, language)
        return Row(
            table=table.name,
            setting=setting,
            task=task.name,
            language=language,
            variant=found.variant,
            model=found.model,
            pretraining=found.name,
            metric=task.metric,
            temperature=found.temperature,
            chance=task.chance,
            paper=_paper(table, setting, task, language, found),
            **{"status": found.unavailable or NOT_RUN, **self._known[key]},
        )

    def _rival(self, table: Table, group: Group, found: Pretraining) -> Group | None:
        """The baseline that a row is compared with."""
        if found.variant == BASELINE:
            return None
        rows = map(self._plan.pretraining, table.rows)
        names = [r.name for r in rows if r.variant == BASELINE and r.model == found.model]
        return group._replace(pretraining=names[0]) if names else None

    def _figures(
        self, group: Group, rival: Group | None, task: Task, language: str
    ) -> dict[str, Any]:
        """What is measured of a row; {} if nothing is."""
        found = self._measured.get(group)
        sets = _sets(found, language)
        if found is None or not sets:
            return {}
        if found.effort is not None:
            return self._loss_figures(found, rival and self._measured.get(rival), language)
        per_seed = _mean_by_seed(sets)
        drawn = replicates(sets, self._config)
        low, high = interval(drawn, self._config)
        languages = found.values if language == AVERAGE else [language]
        guess = float(np.mean([found.guesses[code] for code in languages]))
        figures = {
            "mean": float(per_seed.mean()),
            "std": float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None,
            "interval": (low, high),
            "seeds": len(per_seed),
            "num_examples": sum(values.shape[1] for values in sets),
            "guess": guess,
            "above_guess": low > max(guess, task.chance),
            "status": "run",
        }
        if rival is not None:
            figures |= self._difference(found, self._measured.get(rival), language)
        return figures

    def _loss_figures(
        self, found: Measured, rival: Measured | None, language: str
    ) -> dict[str, Any]:
        """A loss and its difference to the baseline's seed by seed, and what both took.

        Where the baseline was judged on other rows there is no difference.
        """
        losses = dict(zip(found.seeds, _mean_by_seed(_sets(found, language)).tolist()))
        per_seed = np.array([*losses.values()])
        counts = {code: num_rows for code, (num_rows, _) in found.sizes.items()}
        effort = found.effort
        assert effort is not None
        figures = {
            "seeds": len(per_seed),
            "num_examples": sum(counts.values()) if language == AVERAGE else counts[language],
            "steps": effort.steps,
            "sample_share": effort.sample_share,
            "status": DIVERGED,
        }
        if np.isfinite(per_seed).all():
            figures |= {
                "mean": float(per_seed.mean()),
                "std": float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None,
                "interval": seed_interval(per_seed, self._config),
                "status": "run",
            }
        if rival is None or rival.effort is None or not _sets(rival, language):
            return figures
        if effort.flops is not None and rival.effort.flops is not None:
            figures["relative_flops"] = effort.flops / rival.effort.flops
        if effort.seconds_per_step is not None and rival.effort.seconds_per_step is not None:
            figures["relative_seconds"] = effort.seconds_per_step / rival.effort.seconds_per_step
        others = dict(zip(rival.seeds, _mean_by_seed(_sets(rival, language)).tolist()))
        common = [seed for seed in losses if seed in others]
        if common and found.sizes == rival.sizes:
            paired = np.array([losses[seed] - others[seed] for seed in common])
            if np.isfinite(paired).all() and figures["status"] != DIVERGED:
                figures["difference"] = float(paired.mean())
                figures["difference_interval"] = seed_interval(paired, self._config)
        return figures

    def _difference(self, found: Measured, rival: Measured | None, language: str) -> dict[str, Any]:
        """A row less its baseline, over the seeds that both have.

        Where the baseline was tested on other examples there is no difference: they are drawn
        together.
        """
        if (
            rival is None
            or not _sets(rival, language)
            or not _same_examples(found, rival, language)
        ):
            return {}
        common = sorted({*found.seeds} & {*rival.seeds})
        if not common:
            return {}
        sides = [
            [values[[one.seeds.index(seed) for seed in common]] for values in _sets(one, language)]
            for one in (found, rival)
        ]
        means = [_mean_by_seed(side).mean() for side in sides]
        drawn = replicates(sides[0], self._config) - replicates(sides[1], self._config)
        return {
            "difference": float(means[0] - means[1]),
            "difference_interval": interval(drawn, self._config),
        }


def _same_examples(found: Measured, rival: Measured, language: str) -> bool:
    """Whether what a row is made of was tested on the same examples, in order."""
    if language == AVERAGE:
        return found.ids == rival.ids
    return found.ids[language] == rival.ids[language]


def _sets(found: Measured | None, language: str) -> list[Values]:
    """The values that a row is made of."""
    if found is None:
        return []
    if language == AVERAGE:
        return [*found.values.values()]
    return [found.values[language]] if language in found.values else []


def _mean_by_seed(sets: Sequence[Values]) -> Float[np.ndarray, " seeds"]:
    """The mean over languages of each seed's metric."""
    return np.mean([metric_of(values) for values in sets], axis=0)


def _paper(
    table: Table, setting: str, task: Task, language: str, found: Pretraining
) -> float | None:
    """The paper's figure; it gives one for what a table shows, none by language."""
    if not table.paper or language != table.language:
        return None
    variant = found.variant if table.layout == "variants" else found.temperature
    if variant is None:
        return None
    return PAPER.get(PaperCell(table.paper, setting, task.name, found.model, variant))
