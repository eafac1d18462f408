"""Planted answers become the right rows, tables, files and page."""

import csv
import dataclasses
import html.parser
import io
import json

import numpy as np
import pytest
from planted_scores import entities, nli, write_evaluation

from presence_t5x.reproduction.bootstrap import BootstrapConfig
from presence_t5x.reproduction.measured import measure
from presence_t5x.reproduction.page import render_page
from presence_t5x.reproduction.plan_parts import Evaluation, Finetuning, Pretraining, Table, Task
from presence_t5x.reproduction.plans import Plan
from presence_t5x.reproduction.rows import make_rows, row_as_json
from presence_t5x.reproduction.summary import findings, transfer_lines
from presence_t5x.reproduction.text_files import markdown, table_csv
from presence_t5x.reproduction.units import Cell

CONFIG = BootstrapConfig(num_replicates=500)
GIN = ("configs/runs/quickstart_presence.gin",)
EVALUATION = Evaluation(mixture="all", tasks=("xnli", "wikiann"))
PLAN = Plan(
    name="planted",
    title="Planted scores <b>",
    tasks=(
        Task(name="xnli", title="XNLI", family="nli", metric="accuracy", chance=100 / 3),
        Task(name="wikiann", title="WikiAnn", family="ner", metric="span_f1"),
    ),
    pretrainings=(
        Pretraining(name="a", model="mt5_base", variant="baseline", gin_files=GIN, temperature=0.0),
        Pretraining(name="b", model="mt5_base", variant="presence", gin_files=GIN),
        Pretraining(name="c", model="mt5_base", variant="direct", gin_files=GIN, temperature=1.0),
        Pretraining(name="d", model="mt5_base", variant="sequential", unavailable="no filter"),
    ),
    finetunings=(
        Finetuning(name="en", setting="zero_shot", gin_files=GIN, evaluations=(EVALUATION,)),
    ),
    tables=(
        Table(
            name="main",
            title="Main",
            rows=("a", "b", "d"),
            tasks=("xnli", "wikiann"),
            settings=("zero_shot",),
            paper="table3",
        ),
        Table(
            name="swahili",
            title="Swahili",
            rows=("a", "b"),
            tasks=("xnli",),
            settings=("zero_shot",),
            language="sw",
        ),
        Table(
            name="temperatures",
            title="Temperatures",
            layout="temperatures",
            rows=("c", "a"),
            tasks=("xnli",),
            settings=("zero_shot",),
        ),
    ),
    seeds=2,
)
# Right answers of two languages; "b" is right in Swahili wherever "a" is, and once more.
RIGHT = {
    ("a", 0): {"en": [1, 1, 1, 1, 1, 0], "sw": [1, 0, 0, 0, 0, 0]},
    ("a", 1): {"en": [1, 1, 1, 1, 1, 1], "sw": [1, 1, 0, 0, 0, 0]},
    ("b", 0): {"en": [1, 1, 1, 1, 1, 0], "sw": [1, 0, 0, 0, 0, 1]},
    ("b", 1): {"en": [1, 1, 1, 1, 1, 1], "sw": [1, 1, 0, 0, 0, 1]},
}
COUNTS = {"a": [(1, 1, 1), (0, 1, 1)], "b": [(1, 1, 1), (1, 1, 1)]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    output = tmp_path_factory.mktemp("planted")
    cells = []
    for (name, seed), right in RIGHT.items():
        families = {"nli": nli(**right), "ner": entities(sw=COUNTS[name])}
        write_evaluation(output / f"{name}{seed}", families)
        cells.append(Cell(name, "zero_shot", seed, EVALUATION, f"{name}{seed}"))
    cells.append(Cell("c", "zero_shot", 0, EVALUATION, "not_there"))
    return make_rows(PLAN, measure(PLAN, cells, output), CONFIG)


def find(rows, **wanted):
    (row,) = (r for r in rows if all(getattr(r, k) == v for k, v in wanted.items()))
    return row


def test_means_and_deviations_are_those_of_the_seeds(rows):
    row = find(rows, table="main", task="xnli", language="sw", pretraining="a")
    assert row.mean == pytest.approx((100 / 6 + 200 / 6) / 2)
    assert row.std == pytest.approx(np.std([100 / 6, 200 / 6], ddof=1))
    assert (row.seeds, row.num_examples, row.metric, row.status) == (2, 6, "accuracy", "run")
    average = find(rows, table="main", task="xnli", language="average", pretraining="a")
    assert average.mean == pytest.approx(((500 + 100) / 12 + (600 + 200) / 12) / 2)
    assert average.num_examples == 12


def test_intervals_enclose_means(rows):
    for row in rows:
        if row.mean is not None:
            low, high = row.interval
            assert 0 <= low <= row.mean <= high <= 100


def test_entity_f1_is_a_percentage_of_the_counts(rows):
    row = find(rows, table="main", task="wikiann", language="sw", pretraining="a")
    assert row.mean == pytest.approx(100 * 2 * 1 / 4)
    assert row.std == pytest.approx(0.0)


def test_differences_are_drawn_with_the_baseline(rows):
    row = find(rows, table="main", task="xnli", language="sw", pretraining="b")
    assert row.difference == pytest.approx(100 / 6)
    assert row.difference_interval[0] >= 0  # b is never worse than a, example by example
    assert find(rows, table="main", task="xnli", language="sw", pretraining="a").difference is None


def test_the_most_frequent_answer_is_what_rows_are_held_against(rows):
    row = find(rows, table="main", task="xnli", language="en", pretraining="a")
    assert row.guess == pytest.approx(400 / 6)
    assert row.chance == pytest.approx(100 / 3)
    assert row.above_guess is (row.interval[0] > 400 / 6)
    assert (
        find(rows, table="main", task="xnli", language="sw", pretraining="a").above_guess is False
    )
    ner = find(rows, table="main", task="wikiann", language="sw", pretraining="b")
    assert ner.guess == pytest.approx(100.0)  # every example names Bern


def test_what_was_not_run_is_there_and_says_so(rows):
    row = find(rows, table="main", task="xnli", language="average", pretraining="d")
    assert (row.mean, row.seeds, row.status) == (None, 0, "no filter")
    row = find(rows, table="temperatures", language="average", pretraining="c")
    assert (row.mean, row.status) == (None, "not run")


def test_the_paper_stands_beside_what_it_reports_and_nothing_else(rows):
    row = find(rows, table="main", task="xnli", language="average", pretraining="b")
    assert row.paper == 74.47
    assert find(rows, table="main", task="xnli", language="sw", pretraining="b").paper is None
    assert all(row.paper is None for row in rows if row.table != "main")


def test_rows_have_the_promised_fields(rows):
    content = json.loads(json.dumps([row_as_json(row) for row in rows]))
    promised = {"table", "setting", "task", "language", "variant", "metric", "mean", "std"}
    promised |= {"interval", "seeds", "paper"}
    assert all(promised <= row.keys() for row in content)


GOLDEN = """\
## Main

**zero shot**

|  | XNLI (accuracy) | WikiAnn (span F1) |
| --- | --- | --- |
| baseline | 58.3 ± 11.8 [{}] (paper 74.2) | 50.0 ± 0.0 [{}] (paper 43.3) |
| PRESENCE | 66.7 ± 11.8 [{}] (paper 74.5) | 100.0 ± 0.0 [100.0, 100.0] (paper 43.4) |
| PRESENCE-Sequential | not run | not run |
| most frequent answer | 66.7 | 100.0 |

- protocol line
"""


def test_markdown_is_laid_out_as_the_paper(rows):
    intervals = [
        "{:.1f}, {:.1f}".format(
            *find(rows, table="main", task=t, language="average", pretraining=p).interval
        )
        for p, t in (("a", "xnli"), ("a", "wikiann"), ("b", "xnli"))
    ]
    text = markdown(PLAN, rows, {"main": ["protocol line"]})
    assert GOLDEN.format(*intervals) in text
    assert "| temperature | 0 | 1 |" in text
    assert "**zero shot, XNLI (accuracy)**\n\n|  | en | sw | average |" in text


def test_csv_holds_the_rows_of_its_table(rows):
    found = list(csv.DictReader(io.StringIO(table_csv(PLAN.tables[1], rows))))
    assert [(row["pretraining"], row["language"]) for row in found] == [("a", "sw"), ("b", "sw")]
    row = find(rows, table="swahili", pretraining="b")
    assert float(found[1]["mean"]) == row.mean
    assert json.loads(found[1]["interval"]) == [*row.interval]


class Page(html.parser.HTMLParser):
    """Collects the tags, and checks that they are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_needs_nothing_else(rows):
    protocols = {table.name: ["a < b"] for table in PLAN.tables}
    page = Page()
    page.feed(render_page(PLAN, rows, protocols))
    assert page.open == []
    assert not any({"src", "srcset", "onclick"} & attrs.keys() for _, attrs in page.tags)
    assert not any(tag in ("script", "link", "img") for tag, _ in page.tags)
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {"#main", "#swahili", "#temperatures", "#languages"}
    text = "".join(page.text)
    assert "Planted scores <b>" in text and "a < b" in text and "paper 74.5" in text
    # One chart a column of variants, one a task of temperatures.
    assert sum(tag == "svg" for tag, _ in page.tags) == 2 + 1 + 1


def test_a_page_of_nothing_says_so():
    rows = make_rows(PLAN, {}, CONFIG)
    page = render_page(PLAN, rows, {table.name: [] for table in PLAN.tables})
    assert "0 of 4 models were evaluated." in page and "Nothing was run yet." in page


def test_sentences_say_what_the_rows_say(rows):
    first, *others = findings(PLAN, rows)
    assert first == "2 of 4 models were evaluated."
    (line,) = others
    row = find(rows, table="main", task="xnli", language="average", pretraining="b")
    low, high = row.difference_interval
    assert line.startswith(
        f"PRESENCE against baseline, zero shot: XNLI accuracy +8.3 [{low:+.1f}, {high:+.1f}]"
    )
    assert "; XNLI (sw) accuracy +16.7" in line  # of the table of Swahili
    planted = [dataclasses.replace(row, above_guess=row.language == "en") for row in rows]
    assert (
        "Languages above chance and above the most frequent answer, zero shot, XNLI: baseline 1 of "
        "2 (not sw); PRESENCE 1 of 2 (not sw)."
    ) in transfer_lines(PLAN, planted)


def test_answers_that_do_not_give_the_scores_are_refused(tmp_path):
    metric, examples, values = nli(en=[1, 0, 1])
    write_evaluation(tmp_path / "a0", {"nli": (metric, examples, {"en": values["en"] + 1})})
    cell = Cell("a", "zero_shot", 0, Evaluation(mixture="all", tasks=("xnli",)), "a0")
    with pytest.raises(ValueError, match=r"give accuracy 66\.6667, but scores\.json says 67\.6667"):
        measure(PLAN, [cell], tmp_path)


def test_answers_without_values_of_the_metric_are_named(tmp_path):
    metric, examples, values = nli(en=[1, 0])
    rows = [(target, answer, {"em": 0.0}) for target, answer, _ in examples["en"]]
    write_evaluation(tmp_path / "a0", {"nli": (metric, {"en": rows}, values)})
    cell = Cell("a", "zero_shot", 0, Evaluation(mixture="all", tasks=("xnli",)), "a0")
    with pytest.raises(ValueError, match=r"nli\.en\.jsonl does not hold 'accuracy' of every"):
        measure(PLAN, [cell], tmp_path)


def test_seeds_that_answered_other_examples_are_refused(tmp_path):
    evaluation = Evaluation(mixture="all", tasks=("xnli",))
    for seed, right in ((0, [1, 0, 1]), (1, [1, 0])):
        write_evaluation(tmp_path / f"a{seed}", {"nli": nli(en=right)})
    cells = [Cell("a", "zero_shot", seed, evaluation, f"a{seed}") for seed in (0, 1)]
    with pytest.raises(ValueError, match="seeds 0 and 1 were tested on different examples"):
        measure(PLAN, cells, tmp_path)


@pytest.mark.parametrize("first_id", [0, 1])
def test_models_that_answered_other_examples_are_not_compared(tmp_path, first_id):
    evaluation = Evaluation(mixture="all", tasks=("xnli",))
    for name, first in (("a", 0), ("b", first_id)):
        write_evaluation(tmp_path / name, {"nli": nli(en=[1, 0, 1], sw=[1, 1, 1])}, first)
    cells = [Cell(name, "zero_shot", 0, evaluation, name) for name in "ab"]
    rows = make_rows(PLAN, measure(PLAN, cells, tmp_path), CONFIG)
    found = [row for row in rows if row.pretraining == "b" and row.mean is not None]
    assert {row.language for row in found} == {"en", "sw", "average"}
    assert {row.difference for row in found} == {None if first_id else 0.0}


def test_an_evaluation_without_the_metric_names_those_it_has(tmp_path):
    write_evaluation(tmp_path / "a0", {"ner": entities(en=[(1, 1, 1)])})
    cell = Cell("a", "zero_shot", 0, EVALUATION, "a0")
    with pytest.raises(ValueError, match=r"no 'accuracy' of 'nli'; it has \['ner'\]"):
        measure(PLAN, [cell], tmp_path)
