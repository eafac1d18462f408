"""Held-out losses of pre-trainings become rows: means, Student's intervals, differences, effort."""

import dataclasses
import json
import math

import numpy as np
import pytest

from presence_t5x.reproduction.bootstrap import BootstrapConfig, seed_interval
from presence_t5x.reproduction.expansion import expand
from presence_t5x.reproduction.measured import measure_held_out
from presence_t5x.reproduction.page import render_page
from presence_t5x.reproduction.plan_files import load_plan
from presence_t5x.reproduction.protocol import protocols
from presence_t5x.reproduction.rows import make_rows
from presence_t5x.reproduction.summary import findings, transfer_lines
from presence_t5x.reproduction.text_files import markdown

CONFIG = BootstrapConfig()
PLAN = """
title = "Losses"
seeds = 3

[steps]
macros = ["TRAIN_STEPS", "SWITCH_STEP"]
equal_flops_of = "plain"

[quick]
seeds = 1
steps = { share = 0.1 }

[tasks.clean]
title = "clean text"
noise = "clean"

[tasks.noise]
title = "all noise"
noise = "noise"

[pretraining_defaults]
model = "tiny"
gin_files = ["configs/plans/study_pretrain.gin"]
settings = { TRAIN_STEPS = 600, SWITCH_STEP = 60 }

[[pretrainings]]
name = "plain"
variant = "baseline"
temperature = 0.0
settings = { TEMPERATURE_SCHEDULE = "unweighted" }

[[pretrainings]]
name = "rows"
variant = "inverse"
temperature = -1.0
seeds = 2
settings = { GRANULARITY = "example" }

[[pretrainings]]
name = "never"
variant = "direct"
temperature = 1.0

[[tables]]
name = "losses"
title = "By variant"
rows = ["plain", "rows", "never"]
tasks = ["clean", "noise"]
settings = ["held_out"]

[[tables]]
name = "temperatures"
title = "By temperature"
layout = "temperatures"
rows = ["plain", "rows"]
tasks = ["clean"]
settings = ["held_out"]
"""
# Clean loss by (pre-training, seed), then of two kinds of noise; Swahili is 1 above English.
LOSSES = {
    ("plain", 0): (1.5, 3.0, 4.0),
    ("plain", 1): (1.7, 3.2, 4.2),
    ("plain", 2): (1.9, 3.1, 4.1),
    ("rows", 0): (1.4, 3.1, 4.3),
    ("rows", 1): (1.5, 3.2, 4.4),
}
T_95 = {1: 12.7062, 2: 4.3027}  # by degrees of freedom, from a printed table


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PLAN)
    return load_plan(str(path))


def write_run(directory, steps, losses, seconds, share):
    """What `presence_t5x.train` leaves, by hand; the first lap compiles."""
    directory.mkdir(parents=True)
    kinds = dict(zip(("clean", "permuted_words", "markup"), losses))
    rows = [
        {"language": code, "noise": kind, "num_rows": 5, "num_tokens": 50.0, "loss": loss + more}
        for code, more in (("en", 0.0), ("sw", 1.0))
        for kind, loss in kinds.items()
        if (code, kind) != ("sw", "markup")
    ]
    early = [{**row, "loss": 9.0} for row in rows]
    lines = {
        "evaluation": [{"step": 1, "rows": early}, {"step": steps, "rows": rows}],
        "timing": [{"step": n, "seconds_per_step": s} for n, s in ((1, 99.0), (2, seconds))],
        "metrics": [{"step": 1}, {"step": 2}],
    }
    if share is not None:
        for line, units in zip(lines["metrics"], (8, 4)):
            line["presence/effective_sample_size"] = share * units
            line["presence/num_live_units"] = units
    for name, content in lines.items():
        text = "".join(json.dumps(line) + "\n" for line in content)
        (directory / f"{name}.jsonl").write_text(text)


@pytest.fixture
def rows(plan, tmp_path):
    work = expand(plan)
    steps = {unit.name: unit.num_steps for unit in work.units}
    for (name, seed), losses in LOSSES.items():
        unit = f"pretrain/{name}/seed{seed}"
        share = None if name == "plain" else 0.75
        seconds = 0.1 if name == "plain" else 0.15
        write_run(tmp_path / unit / "run", steps[unit], losses, seconds, share)
    return make_rows(plan, measure_held_out(plan, work, tmp_path), CONFIG)


def find(rows, table="losses", **wanted):
    (row,) = (
        r for r in rows if r.table == table and all(getattr(r, k) == v for k, v in wanted.items())
    )
    return row


def test_means_are_over_languages_then_seeds(rows):
    row = find(rows, pretraining="plain", task="clean", language="average")
    assert row.mean == pytest.approx((1.5 + 1.7 + 1.9) / 3 + 0.5)
    assert row.std == pytest.approx(0.2)
    half = T_95[2] * 0.2 / math.sqrt(3)
    assert row.interval == pytest.approx((row.mean - half, row.mean + half), abs=1e-4)
    assert (row.seeds, row.num_examples, row.metric) == (3, 10, "loss")
    english = find(rows, pretraining="plain", task="clean", language="en")
    assert (english.mean, english.num_examples) == (pytest.approx(1.7), 5)


def test_noise_is_the_mean_of_all_kinds_but_clean(rows):
    english = find(rows, pretraining="rows", task="noise", language="en")
    assert english.mean == pytest.approx((3.1 + 4.3 + 3.2 + 4.4) / 4)
    swahili = find(rows, pretraining="rows", task="noise", language="sw")  # has one kind
    assert (swahili.mean, swahili.num_examples) == (pytest.approx(3.15 + 1), 5)


def test_differences_are_seed_by_seed(rows):
    row = find(rows, pretraining="rows", task="clean", language="average")
    assert row.difference == pytest.approx((-0.1 - 0.2) / 2)  # of the seeds that both have
    half = T_95[1] * np.std([-0.1, -0.2], ddof=1) / math.sqrt(2)
    expected = (row.difference - half, row.difference + half)
    assert row.difference_interval == pytest.approx(expected, abs=1e-4)
    assert row.guess is None and row.above_guess is None and row.paper is None


def test_losses_on_other_rows_are_not_compared(plan, tmp_path):
    work = expand(plan)
    steps = {unit.name: unit.num_steps for unit in work.units}
    for name in ("plain", "rows"):
        unit = f"pretrain/{name}/seed0"
        write_run(tmp_path / unit / "run", steps[unit], LOSSES[name, 0], 0.1, None)
    path = tmp_path / "pretrain/rows/seed0/run/evaluation.jsonl"
    path.write_text(path.read_text().replace('"num_tokens": 50.0', '"num_tokens": 51.0'))
    rows = make_rows(plan, measure_held_out(plan, work, tmp_path), CONFIG)
    row = find(rows, pretraining="rows", task="clean", language="average")
    assert row.mean is not None and row.difference is None and row.relative_flops is not None
    unit = "pretrain/rows/seed1"
    write_run(tmp_path / unit / "run", steps[unit], LOSSES["rows", 1], 0.1, None)
    with pytest.raises(ValueError, match=r"seeds \[0, 1\] were judged on different held-out rows"):
        measure_held_out(plan, work, tmp_path)


def test_effort_stands_beside_the_loss(rows, plan):
    row = find(rows, pretraining="rows", task="clean", language="average")
    assert row.sample_share == pytest.approx(0.75)
    assert row.relative_seconds == pytest.approx(1.5)
    assert row.relative_flops == pytest.approx(1.0, abs=0.002)
    units = {unit.name: unit for unit in expand(plan).units}
    assert row.steps == units["pretrain/rows/seed0"].num_steps < 600
    assert find(rows, pretraining="plain", task="clean", language="average").sample_share is None


def test_a_lap_that_compiles_is_no_speed(rows, plan, tmp_path):
    for seed in (0, 1):
        path = tmp_path / f"pretrain/rows/seed{seed}/run/timing.jsonl"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    found = make_rows(plan, measure_held_out(plan, expand(plan), tmp_path), CONFIG)
    row = find(found, pretraining="rows", task="clean", language="average")
    assert row.relative_seconds is None and row.relative_flops is not None


def test_a_run_that_is_not_at_its_end_is_not_shown(rows, plan, tmp_path):
    assert find(rows, pretraining="never", task="clean", language="average").status == "not run"
    path = tmp_path / "pretrain/plain/seed0/run/evaluation.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    measured = measure_held_out(plan, expand(plan), tmp_path)
    found = make_rows(plan, measured, CONFIG)
    row = find(found, pretraining="plain", task="clean", language="average")
    assert row.seeds == 2 and row.mean == pytest.approx(1.8 + 0.5)
    path.write_text('{"step": 600\n')
    with pytest.raises(ValueError, match=r"evaluation\.jsonl is damaged"):
        measure_held_out(plan, expand(plan), tmp_path)


def test_a_run_that_diverged_says_so(rows, plan, tmp_path):
    directory = tmp_path / "pretrain/rows/seed1/run"
    lines = [json.loads(line) for line in (directory / "evaluation.jsonl").read_text().splitlines()]
    for row in lines[-1]["rows"]:
        row["loss"] = None if row["noise"] == "clean" else row["loss"]
    # Nothing of a label is no divergence.
    lines[-1]["rows"].append({**row, "noise": "empty", "num_tokens": 0.0, "loss": None})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "evaluation.jsonl").write_text(text)
    with (directory / "metrics.jsonl").open("a") as file:
        units = {"presence/effective_sample_size": None, "presence/num_live_units": 4}
        file.write(json.dumps({"step": 3, **units}) + "\n")
    again = make_rows(plan, measure_held_out(plan, expand(plan), tmp_path), CONFIG)
    row = find(again, pretraining="rows", task="clean", language="average")
    assert (row.mean, row.difference, row.status, row.seeds) == (None, None, "diverged", 2)
    assert row.sample_share == pytest.approx(0.75)
    noise = {"task": "noise", "language": "average"}
    for name in ("plain", "rows"):
        assert find(again, pretraining=name, **noise) == find(rows, pretraining=name, **noise)
    assert "| PRESENCE-I | diverged |" in markdown(plan, again, {})
    assert "diverged" in render_page(plan, again, {table.name: [] for table in plan.tables})
    findings(plan, again)


def test_tables_page_and_sentences(rows, plan, tmp_path):
    told = protocols(plan, expand(plan), tmp_path, CONFIG)
    text = markdown(plan, rows, told)
    head = "| clean text (loss) | less baseline | all noise (loss) | seeds | steps | FLOPs over "
    assert head in text
    steps = find(rows, pretraining="rows", task="clean", language="average").steps
    assert "| PRESENCE-I | 1.950 ± 0.071 [1.315, 2.585] | -0.150 [-0.785, +0.485] | " in text
    assert f" | 2 | {steps} | 1.00 | 1.50 | 75 % of units |" in text
    assert "| PRESENCE-D | not run |" in text
    assert "| temperature | -1 | 0 |" in text and "| steps | " in text
    assert "equal FLOPs: every run has the steps that cost what plain's cost" in text
    assert "Student's 95% intervals" in text
    page = render_page(plan, rows, told)
    assert page.count("<svg") == 2 + 1 and "lower is better" in page
    first, line = findings(plan, rows)
    assert first == "2 of 3 models were evaluated."
    assert line.startswith("PRESENCE-I against baseline, held out: clean text loss -0.150 [-0.785,")
    assert "(no clear difference)" in line
    assert transfer_lines(plan, rows) == []


def test_lower_losses_are_better(rows, plan):
    worse = [r for r in rows if r.difference is not None and r.task == "noise"]
    assert all(row.difference > 0 for row in worse if row.language == "average")
    sure = [
        dataclasses.replace(row, difference_interval=(row.difference - 0.01, row.difference + 0.01))
        for row in rows
        if row.difference is not None
    ]
    (line,) = findings(plan, sure)[1:]
    assert "clean text loss -0.150 [-0.160, -0.140] (better)" in line
    noise = find(rows, pretraining="rows", task="noise", language="average")
    assert f"all noise loss {noise.difference:+.3f} " in line and line.endswith("(worse).")


def test_one_seed_has_no_interval(plan, tmp_path):
    work = expand(plan)
    steps = {unit.name: unit.num_steps for unit in work.units}
    for name in ("plain", "rows"):
        unit = f"pretrain/{name}/seed0"
        write_run(tmp_path / unit / "run", steps[unit], LOSSES[name, 0], 0.1, None)
    rows = make_rows(plan, measure_held_out(plan, work, tmp_path), CONFIG)
    row = find(rows, pretraining="rows", task="clean", language="average")
    assert (row.std, row.interval, row.difference_interval) == (None, None, None)
    assert "| PRESENCE-I | 1.900 | -0.100 |" in markdown(plan, rows, {})
    assert "(one seed)" in findings(plan, rows)[1]
    assert "<svg" in render_page(plan, rows, {table.name: [] for table in plan.tables})


def test_numbers_of_steps_cost_the_same(plan, tmp_path):
    work = expand(plan)
    cost = {unit.name: unit.step_flops * unit.num_steps for unit in work.units}
    assert max(cost.values()) / min(cost.values()) < 1.005
    counts = {name: sum(u.name.startswith(f"pretrain/{name}/") for u in work.units) for name in
              ("plain", "rows", "never")}  # fmt: skip
    assert counts == {"plain": 3, "rows": 2, "never": 3}
    (rows,) = (u for u in work.units if u.name == "pretrain/rows/seed0")
    assert abs(rows.settings["temperature"]["switch_step"] - rows.num_steps / 10) <= 1
    quick = expand(load_plan(str(tmp_path / "mine.toml"), quick=True))
    assert len(quick.units) == 3 and quick.units[0].num_steps == 60
    more = load_plan(str(tmp_path / "mine.toml"), seeds=1)
    assert [more.num_seeds(found) for found in more.pretrainings] == [1, 1, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('noise = "clean"', 'family = "nli"', "give either family and a metric"),
        ('settings = ["held_out"]', 'settings = ["zero_shot"]', "split it into two"),
        ('equal_flops_of = "plain"', 'equal_flops_of = "plane"', "did you mean 'plain'"),
        ('macros = ["TRAIN_STEPS", ', "macros = [", "must hold 'TRAIN_STEPS'"),
        ("TRAIN_STEPS = 600, ", "", "needs TRAIN_STEPS among its settings"),
        ("seeds = 2", "seeds = 0", "seeds=0 must be >= 1"),
    ],
)
def test_a_broken_plan_is_refused(old, new, message, tmp_path):
    assert old in PLAN
    path = tmp_path / "broken.toml"
    path.write_text(PLAN.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        load_plan(str(path))
    assert "\n" not in str(caught.value)


def test_seed_intervals():
    assert seed_interval(np.array([1.0]), CONFIG) is None
    low, high = seed_interval(np.array([1.0, 3.0]), CONFIG)
    assert (low, high) == pytest.approx((2 - T_95[1], 2 + T_95[1]), abs=1e-3)
