"""A study as HTML: its rows in a table, and how they came about."""

from collections.abc import Mapping
from typing import Any

from presence_t5x.reporting.sortable import sortable_table
from presence_t5x.reporting.svg import escape


def study_section(study: Mapping[str, Any]) -> str:
    """Returns the content of a study.json as `<section>`: title, table, protocol.

    Args:
      study: "study" (its name), "title", "columns", "rows" and "protocol".
    """
    names = [column["name"] for column in study["columns"]]
    table = sortable_table(
        f"study-{study['study']}-rows",
        [column["title"] for column in study["columns"]],
        [[row.get(name) for name in names] for row in study["rows"]],
    )
    told = "".join(
        f"<li>{escape(f'{name}: {value}')}</li>" for name, value in study["protocol"].items()
    )
    return (
        f'<section id="study-{study["study"]}"><h2>{escape(study["title"])}</h2>{table}'
        f'<details open><summary>Protocol</summary><ul class="caveats">{told}</ul></details>'
        "</section>"
    )
