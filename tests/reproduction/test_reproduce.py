"""The command: packaged plans expand to what they state; errors are one line; a tiny plan runs."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from planted_scores import entities, nli, write_evaluation

from presence_t5x import prepare, reproduce
from presence_t5x.config_types import (
    DataConfig,
    DecodingConfig,
    EncoderOnlyConfig,
    OptimizerConfig,
)
from presence_t5x.config_types.weighting import GRANULARITIES, SCORES
from presence_t5x.data.sources import resolve_vocabulary
from presence_t5x.data.text_plans import text_plan
from presence_t5x.evaluation.answering import Answering
from presence_t5x.optimizer import learning_rate_schedule
from presence_t5x.reproduction.bootstrap import BootstrapConfig
from presence_t5x.reproduction.expansion import expand
from presence_t5x.reproduction.paper_figures import PAPER, PAPER_TABLES, PaperCell
from presence_t5x.reproduction.plan_files import load_plan
from presence_t5x.reproduction.protocol import protocols
from presence_t5x.reproduction.records import Record, write_record
from presence_t5x.reproduction.units import KINDS


def run(*arguments):
    return reproduce.main(list(arguments))


def counts_of(work):
    return Counter(unit.kind for unit in work.units)


def test_the_plan_of_the_paper_has_its_runs_and_figures():
    plan = load_plan("paper")
    work = expand(plan)
    # 1M steps: two models, two variants, five tasks, two settings. 200k steps: the baseline fills
    # Table 2 (five tasks), D, I, I-D and PRESENCE Table 5 (three), temperatures 2 and -2 Figure 5
    # (three, translate-train alone).
    assert counts_of(work) == {
        "pretrain": 4 + 5 + 2,
        "finetune": 4 * 10 + 10 + 4 * 6 + 2 * 3,
        "evaluate": 4 * 10 + 10 + 4 * 6 + 2 * 3,
    }
    steps = Counter(u.num_steps for u in work.units if u.kind == "pretrain")
    assert steps == {1_000_000: 4, 200_000: 7}
    by_name = {unit.name: unit.settings for unit in work.units}
    base = by_name["pretrain/base_1m_presence/seed0"]
    large = by_name["pretrain/large_1m_presence/seed0"]
    assert [one["data"]["batch_size"] for one in (base, large)] == [1024, 512]
    assert [one["presence"]["num_microbatches"] for one in (base, large)] == [8, 4]
    assert [one["presence"]["loss_normalizer"] for one in (base, large)] == [234496.0, 117248.0]
    tuned = by_name["finetune/large_1m_presence/xnli_zero_shot/seed0"]
    assert tuned["model"] | {"dropout_rate": 0} == large["model"] | {"dropout_rate": 0}
    assert (tuned["train_steps_relative"], tuned["data"]["batch_size"]) == (20_000, 128)
    assert tuned["optimizer"]["base_learning_rate"] == 0.001
    cold = by_name["pretrain/base_200k_tau_minus_2/seed0"]["temperature"]
    assert (cold["schedule"], cold["temperature_1"]) == ("constant", -2.0)


def test_every_figure_of_the_paper_has_a_cell_in_its_plan():
    plan = load_plan("paper")
    cells = set()
    for table in plan.tables:
        for found in map(plan.pretraining, table.rows):
            variant = found.temperature if table.layout == "temperatures" else found.variant
            cells |= {
                PaperCell(table.paper, setting, task, found.model, variant)
                for setting in table.settings
                for task in table.tasks
            }
    assert cells == set(PAPER)
    assert {table.paper for table in plan.tables} == set(PAPER_TABLES)


def test_mean_gains_of_the_paper_are_those_it_implies():
    """Typing errors would show: gains that were worked out from the printed tables by hand."""
    tasks = ("xquad", "mlqa", "tydiqa", "xnli", "wikiann")
    expected = {
        ("table3", "zero_shot", "mt5_base", "presence"): 1.24,
        ("table3", "translate_train", "mt5_base", "presence"): 1.80,
        ("table3", "zero_shot", "mt5_large", "presence"): 9.43,
        ("table3", "translate_train", "mt5_large", "presence"): 12.94,
        ("table2", "zero_shot", "mt5_base", "sequential"): 1.68,
        ("table2", "translate_train", "mt5_base", "sequential"): 1.55,
        ("table2", "zero_shot", "mt5_base", "sequential_reverse"): -2.12,
        ("table2", "translate_train", "mt5_base", "sequential_reverse"): -2.40,
    }
    for (table, setting, model, variant), gain in expected.items():
        gains = [
            PAPER[PaperCell(table, setting, task, model, variant)]
            - PAPER[PaperCell(table, setting, task, model, "baseline")]
            for task in tasks
        ]
        assert sum(gains) / len(gains) == pytest.approx(gain, abs=0.006)


def test_the_plan_of_the_encyclopedia_has_every_variant_twice():
    work = expand(load_plan("encyclopedia"))
    assert counts_of(work) == {"pretrain": 6 * 2, "finetune": 6 * 2 * 2, "evaluate": 6 * 2 * 2}
    by_name = {unit.name: unit.settings for unit in work.units}
    weighting = {
        name: (
            by_name[f"pretrain/{name}/seed0"]["temperature"]["schedule"],
            by_name[f"pretrain/{name}/seed0"]["temperature"]["temperature_1"],
            by_name[f"pretrain/{name}/seed0"]["temperature"]["temperature_2"],
            by_name[f"pretrain/{name}/seed0"]["presence"]["granularity"],
        )
        for name in ("direct", "inverse", "inverse_direct", "presence", "presence_example")
    }
    assert weighting == {
        "direct": ("constant", 1.0, -1.0, "microbatch"),
        "inverse": ("constant", -1.0, -1.0, "microbatch"),
        "inverse_direct": ("two_stage", -1.0, 1.0, "microbatch"),
        "presence": ("two_stage", 1.0, -1.0, "microbatch"),
        "presence_example": ("two_stage", 1.0, -1.0, "example"),
    }
    quick = expand(load_plan("encyclopedia", quick=True))
    assert sum(u.num_steps for u in quick.units) < sum(u.num_steps for u in work.units) / 5


def test_the_plan_sequential_scores_once_and_filters_three_ways():
    work = expand(load_plan("sequential", seeds=1))
    assert counts_of(work) == {
        "pretrain": 4, "score": 1, "filter": 3, "finetune": 4 * 2, "evaluate": 4 * 2,
    }  # fmt: skip
    by_name = {unit.name: unit for unit in work.units}
    assert by_name["score/baseline/encyclopedia/seed0"].needs == ("pretrain/baseline/seed0",)
    filters = [unit for unit in work.units if unit.kind == "filter"]
    assert {unit.needs for unit in filters} == {("score/baseline/encyclopedia/seed0",)}
    orders = {unit.name: [a for a in unit.arguments if "--order" in a] for unit in filters}
    assert orders == {
        "filter/sequential/seed0": [],
        "filter/sequential_reverse/seed0": ["--order=highest"],
        "filter/random/seed0": ["--order=random"],
    }
    steps = set()
    for name in ("sequential", "sequential_reverse", "random"):
        unit = by_name[f"pretrain/{name}/seed0"]
        assert unit.needs == (f"filter/{name}/seed0",)
        assert unit.settings["data"]["prepared_stores"] == f"{{output}}/filter/{name}/seed0/store"
        steps.add(unit.num_steps)
    assert steps == {by_name["pretrain/baseline/seed0"].num_steps}
    done_before = [unit.name for unit in work.units]
    for unit in work.units:
        assert all(done_before.index(n) < done_before.index(unit.name) for n in unit.needs)


STUDIES = {
    "weighting": 1 + 3 * 2 * 2 + 3,
    "schedules": 1 + 6 + 3 + 8,
    "temperatures": 1 + 3 * 4 + 2 * 3 + 2 * 3,
    "score_functions": 1 + 3 * 4 + 1,
    "composition": 1 + 3 * 3,
}


@pytest.mark.parametrize("name", STUDIES)
def test_studies_train_at_equal_flops_and_show_all_that_they_train(name):
    plan = load_plan(name, seeds=1)
    work = expand(plan)
    trained = [unit for unit in work.units if unit.kind == "pretrain"]
    assert len(trained) == len(work.trained) == len(plan.pretrainings) == STUDIES[name]
    costs = [unit.step_flops * unit.num_steps for unit in trained]
    assert max(costs) / min(costs) < 1.005
    for unit in trained:
        optimizer = unit.settings["optimizer"]
        rate = learning_rate_schedule(OptimizerConfig(**optimizer))
        assert rate(0) == np.float32(0.04)  # whatever a step costs
        end = optimizer["warmup_steps"] + optimizer["steps_per_cycle"]
        assert end - 1 <= unit.num_steps <= end and rate(unit.num_steps - 1) < 0.001
    shown = {row for table in plan.tables for row in table.rows}
    assert shown == {found.name for found in plan.pretrainings}
    quick = expand(load_plan(name, quick=True))
    assert sum(u.num_steps for u in quick.units) < sum(u.num_steps for u in trained) / 15


def test_every_granularity_is_scored_by_every_function():
    work = expand(load_plan("score_functions", seeds=1))
    found = {(u.settings["presence"]["granularity"], u.settings["presence"]["score"]) for u in
             work.units if u.settings["temperature"]["schedule"] != "unweighted"}  # fmt: skip
    assert found == {(unit, score) for unit in GRANULARITIES for score in SCORES}


FAMILIES = {
    "encoder_decoder": ("span_corruption", "span_corruption"),
    "decoder_only": ("next_token", "prefix"),
    "encoder_only": ("masked_tokens", "classification"),
}


def text_of_a_row(data):
    """How many tokens of text a full row has, whatever the objective makes of them."""
    config = DataConfig(**data)
    lengths = config.task_feature_lengths
    plan = text_plan(config.objective, lengths, resolve_vocabulary(config))
    return plan.raw_length - plan.frame.size


def row_length(run):
    """How many positions of an encoder's table a run trains."""
    lengths = run["data"]["task_feature_lengths"]
    return EncoderOnlyConfig(**run["model"]).row_lengths(lengths)["encoder"]


def test_the_plan_of_the_families_weighs_each_alike_and_asks_what_it_can_answer():
    work = expand(load_plan("families"))
    # Encoders have no questions.
    assert counts_of(work) == {"pretrain": 3 * 5 * 2, "finetune": 50, "evaluate": 50}
    assert len(work.trained) == 3 * 5 * 2  # held-out losses of all
    by_name = {unit.name: unit.settings for unit in work.units}
    for family, objectives in FAMILIES.items():
        for name in ("baseline", "direct", "inverse", "presence", "example"):
            run, same = (
                by_name[f"pretrain/{one}_{name}/seed0"] for one in (family, "encoder_decoder")
            )
            assert run["temperature"] == same["temperature"]
            assert run["optimizer"] == same["optimizer"]
            assert run["presence"] | {"layers": ()} == same["presence"] | {"layers": ()}
            assert text_of_a_row(run["data"]) == 112  # tokens
            for setting in ("pack", "batch_size", "mixture_or_task_name"):
                assert run["data"][setting] == same["data"][setting]
            assert not run["data"]["pack"]  # a row of two documents mixes clean text and noise
            tuned = by_name[f"finetune/{family}_{name}/nli/seed0"]
            assert (run["data"]["objective"], tuned["data"]["objective"]) == objectives
            assert family != "encoder_only" or row_length(run) >= row_length(tuned)


def test_the_plan_glue_has_room_for_questions_and_positions_for_all_of_it(tmp_path):
    work = expand(load_plan("glue", data_dir=str(tmp_path)))
    by_name = {unit.name: unit.settings for unit in work.units}
    for family in FAMILIES:
        for task, wanted in {"rte": 384, "mrpc": 192, "cb": 384, "copa": 128, "boolq": 512}.items():
            tuned = by_name[f"finetune/{family}/{task}/seed0"]
            assert tuned["data"]["task_feature_lengths"]["inputs"] == wanted
    for family, feature in (("encoder_only", "inputs"), ("decoder_only", "targets")):
        data = by_name[f"pretrain/{family}/seed0"]["data"]
        # Positions that pre-training has not seen would be random ones.
        assert data["task_feature_lengths"][feature] == 512
        assert data["batch_size"] * 512 == 64 * 128  # tokens of a step of the encoder-decoder


def test_the_plan_glue_has_a_class_for_every_label(tmp_path):
    work = expand(load_plan("glue", data_dir=str(tmp_path)))
    assert counts_of(work) == {"prepare": 1, "pretrain": 6, "finetune": 30, "evaluate": 30}
    by_name = {unit.name: unit.settings for unit in work.units}
    classes = {
        task: by_name[f"finetune/encoder_only/{task}/seed0"]["model"]["num_classes"]
        for task in ("rte", "mrpc", "cb", "copa", "boolq")
    }
    assert classes == {"rte": 2, "mrpc": 2, "cb": 3, "copa": 2, "boolq": 2}
    for family, objectives in FAMILIES.items():
        found = [
            by_name[f"{kind}/seed0"]["data"]["objective"]
            for kind in (f"pretrain/{family}", f"finetune/{family}_random/rte")
        ]
        assert tuple(found) == objectives


TIME = "2026-01-01T00:00:00+0000"
PLANS = sorted(path.stem for path in Path("configs/plans").glob("*.toml"))


def write_protocol(directory, classes):
    """What an evaluation says of how it asked: of a text generator, or of a classifier."""
    decoding = None if classes else DecodingConfig(max_length=32)
    found = Answering(decoding, ("0", "1") if classes else None).describe()
    content = {
        "protocol": {**found, "input_length": 112},
        "scores": [{"task": "nli", "num_examples": 3}] * 2,  # two metrics
        "inputs_cut": {"nli": 1},
    }
    directory.mkdir(parents=True)
    (directory / "scores.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_says_how_its_figures_came_about(name, tmp_path):
    (tmp_path / "data").mkdir()
    files = str(tmp_path / "data") if name in ("real", "glue") else None
    plan = load_plan(name, data_dir=files, seeds=1)
    work = expand(plan)
    settings = {unit.name: unit.settings for unit in work.units}
    for cell in work.cells:
        tuned = cell.directory.replace("evaluate", "finetune", 1).rsplit("/", 3)[0]
        model = settings.get(f"{tuned}/seed0", {}).get("model", {})
        write_protocol(tmp_path / cell.directory, model.get("num_classes"))
    commits = {kind: str(number) * 40 for number, kind in enumerate(KINDS)}
    for unit in work.units:
        record = Record(fingerprint="", command=(), started=TIME, commit=commits[unit.kind])
        write_record(record, tmp_path / unit.name)
    told = protocols(plan, work, tmp_path, BootstrapConfig())
    for table in plan.tables:
        text = "\n".join(told[table.name])
        assert "steps of" in text and "tokens of" in text and "None" not in text
    text = "\n".join(line for lines in told.values() for line in lines)
    assert all(commits[unit.kind][:12] in text for unit in work.units)
    if name in ("families", "glue"):
        assert "most probable label, inputs up to 112 tokens" in text
        assert re.search(r"rows of \d+ tokens of", text)  # one sequence
    if name == "glue":
        assert "rows of 384 tokens of" in text and "rows of 384 + 8 tokens of" in text
    if work.cells:
        way = "greedy, inputs up to 112 and answers up to 32 tokens"
        assert f"{way} (33.3% of the inputs were cut)" in text
        assert re.search(r"rows of \d+ \+ \d+ tokens of", text)


def test_the_plan_for_real_text_has_its_baselines(tmp_path):
    work = expand(load_plan("real", data_dir=str(tmp_path)))
    # The untrained model is not fine-tuned: four models, two tasks, two settings.
    assert counts_of(work) == {"prepare": 1, "pretrain": 5, "finetune": 4 * 4, "evaluate": 5 * 4}
    by_name = {unit.name: unit for unit in work.units}
    assert prepare.parse_settings(by_name["prepare/corpus"].arguments).train_vocabulary == 8000
    (untrained,) = (u for u in work.units if u.name.startswith("evaluate/untrained/nli_zero"))
    assert untrained.needs == ("pretrain/untrained/seed0",)
    assert "--input_length=128" in untrained.arguments
    assert f"--task_files=test={tmp_path.resolve()}/xnli/dev.*.jsonl*[70%:]" in untrained.arguments
    assert by_name["pretrain/untrained/seed0"].settings["optimizer"]["base_learning_rate"] == 0.0
    files = by_name["finetune/presence/nli_zero_shot/seed0"].settings["data"]["local_task_files"]
    assert files["train"].endswith("[:60%]") and files["test"].endswith("[70%:]")


def test_a_dry_run_prints_commands_and_runs_nothing(tmp_path, capsys):
    output = tmp_path / "out"
    assert run("--plan=encyclopedia", f"--output_dir={output}", "--dry_run", "--seeds=1") == 0
    text = capsys.readouterr().out
    assert not output.exists()
    commands = [line for line in text.splitlines() if line.startswith("python -m presence_t5x.")]
    assert len(commands) == 6 + 12 + 12
    assert f"--gin.MODEL_DIR='{output}/pretrain/baseline/seed0/run'" in text.replace("'\"'\"'", "'")
    assert "# pretrain/presence/seed0, 500 steps" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan=papre",), "did you mean 'paper'"),
        (("--plan=paper", "--quick"), r"has no \[quick\] settings"),
        (("--plan=paper", "--seeds=0"), "--seeds=0 must be >= 1"),
        (("--plan=paper", "--jobs=0"), "--jobs=0 must be >= 1"),
        (("--plan=paper", "--num_replicates=0"), "num_replicates=0 must be >= 1"),
        (("--plan=real",), "give their folder with --data_dir=DIR"),
        (("--plan=paper", "--resume"), "unrecognized arguments: --resume"),
        ((), "required: --plan"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path, capsys):
    assert run(*arguments, f"--output_dir={tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tables_of_what_is_done_are_written_without_running(tmp_path, capsys):
    plan = load_plan("encyclopedia", seeds=1)
    cell = next(c for c in expand(plan).cells if c.pretraining == "presence")
    families = {
        "encyclopedia_nli_eval": nli(en=[1, 0, 1], sw=[0, 0, 1]),
        "encyclopedia_ner_eval": entities(en=[(1, 1, 1)], sw=[(0, 1, 1)]),
        "encyclopedia_qa_eval": ("f1", {"en": [(["x"], "x", {"f1": 100.0})]}, {"en": 100.0}),
    }
    write_evaluation(tmp_path / cell.directory, families)
    arguments = ("--plan=encyclopedia", f"--output_dir={tmp_path}", "--seeds=1")
    assert run(*arguments, "--tables_only", "--num_replicates=50") == 0
    rows = json.loads((tmp_path / "tables.json").read_text())
    done = [row for row in rows if row["mean"] is not None]
    assert {row["pretraining"] for row in done} == {"presence"}
    assert {row["status"] for row in rows} == {"run", "not run"}
    markdown = (tmp_path / "tables.md").read_text()
    assert "learning rate 0.02 * constant, dropout 0; the last checkpoint" in markdown
    assert "greedy, inputs up to 128 and answers up to 32 tokens" in markdown
    assert (tmp_path / "tables/encyclopedia_stages.csv").is_file()
    assert "1 of 6 models were evaluated." in (tmp_path / "index.html").read_text()


TINY = """
title = "A tiny plan"
seeds = 2
jobs = 2

[tasks.nli]
title = "NLI"
family = "encyclopedia_nli_eval"
metric = "accuracy"

[pretraining_defaults]
model = "tiny"
gin_files = ["configs/plans/encyclopedia_pretrain.gin"]

[pretraining_defaults.settings]
PREPARED_DIR = "{output}/stores"
MIXTURE_OR_TASK_NAME = "encyclopedia.en"
TRAIN_STEPS = 4
SWITCH_STEP = 2
BATCH_SIZE = 8
TASK_FEATURE_LENGTHS = { inputs = 32, targets = 8 }
PROBE_PERIOD = 0
EVAL_ROWS = 8
EVAL_PERIOD = 4

[[pretrainings]]
name = "presence"
variant = "presence"

[[finetunings]]
name = "en"
setting = "zero_shot"
gin_files = ["configs/plans/encyclopedia_finetune.gin"]
evaluations = [
  { mixture = "encyclopedia_nli_zeroshot", tasks = ["nli"], arguments = ["--max_examples=3"] },
]

[finetunings.settings]
PREPARED_DIR = "{output}/stores"
MIXTURE_OR_TASK_NAME = "encyclopedia_nli_zeroshot"
TRAIN_STEPS_RELATIVE = 2
BATCH_SIZE = 4
TASK_FEATURE_LENGTHS = { inputs = 64, targets = 8 }

[[tables]]
name = "tiny"
title = "Tiny"
rows = ["presence"]
tasks = ["nli"]
settings = ["zero_shot"]
"""


@pytest.mark.slow
def test_a_tiny_plan_runs_to_its_tables_and_not_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # one device
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    arguments = (f"--plan={path}", f"--output_dir={tmp_path / 'out'}", "--num_replicates=100")
    assert run(*arguments) == 0, capsys.readouterr().err
    rows = json.loads((tmp_path / "out/tables.json").read_text())
    by_language = {row["language"]: row for row in rows}
    assert len(by_language) == 9  # eight languages and their average
    for row in rows:
        assert 0 <= row["interval"][0] <= row["mean"] <= row["interval"][1] <= 100
        assert (row["seeds"], row["std"] is None) == (2, False)
    assert by_language["sw"]["num_examples"] == 3
    first = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("unit.json")}
    assert len(first) == 6
    assert run(*arguments) == 0
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("unit.json")}
    assert first == again
    assert "6 are done" in capsys.readouterr().err
