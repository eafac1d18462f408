"""What a reproduction saves gives its page again."""

import dataclasses
from pathlib import Path

import pytest

from presence_t5x.reproduction.expansion import expand
from presence_t5x.reproduction.page import render_page
from presence_t5x.reproduction.plan_files import load_plan, plan_as_json, plan_from_json
from presence_t5x.reproduction.rows import Row, make_rows
from presence_t5x.reproduction.saved_tables import SavedTables, read_saved, write_saved


@pytest.fixture
def plan():
    return load_plan("encyclopedia", quick=True)


@pytest.mark.parametrize("name", ["encyclopedia", "sequential", "score_functions", "paper"])
def test_a_plan_survives_json(name):
    plan = load_plan(name)
    content = plan_as_json(plan)
    again = plan_from_json(content)
    assert plan_as_json(again) == content and type(again) is type(plan)
    if name == "encyclopedia":  # planning the larger ones takes long
        output = Path("output")
        commands, others = (
            [unit.command(output, "python") for unit in expand(found).units]
            for found in (plan, again)
        )
        assert commands == others != []


def test_saved_tables_give_the_same_page(plan, tmp_path):
    rows = make_rows(plan, {}, None)
    measured = {
        "mean": 51.5,
        "std": 1.25,
        "interval": (50.0, 53.0),
        "seeds": 2,
        "status": "run",
        "difference": 1.5,
        "difference_interval": (-1.0, 4.0),
        "above_guess": True,
    }
    rows[0] = dataclasses.replace(rows[0], **measured)
    told = {table.name: ["a < b", "seeds: 2"] for table in plan.tables}
    write_saved(SavedTables(plan, rows, told), tmp_path)
    found = read_saved(tmp_path)
    assert found.rows == rows and all(isinstance(row, Row) for row in found.rows)
    assert found.protocols == told
    assert render_page(*found) == render_page(plan, rows, told)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("plan.json", None, r"plan\.json is missing; python -m presence_t5x\.reproduce"),
     ("tables.json", None, r"tables\.json is missing"),
     ("tables.json", "[", r"tables\.json is damaged"),
     ("tables.json", '[{"table": "t"}]', r"plan\.json or tables\.json is damaged"),
     ("plan.json", '{"protocols": {}}', r"damaged \('plan'\)"),
     ("plan.json", '{"plan": {"name": "a", "tasks": {}}, "protocols": {}}', "it has no 'tables'")],
)  # fmt: skip
def test_damage_is_named(plan, tmp_path, name, content, message):
    write_saved(SavedTables(plan, make_rows(plan, {}, None), {}), tmp_path)
    path = tmp_path / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_saved(tmp_path)
