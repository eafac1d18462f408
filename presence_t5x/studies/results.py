"""A study's results: JSON for programs, markdown and CSV for people."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from presence_t5x.files import write_text_atomically
from presence_t5x.run_log import plain_numbers
from presence_t5x.studies.separation import ALL

_SHOWN = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "found_in_top_10%": "noise in top 10 %",
    "found_in_top_20%": "noise in top 20 %",
    "over_clean": "mean over clean",
}


def write_results(
    directory: Path, protocol: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Writes study.json, study.csv and study.md.

    Args:
      directory: of the study.
      protocol: how the rows came about.
      rows: of `separations`, with the checkpoint's "step".
    """
    content = {"protocol": protocol, "rows": [plain_numbers(row) for row in rows]}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text_atomically(text + "\n", directory / "study.json")
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(sheet.getvalue(), directory / "study.csv")
    write_text_atomically(markdown(protocol, rows), directory / "study.md")


def markdown(protocol: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns for each checkpoint a table over all languages, and AUROC by language."""
    parts = ["# Noise against clean text", ""]
    for step in dict.fromkeys(row["step"] for row in rows):
        found = [row for row in rows if row["step"] == step]
        everywhere = [row for row in found if row["language"] == ALL]
        header = ["noise", "measure", *_SHOWN.values()]
        lines = [
            [row["noise"], row["measure"], *(_number(row[key]) for key in _SHOWN)]
            for row in everywhere
        ]
        parts += [f"## Step {step}, all languages", "", *_table(header, lines), ""]
        kinds = list(dict.fromkeys(row["noise"] for row in found))
        values = {(r["language"], r["noise"], r["measure"]): r["auroc"] for r in found}
        for measure in ("score", "loss"):
            lines = [
                [language, *(_number(values.get((language, kind, measure))) for kind in kinds)]
                for language in dict.fromkeys(row["language"] for row in found)
            ]
            title = f"### Step {step}, AUROC of the {measure} by language"
            parts += [title, "", *_table(["language", *kinds], lines), ""]
    parts += ["", *(f"- {name}: {value}" for name, value in protocol.items())]
    return "\n".join(parts) + "\n"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
