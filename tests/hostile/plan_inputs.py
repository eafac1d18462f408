"""Plans and run directories for the tables and pages."""

import json

from hostile.harness import Corpus
from plan_text import PLAN

CASES = Corpus()


def planned(place, content):
    """The arguments that run a plan of some content; nothing runs if it is refused."""
    file = place.folder / "hostile.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [f"--plan={file}", f"--output_dir={place.output / 'plan'}", "--dry_run"]


def replaced(place, old, new):
    """The same, of a good plan in which something stands for something else."""
    assert old in PLAN
    return planned(place, PLAN.replace(old, new, 1))


@CASES.add("reproduce", "nowhere.toml", "neither")
def absent(place):
    return ["--plan=nowhere.toml"]


@CASES.add("reproduce", "hostile.toml", "no TOML", "line 1")
def no_toml(place):
    return planned(place, "{ this is no toml")


@CASES.add("reproduce", "hostile.toml", "no TOML")
def binary(place):
    return planned(place, bytes(range(256)))


@CASES.add("reproduce", "hostile.toml", "no TOML|nest")
def deep_nesting(place):
    return planned(place, "a = " + "[" * 50_000)


@CASES.add("reproduce", "hostile.toml", "has no")
def nearly_empty(place):
    return planned(place, 'title = "nothing"\n')


@CASES.add("reproduce", "hostile.toml", "pages")
def unknown_key(place):
    return planned(place, "pages = 5\n" + PLAN)


@CASES.add("reproduce", "hostile.toml", "seeds", "integer")
def text_for_a_number(place):
    return replaced(place, "seeds = 2", 'seeds = "two"')


@CASES.add("reproduce", "hostile.toml", "seeds", "<=")
def a_billion_seeds(place):
    return replaced(place, "seeds = 2", "seeds = 1000000000")


@CASES.add("reproduce", "hostile.toml", "tables")
def number_for_tables(place):
    return planned(place, "tables = 7\n" + PLAN.split("[[tables]]")[0])


@CASES.add("reproduce", "hostile.toml", "gin_files")
def numbers_for_gin_files(place):
    return replaced(place, '["configs/runs/quickstart_presence.gin"]', "[1, 2]")


@CASES.add("reproduce", "hostile.toml", "nobody", "none of")
def row_that_nobody_trains(place):
    return replaced(place, 'rows = ["baseline", "presence", "filtered"]', 'rows = ["nobody"]')


@CASES.add("reproduce", "hostile.toml", "twice")
def name_that_is_there_twice(place):
    return replaced(place, 'name = "presence"', 'name = "baseline"')


@CASES.add("reproduce", "hostile.toml", "name", r"\.\.|letters")
def name_that_leaves_the_output(place):
    return planned(place, PLAN.replace('"baseline"', '"../../outside"'))


def _circle(one, two):
    filtered = 'filtered = {{ scorer = "{}", corpus = "encyclopedia", arguments = [] }}'
    extra = [
        f'[[pretrainings]]\nname = "{name}"\nvariant = "v"\n{filtered.format(scorer)}\n'
        for name, scorer in {one: two, two: one}.items()
    ]
    return PLAN + "\n" + "\n".join(extra)


@CASES.add("reproduce", "hostile.toml", "filtered corpus itself")
def scorers_in_a_circle(place):
    return planned(place, _circle("left", "right"))


@CASES.add("reproduce", "hostile.toml", "filtered corpus itself")
def scorer_of_itself(place):
    return planned(place, _circle("self", "self"))


@CASES.add("reproduce", "plan 'hostile'", "TRAIN_STEPZ", "did you mean")
def misspelt_setting(place):
    return replaced(place, "TRAIN_STEPS = 10", "TRAIN_STEPZ = 10")


def reported(place, spoil):
    """The arguments of a report on two runs after `spoil(runs)`."""
    runs = place.valid.copy("runs", place.folder)
    spoil(runs)
    return [
        f"--baseline={runs / 'baseline'}",
        f"--presence={runs / 'presence'}",
        f"--output={place.output / 'report'}",
    ]


def with_line(place, name, change):
    """The same, with the first record of a file changed by `change(record)`."""

    def spoil(runs):
        file = runs / "presence" / name
        lines = file.read_text().split("\n")
        record = json.loads(lines[0])
        changed = change(record)
        lines[0] = json.dumps(record if changed is None else changed)
        file.write_text("\n".join(lines))

    return reported(place, spoil)


@CASES.add("report", "nowhere", "does not exist")
def no_run(place):
    return [*reported(place, lambda runs: None), "--baseline=nowhere"]


@CASES.add("report", "--presence", "--baseline")
def missing_argument(place):
    return ["--baseline=a", "--output=b"]


@CASES.add("report", r"metrics\.jsonl, line \d+", "JSON", "remove the line")
def torn_line(place):
    def spoil(runs):
        file = runs / "presence" / "metrics.jsonl"
        file.write_text(file.read_text()[:-30])

    return reported(place, spoil)


@CASES.add("report", r"metrics\.jsonl, line 1", "JSON")
def line_nested_to_the_limit(place):
    def spoil(runs):
        (runs / "presence" / "metrics.jsonl").write_text("[" * 100_000)

    return reported(place, spoil)


@CASES.add("report", r"metrics\.jsonl, line 1", "step", "integer")
def step_of_a_wrong_type(place):
    return with_line(place, "metrics.jsonl", lambda record: record.update(step="ten"))


@CASES.add("report", r"metrics\.jsonl, line 1", "step", "integer")
def step_of_400_digits(place):
    return with_line(place, "metrics.jsonl", lambda record: record.update(step=10**400))


@CASES.add("report", r"evaluation\.jsonl, line 1", "language", "text|string")
def list_for_a_language(place):
    return with_line(
        place, "evaluation.jsonl", lambda record: record["rows"][0].update(language=[1])
    )


@CASES.add("report", r"probe\.jsonl, line 1", "noise", "text|string")
def object_for_a_noise(place):
    return with_line(place, "probe.jsonl", lambda record: record["rows"][0].update(noise={"a": 1}))


@CASES.add("report", r"metrics\.jsonl, line 1", "presence/weights", "list")
def text_for_weights(place):
    return with_line(
        place, "metrics.jsonl", lambda record: record.update({"presence/weights": "heavy"})
    )


@CASES.add("report", r"config\.json", "JSON object")
def settings_of_a_wrong_type(place):
    return reported(place, lambda runs: (runs / "presence" / "config.json").write_text("[1]"))
