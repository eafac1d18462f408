"""What stands under each table: how its figures came about, from the settings of the runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from presence_t5x.config_types.data import OBJECTIVES
from presence_t5x.reproduction.bootstrap import BootstrapConfig
from presence_t5x.reproduction.grids import model_labels
from presence_t5x.reproduction.plan_parts import HELD_OUT, Table
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.records import read_record
from presence_t5x.reproduction.results import Evaluated, read_evaluation
from presence_t5x.reproduction.rows import AVERAGE
from presence_t5x.reproduction.units import Cell, Unit, Work

# By metric: how answers are compared.
_NORMALISERS = {
    "f1": "F1 of tokens after the task's own normalisation (SQuAD's: lower case, without ASCII "
    "punctuation and English articles; MLQA's is of the language)",
    "em": "exact match after the task's own normalisation",
    "accuracy": "accuracy of the label as text; other text is wrong",
    "span_f1": "micro F1 of (type, surface) pairs, times 100",
}


def protocols(
    plan: Plan, work: Work, output: Path, config: BootstrapConfig
) -> dict[str, list[str]]:
    """Returns the protocol of every table, a line a subject."""
    return {table.name: _protocol(plan, table, work, output, config) for table in plan.tables}


def _protocol(
    plan: Plan, table: Table, work: Work, output: Path, config: BootstrapConfig
) -> list[str]:
    cells = [
        cell
        for cell in work.cells
        if cell.pretraining in table.rows
        and cell.setting in table.settings
        and set(table.tasks).intersection(cell.evaluation.tasks)
    ]
    units = {unit.name: unit for unit in work.units}
    labels = model_labels(plan, [found.name for found in plan.pretrainings])
    names = [cell.directory.rsplit("/", 1)[0] for cell in cells]
    if HELD_OUT in table.settings:
        names = [one.unit for one in work.trained if one.pretraining in table.rows]
    needed = _needed(names, units)
    trainings = [unit for unit in needed if unit.settings]
    before = [
        *_missing(plan, table, labels),
        *_training_lines("pretrain", labels, trainings),
    ]
    commit = f"commit: {', '.join(_commits(needed, output)) or 'unknown'}"
    if HELD_OUT in table.settings:
        filtered = _filter_lines(plan, table, labels)
        return [*before, *filtered, *_held_out_lines(plan, table, config), commit]
    lines = [
        *before,
        *_filter_lines(plan, table, labels),
        *_training_lines("finetune", labels, trainings),
        *_evaluation_lines(cells, output),
        *(
            f"{t.title}: {_NORMALISERS.get(t.metric, t.metric)}"
            for t in map(plan.task, table.tasks)
        ),
        _average(table),
        f"seeds: {plan.seeds}; ± is the standard deviation over seeds, brackets hold "
        f"{config.level:.0%} of {config.num_replicates:,} bootstrap replicates over seeds and "
        f"examples (seed {config.seed})",
        commit,
    ]
    return lines


def _needed(ends: Iterable[str], units: Mapping[str, Unit]) -> list[Unit]:
    """Some units and all that they rest on, each once."""
    found: dict[str, Unit] = {}
    names = [*ends]
    while names:
        unit = units[names.pop()]
        names += [need for need in unit.needs if need not in found]
        found[unit.name] = unit
    return sorted(found.values(), key=lambda unit: unit.name)


def _training_lines(kind: str, labels: Mapping[str, str], trainings: Iterable[Unit]) -> list[str]:
    """What the runs of a kind have in common, a line for each way of running them."""
    ways: dict[str, dict[str, None]] = {}
    for unit in trainings:
        if unit.kind == kind:
            _, pretraining, *rest = unit.name.split("/")
            who = labels[pretraining] if kind == "pretrain" else rest[0]
            ways.setdefault(_describe(unit), {})[who] = None
    title = {"pretrain": "pre-training", "finetune": "fine-tuning"}[kind]
    return [f"{title} ({', '.join(who)}): {way}" for way, who in ways.items()]


def _describe(unit: Unit) -> str:
    """One training in a sentence."""
    settings = unit.settings
    data, optimizer, rule = settings["data"], settings["optimizer"], settings["task_evaluation"]
    lengths = data["task_feature_lengths"]  # perhaps also of what the model does not read
    tokens = " + ".join(str(lengths[name]) for name in OBJECTIVES[data["objective"]])
    text = (
        f"{unit.num_steps:,} steps of {data['batch_size']:,} rows of {tokens} tokens of "
        f"{data['mixture_or_task_name']}, {optimizer['name']}, learning rate "
        f"{optimizer['base_learning_rate']:g} * {optimizer['factors']}, dropout "
        f"{settings['model']['dropout_rate']:g}"
    )
    if rule["selection"] == "best":
        languages = ", ".join(rule["languages"] or ["all languages"])
        return (
            f"{text}; of the checkpoints every {settings['eval_period']:,} steps the best by "
            f"{', '.join(rule['metrics'])} on {rule['split']} ({languages})"
        )
    return f"{text}; the last checkpoint"


def _filter_lines(plan: Plan, table: Table, labels: Mapping[str, str]) -> list[str]:
    """Which text was chosen for some pre-trainings, and how."""
    return [
        f"text of {labels[one.name]}: of {one.filtered.corpus}, scored by "
        f"{labels[one.filtered.scorer]}, what presence_t5x.filter keeps with "
        f"{' '.join(one.filtered.arguments)}"
        for one in map(plan.pretraining, table.rows)
        if one.filtered is not None
    ]


def _evaluation_lines(cells: Iterable[Cell], output: Path) -> list[str]:
    """How answers were asked for, a line for each way."""
    found: dict[str, None] = {}
    for cell in cells:
        evaluated = read_evaluation(output / cell.directory)
        evaluation = cell.evaluation
        text = f"evaluation: {evaluation.mixture}, split {evaluation.split}"
        text += f", {evaluation.select} checkpoint"
        if evaluated is not None:
            text += f", {_decoding(evaluated)}"
        found[text] = None
    return [*found]


def _decoding(found: Evaluated) -> str:
    protocol: Mapping[str, Any] = found.scores["protocol"]
    examples = {row["task"]: row["num_examples"] for row in found.scores["scores"]}
    counts = {*examples.values()}
    span = f"{min(counts):,}" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,}"
    beams = protocol.get("num_beams")
    how = protocol["decoding"] + (f" of {beams} beams" if beams else "")
    longest = protocol.get("max_length")  # a label has no length
    answers = "" if longest is None else f" and answers up to {longest}"
    share = sum(found.scores["inputs_cut"].values()) / sum(examples.values())
    return (
        f"{span} examples a language and task, {how}, inputs up to {protocol['input_length']}"
        f"{answers} tokens ({share:.1%} of the inputs were cut)"
    )


def _commits(units: Iterable[Unit], output: Path) -> list[str]:
    """The commits of everything that ran."""
    records = (read_record(output / unit.name) for unit in units)
    commits = {record.commit for record in records if record and record.commit}
    return sorted(c[:12] + ("+" if c.endswith("+") else "") for c in commits)


def _held_out_lines(plan: Plan, table: Table, config: BootstrapConfig) -> list[str]:
    """What a held-out loss is, and what is equal between the runs."""
    steps = plan.steps
    equal = "numbers of steps are as given; FLOPs over baseline tell what they cost"
    if steps is not None and steps.equal_flops_of:
        equal = (
            f"equal FLOPs: every run has the steps that cost what {steps.equal_flops_of}'s cost, "
            "by the analytic count of matrix products (presence_t5x.planning.analytic); scoring "
            "before a filter is not in it"
        )
    return [
        "loss: mean token loss at the last step on held-out rows, which are the same in every run; "
        "lower is better",
        _average(table),
        equal,
        "effective sample size: 1 / sum of squared weights over the number of units, mean over the "
        "logged steps; seconds: medians of runs that shared the machine",
        f"seeds: as many as the row says; ± is the standard deviation over seeds, brackets are "
        f"Student's {config.level:.0%} intervals over seeds, of differences seed by seed",
    ]


def _missing(plan: Plan, table: Table, labels: Mapping[str, str]) -> list[str]:
    """What cannot be run, and why."""
    found = map(plan.pretraining, table.rows)
    return [f"not run: {labels[one.name]}: {one.unavailable}" for one in found if one.unavailable]


def _average(table: Table) -> str:
    if table.language == AVERAGE:
        return "figures are means over languages, each counting once"
    return f"figures are of one language, {table.language}"
