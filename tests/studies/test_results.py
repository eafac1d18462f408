"""The common format: what is written is what is shown, escaped, and what cannot be is refused."""

import csv
import json
import math
from xml.etree import ElementTree

import pytest

from presence_t5x.studies.page import study_page, study_section
from presence_t5x.studies.results import (
    Chart,
    Column,
    Study,
    Table,
    grids,
    read_study,
    value_text,
    write_study,
)

EVIL = '<script>alert("x")</script>'
COLUMNS = (
    Column("step", "step"),
    Column("language", "language", "label"),
    Column("measure", EVIL, "label"),
    Column("auroc", "AUROC & more"),
    Column("low", "low"),
    Column("high", "high"),
)
ROWS = [
    {
        "step": step,
        "language": language,
        "measure": measure,
        "auroc": (0.5 + step / 100) if measure == "score" else math.nan,
        "low": 0.4,
        "high": 0.9,
    }
    for step in (10, 20)
    for language in ("en", EVIL)
    for measure in ("score", "loss")
]


def make_study(**changes):
    settings = {
        "study": "noise",
        "title": f"Noise {EVIL}",
        "columns": COLUMNS,
        "rows": ROWS,
        "protocol": {"seed": 0, "layers": [EVIL], "commit": "abc"},
        "findings": [f"Found {EVIL}", "More"],
        "charts": [
            Chart(
                title=f"Over training {EVIL}",
                x="step",
                y="auroc",
                series="language",
                where={"measure": ["score", "none"]},
                low="low",
                high="high",
            ),
            Chart(title="At the end", x="language", y="auroc", where={"step": 20}),
            Chart(title="Nothing", x="step", y="auroc", where={"measure": "loss"}),
        ],
        "tables": [
            Table(
                title="AUROC by language",
                where={"measure": "score"},
                down="language",
                across="step",
                value="auroc",
            ),
            Table(title="Rows", where={"step": 10}, columns=("language", "measure", "auroc")),
            Table(title="None", where={"step": 11}, columns=("language",)),
        ],
    }
    return Study(**{**settings, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("study")
    return directory, write_study(directory, make_study())


def parse(html):
    """The fragment as a tree; it must be well-formed but for its entities, which are XML's."""
    return ElementTree.fromstring(html)


def test_what_is_written_is_read(written):
    directory, content = written
    assert read_study(directory) == content == json.loads(json.dumps(content))
    assert content["rows"][1]["auroc"] is None  # NaN is not JSON
    with open(directory / "study.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["measure"] for row in rows] == ["score", "loss"] * 4
    assert (rows[0]["auroc"], rows[1]["auroc"]) == ("0.6", "")
    text = (directory / "study.md").read_text()
    assert f"| {EVIL} | 0.600 | 0.700 |" in text and "| en | loss | – |" in text
    assert "- Found" in text and '- layers: ["<script>' in text and "## None" not in text


def test_the_section_shows_everything_escaped(written):
    section = study_section(written[1])
    tree = parse(section)
    assert "<script" not in section and tree.get("id") == "study-noise"
    words = "".join(tree.itertext())
    for shown in (f"Noise {EVIL}", f"Found {EVIL}", "AUROC & more", "commit: abc", "0.700"):
        assert shown in words, shown
    charts = [svg.find("title").text for svg in tree.iter("svg") if svg.find("title") is not None]
    assert charts == [f"Over training {EVIL}", "At the end"]  # nothing to draw is not drawn
    assert len(list(tree.iter("table"))) == 2
    lines = list(tree.iter("polyline"))
    assert len(lines) == 2 and len(list(tree.iter("polygon"))) == 2  # two languages with intervals


def test_the_page_holds_the_section_and_no_script_but_its_own(written):
    page = study_page(written[1])
    assert page.count("<script") == 2 and page.count("</script") == 2  # no data, and what sorts
    assert '<script type="application/json" id="data">{}</script>' in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 2 and "Found &lt;script&gt;" in page
    assert (written[0] / "study.html").read_text() == page


def test_a_study_without_tables_shows_all_rows_and_long_ones_are_folded():
    bare = {**json.loads(json.dumps({"study": "s", "title": "t", "charts": [], "protocol": {}}))}
    bare |= {"columns": [{"name": "a", "title": "A", "kind": "number"}]}
    bare["rows"] = [{"a": i} for i in range(700)]
    assert len(grids(bare)[0].lines) == 700
    section = study_section(bare)
    assert section.count("<tr>") == 501 and "500 of 700 rows" in section
    assert "<details><summary>All rows" in section


@pytest.mark.parametrize(
    "changes",
    [
        {"charts": [Chart(title="c", x="nothing", y="auroc")]},
        {"charts": [Chart(title="c", x="step", y="auroc", where={"nothing": 1})]},
        {"tables": [Table(title="t", columns=("nothing",))]},
        {"rows": [{"nothing": 1}]},
    ],
)
def test_columns_that_are_not_there_are_refused(changes):
    with pytest.raises(ValueError, match="nothing"):
        make_study(**changes)


def test_damaged_results(tmp_path):
    with pytest.raises(ValueError, match="has no study"):
        read_study(tmp_path)
    for content, message in (("{", "is damaged"), ('{"study": "x"}', "lacks")):
        (tmp_path / "study.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_study(tmp_path)


def test_numbers_as_texts():
    values = (12345.6, 0.0, True, math.inf, -0.25)
    assert [value_text(value) for value in values] == ["1.23e+04", "0.000", "True", "–", "-0.250"]
