"""A study as HTML: its rows in a table, and how they came about."""

from collections.abc import Mapping
from typing import Any

from presence_t5x.reporting.scales import format_number
from presence_t5x.reporting.svg import escape


def study_section(study: Mapping[str, Any]) -> str:
    """Returns the content of a study.json as an HTML fragment.

    Args:
      study: "rows", "protocol" and, unless all rows have the same keys, "columns".
    """
    rows = study["rows"]
    columns = study.get("columns") or [
        {"name": name, "title": name.replace("_", " ")} for name in (rows[0] if rows else ())
    ]
    head = "".join(f'<th scope="col">{escape(column["title"])}</th>' for column in columns)
    body = "".join(
        f"<tr>{''.join(_cell(row.get(column['name'])) for column in columns)}</tr>" for row in rows
    )
    told = "".join(
        f"<li>{escape(f'{name}: {value}')}</li>" for name, value in study["protocol"].items()
    )
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<details open><summary>Protocol</summary><ul class='caveats'>{told}</ul></details>"
    )


def _cell(value: object) -> str:
    """Numbers are short; what was not measured is a dash."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<td data-value="{value}">{escape(format_number(value))}</td>'
    return f"<td>{escape('–' if value is None else value)}</td>"
