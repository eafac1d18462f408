"""Tables that the page's script sorts and filters: HTML whose cells tell their values."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from presence_t5x.reporting.scales import format_number
from presence_t5x.reporting.svg import escape


class Share(NamedTuple):
    """A number that is shown in percent."""

    value: float


Cell = str | bool | int | float | Share | None


def sortable_table(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    total: Sequence[Cell] | None = None,
) -> str:
    """Returns an HTML table; texts are escaped, and what is not known (None, NaN) is a dash.

    Args:
      name: its anchor; the page's address tells by it how the table is sorted.
      columns: their titles.
      rows: the first cell of each is its heading.
      total: a row that stays at the end.
    """
    first = rows[0] if rows else [None] * len(columns)
    head = "".join(
        f'<th scope="col"{_words(cell)}>{escape(title)}</th>' for title, cell in zip(columns, first)
    )
    foot = "" if total is None else f"<tfoot>{_row(total)}</tfoot>"
    return (
        f'<div class="scroll"><table class="sortable" id="{name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(map(_row, rows))}</tbody>{foot}</table></div>"
    )


def _row(row: Sequence[Cell]) -> str:
    return f'<tr><th scope="row">{escape(row[0])}</th>{"".join(map(_cell, row[1:]))}</tr>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, (str, bool)):
        return f"<td{_words(cell)}>{escape(cell)}</td>"
    value = cell.value if isinstance(cell, Share) else cell
    if value is None or not math.isfinite(value):
        return '<td data-value="">–</td>'
    if isinstance(cell, Share):
        shown = f"{value:.1%}".replace("%", " %").replace("-", "−")
    else:
        shown = f"{cell:,}" if isinstance(cell, int) else _three_digits(value)
    return f'<td data-value="{value!r}">{escape(shown)}</td>'


def _words(cell: Cell) -> str:
    """Text is left-aligned."""
    return ' class="words"' if isinstance(cell, (str, bool)) else ""


def _three_digits(value: float) -> str:
    """A number whose zeros stay where others of its column have digits.

    >>> _three_digits(12.0), _three_digits(1234.5)
    ('12.0', '1,234')
    """
    if 1e-3 <= abs(value) < 1000:
        return f"{value:#.3g}".rstrip(".").replace("-", "−")
    return format_number(value)
