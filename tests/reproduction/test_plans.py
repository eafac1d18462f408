"""Plans: the packaged ones say what they should, broken ones are refused in one line."""

import pytest
from plan_text import PLAN

from presence_t5x.reproduction.expansion import expand
from presence_t5x.reproduction.plan_files import load_plan

UNAVAILABLE = 'unavailable = "no filter"'


def filtered_by(scorer):
    return f'filtered = {{ scorer = "{scorer}", corpus = "encyclopedia", arguments = [] }}'


@pytest.fixture
def write_plan(tmp_path):
    def write(*replacements):
        text = PLAN
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return write


EVALUATION = '{ mixture = "encyclopedia_nli_zeroshot", tasks = ["nli"] }'


def names(work, kind):
    return [unit.name for unit in work.units if unit.kind == kind]


def test_tables_that_share_a_model_run_it_once(write_plan):
    work = expand(load_plan(write_plan()))
    assert names(work, "pretrain") == [
        f"pretrain/{variant}/seed{seed}" for seed in (0, 1) for variant in ("baseline", "presence")
    ]
    assert len(names(work, "finetune")) == len(names(work, "evaluate")) == 4
    assert [cell.pretraining for cell in work.cells] == ["baseline", "presence"] * 2


def test_units_come_after_what_they_need(write_plan):
    done = set()
    for unit in expand(load_plan(write_plan())).units:
        assert done.issuperset(unit.needs)
        done.add(unit.name)


def test_settings_go_over_defaults(write_plan):
    work = expand(load_plan(write_plan()))
    found = {unit.name: unit.settings for unit in work.units}
    baseline = found["pretrain/baseline/seed1"]
    assert baseline["temperature"]["schedule"] == "unweighted"
    assert (baseline["train_steps"], baseline["random_seed"]) == (10, 1)
    tuned = found["finetune/presence/en/seed1"]
    assert tuned["initial_checkpoint"] == "{output}/pretrain/presence/seed1/run"


def test_a_changed_setting_changes_what_depends_on_it_alone(write_plan):
    before = {u.name: u.fingerprint for u in expand(load_plan(write_plan())).units}
    changed = write_plan(('variant = "presence"', 'variant = "presence"\nsettings = {TAU_1 = 0.5}'))
    after = {u.name: u.fingerprint for u in expand(load_plan(changed)).units}
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {
        f"{kind}/seed{seed}"
        for kind in (
            "pretrain/presence",
            "finetune/presence/en",
            "evaluate/presence/en/encyclopedia_nli_zeroshot",
        )
        for seed in (0, 1)
    }


def test_a_gin_file_that_changes_changes_fingerprints(tmp_path, write_plan):
    gin = tmp_path / "mine.gin"
    plan = write_plan(("configs/runs/quickstart_presence.gin", str(gin)))
    found = []
    for rate in (1.0, 0.5):
        text = 'include "configs/runs/quickstart_presence.gin"\nBASE_LEARNING_RATE = '
        gin.write_text(f"{text}{rate}\n")
        found.append({unit.fingerprint for unit in expand(load_plan(plan)).units})
    assert not found[0] & found[1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('rows = ["baseline", "presence"', 'rows = ["base", "presence"', "'base' is none of"),
        ('setting = "zero_shot"', 'setting = "zeroshot"', "did you mean 'zero_shot'"),
        ('metric = "accuracy"', 'metric = "acuracy"', "'nli': metric='acuracy'.*'accuracy', 'em'"),
        ('metric = "accuracy"', 'metrics = "accuracy"', "unexpected keyword argument 'metrics'"),
        ('name = "presence"', 'name = "baseline"', r"\['baseline'\] stand there twice"),
        ("seeds = 2", "seeds = 0", "seeds=0 must be >= 1"),
        ("seeds = 2", "seeds = ", "is no TOML"),
        ("[tasks.nli]", "[task.nli]", "it has no 'tasks'; see the packaged plans"),
        ('tasks = ["nli"] }', 'tasks = ["qa"] }', "'qa' is none of"),
        (EVALUATION, f"{EVALUATION}, {EVALUATION}", "'nli', setting 'zero_shot' is evaluated twic"),
        (UNAVAILABLE, filtered_by("basline"), "did you mean 'baseline'"),
        (UNAVAILABLE, filtered_by("filtered"), "reads a filtered corpus itself"),
    ],
)
def test_a_broken_plan_is_refused(write_plan, old, new, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_plan(write_plan((old, new)))
    assert "\n" not in str(caught.value) and "mine.toml" in str(caught.value)


def test_two_commands_of_one_name_are_refused(write_plan):
    other = '{ mixture = "encyclopedia_nli_zeroshot", split = "validation", tasks = ["dev"] }'
    tasks = '[tasks.dev]\ntitle = "Dev"\nfamily = "encyclopedia_nli_eval"\nmetric = "accuracy"\n'
    path = write_plan(
        (EVALUATION, f"{EVALUATION}, {other}"),
        ("[tasks.nli]", f"{tasks}\n[tasks.nli]"),
        ('tasks = ["nli"]\nsettings', 'tasks = ["nli", "dev"]\nsettings'),
    )
    with pytest.raises(ValueError, match=r"evaluate/baseline/en/\w+/seed0.*split=validation"):
        expand(load_plan(path))


def test_a_wrong_setting_is_known_before_anything_runs(write_plan):
    plan = load_plan(write_plan(("SWITCH_STEP = 5", "SWITCH_STEPS = 5")))
    with pytest.raises(ValueError, match=r"quickstart_presence\.gin.*SWITCH_STEP"):
        expand(plan)


def test_the_folder_of_files_is_asked_for_where_it_is_needed(write_plan, tmp_path):
    with pytest.raises(ValueError, match="leave out --data_dir"):
        load_plan(write_plan(), data_dir=str(tmp_path))
    needing = write_plan(("TRAIN_STEPS = 10", 'LOCAL_TEXT_FILES = "{data_dir}/*.txt"'))
    with pytest.raises(ValueError, match="give their folder with --data_dir=DIR"):
        load_plan(needing)
    with pytest.raises(ValueError, match="is no folder"):
        load_plan(needing, data_dir="nowhere")
    found = load_plan(needing, data_dir=str(tmp_path)).pretraining("presence")
    assert found.settings["LOCAL_TEXT_FILES"] == f"{tmp_path.resolve()}/*.txt"


def test_an_unknown_plan_is_refused_with_those_there_are(write_plan):
    with pytest.raises(ValueError, match=r"'paper'.*did you mean 'encyclopedia'"):
        load_plan("encyclopaedia")
    with pytest.raises(ValueError, match=r"has no \[quick\] settings"):
        load_plan(write_plan(), quick=True)


def test_quick_settings_go_over_all_others(write_plan):
    quick = "[quick]\nseeds = 1\npretraining_settings = { TRAIN_STEPS = 3 }\n"
    quick += 'evaluation_arguments = ["--max_examples=5"]\n\n[tasks.nli]'
    path = write_plan(("[tasks.nli]", quick))
    work = expand(load_plan(path, quick=True))
    assert [u.num_steps for u in work.units if u.kind == "pretrain"] == [3, 3]
    assert work.units[-1].arguments[-1] == "--max_examples=5"
    assert load_plan(path, quick=True, seeds=4).seeds == 4
    assert load_plan(path).seeds == 2
