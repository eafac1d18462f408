"""Two runs become a handful of figures: what the weighting did to loss, time and ranking.

Pure functions of two `Run`s, besides `write_summary` and `print_tables`. The page with the curves
is `report`; both take their figures from here, so that they cannot disagree.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from presence_t5x.files import write_text_atomically
from presence_t5x.reporting.run_files import Record, Run, number, read_run, setting

__all__ = ["Run", "print_tables", "read_run", "summarize", "write_summary"]

CLEAN = "clean"
_BLIND_KIND = "random_words"
_CHANCE = 0.5


def summarize(baseline: Run, presence: Run) -> dict[str, Any]:
    """Returns the figures of an unweighted and a weighted run, ready for JSON.

    Losses are means per target token of the last evaluation, weighted by tokens over languages (and
    noise kinds); rows without tokens do not count, and a NaN loss makes the mean NaN: a run that
    broke in one language is not better for it. Seconds a step are the median of the later half of
    the timings, since the first ones include compilation. What was not measured is NaN.

    Returns:
      "baseline" and "presence": eval_loss_clean, eval_loss_noise, seconds_per_step, eval_step,
      tokens_per_second and auroc_by_noise {kind: {language: {"score", "loss"}}} of the last probe;
      "presence" also auroc {language: of the score, permuted words}, effective_sample_size (mean
      over logged steps, in units), num_units, final_temperature.
      "seconds_per_step_ratio": presence over baseline.
      "steps", "seeds": of each run; a seed is None when the settings have none.
      "blind_spot": see `blind_spot`.
    """
    figures = {"baseline": _run_figures(baseline), "presence": _run_figures(presence)}
    by_noise = figures["presence"]["auroc_by_noise"]
    figures["presence"].update(
        auroc={lang: pair["score"] for lang, pair in by_noise.get("permuted_words", {}).items()},
        effective_sample_size=_mean(_column(presence, "presence/effective_sample_size")),
        num_units=_mean(_column(presence, "presence/num_live_units")),
        final_temperature=_last(_column(presence, "presence/temperature")),
    )
    runs = {"baseline": baseline, "presence": presence}
    seconds = [figures[name]["seconds_per_step"] for name in ("presence", "baseline")]
    return {
        **figures,
        "seconds_per_step_ratio": seconds[0] / seconds[1] if seconds[1] else float("nan"),
        "steps": {name: _last([r["step"] for r in run.metrics], 0) for name, run in runs.items()},
        "seeds": {name: _seed(run) for name, run in runs.items()},
        "blind_spot": blind_spot(by_noise),
    }


def blind_spot(auroc_by_noise: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Says whether self-influence ranks random words below clean text while the loss does not.

    A model that has learned to expect random words has a small gradient there, so that inverse
    weighting would favour them.

    Returns:
      "auroc_by_noise": {kind: {"score", "loss"}}, means over the languages where it is known;
      "measured": whether random words were probed;
      "reproduced": whether the mean AUROC of the score is below 0.5 and that of the loss above.
    """
    means = {
        kind: {
            ranker: _mean(pair[ranker] for pair in languages.values())
            for ranker in ("score", "loss")
        }
        for kind, languages in auroc_by_noise.items()
    }
    random_words = means.get(_BLIND_KIND, {"score": float("nan"), "loss": float("nan")})
    score, loss = random_words["score"], random_words["loss"]
    return {
        "auroc_by_noise": means,
        "measured": math.isfinite(score) and math.isfinite(loss),
        "reproduced": score < _CHANCE < loss,
    }


def write_summary(summary: Mapping[str, Any], path: str | Path) -> None:
    """Writes the summary as JSON, whole or not at all; NaN and infinities become null."""
    text = json.dumps(_plain(summary), indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomically(text + "\n", path)


def print_tables(summary: Mapping[str, Any], console: Console) -> None:
    """Prints baseline against presence, and the AUROC of score and loss per kind and language.

    Fits 80 columns with eight languages; more are continued in a further table.
    """
    console.print(_comparison_table(summary))
    by_noise = summary["presence"]["auroc_by_noise"]
    languages = languages_of(by_noise)
    if not languages:
        console.print("AUROC of score and loss: no probe rows in the weighted run.")
        return
    a_table = max(1, (console.width - 32) // 6)
    for first in range(0, len(languages), a_table):
        console.print(_auroc_table(summary, languages[first : first + a_table]))


def languages_of(auroc_by_noise: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns every language of a nested {kind: {language: ...}} in order of appearance."""
    return list(dict.fromkeys(lang for languages in auroc_by_noise.values() for lang in languages))


def relative_change(baseline: float, presence: float) -> float:
    """Returns (presence - baseline) / baseline; NaN where that has no meaning.

    >>> relative_change(2.0, 1.5)
    -0.25
    """
    return (presence - baseline) / baseline if baseline > 0 else float("nan")


def mean_loss(rows: Iterable[Record], *, clean: bool) -> float:
    """Returns the token-weighted mean loss of an evaluation's clean rows, or of its noisy ones."""
    chosen = [row for row in rows if (row["noise"] == CLEAN) == clean]
    tokens = np.array([number(row["num_tokens"]) for row in chosen])
    losses = np.array([number(row["loss"]) for row in chosen])
    counted = tokens > 0
    total = tokens[counted].sum()
    return float((tokens[counted] * losses[counted]).sum() / total) if total else float("nan")


def _run_figures(run: Run) -> dict[str, Any]:
    """Returns the figures that both runs have."""
    last = run.evaluation[-1] if run.evaluation else {"rows": [], "step": None}
    later = run.timing[len(run.timing) // 2 :]
    return {
        "eval_loss_clean": mean_loss(last["rows"], clean=True),
        "eval_loss_noise": mean_loss(last["rows"], clean=False),
        "seconds_per_step": _median(record["seconds_per_step"] for record in later),
        "tokens_per_second": _median(record.get("tokens_per_second") for record in later),
        "eval_step": last["step"],
        "auroc_by_noise": _auroc_by_noise(run.probe[-1]["rows"] if run.probe else ()),
    }


def _auroc_by_noise(rows: Sequence[Record]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns {kind: {language: {"score", "loss"}}} of one probe."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["noise"] != CLEAN:
            pair = {"score": number(row["auroc_score"]), "loss": number(row["auroc_loss"])}
            nested.setdefault(row["noise"], {})[row["language"]] = pair
    return nested


def _comparison_table(summary: Mapping[str, Any]) -> Table:
    """Returns the rich table of loss and time."""
    table = Table(title="Held-out loss a target token, and time", box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in ("baseline", "presence", "change"):
        table.add_column(name, justify="right")
    baseline, presence = summary["baseline"], summary["presence"]
    for label, key, digits in (
        ("clean loss", "eval_loss_clean", 4),
        ("loss on noise", "eval_loss_noise", 4),
        ("seconds a step", "seconds_per_step", 4),
    ):
        change = relative_change(baseline[key], presence[key])
        cells = [_cell(baseline[key], digits), _cell(presence[key], digits)]
        table.add_row(label, *cells, f"{change:+.1%}" if math.isfinite(change) else "-")
    ratio = summary["seconds_per_step_ratio"]
    table.add_row("time ratio", "1.00", _cell(ratio, 2), "")
    size, units = presence["effective_sample_size"], presence["num_units"]
    table.add_row("effective sample size", "-", f"{_cell(size, 2)} of {_cell(units, 0)} units", "")
    return table


def _auroc_table(summary: Mapping[str, Any], languages: Sequence[str]) -> Table:
    """Returns the rich table of AUROC: two rows a noise kind, one column a language."""
    table = Table(
        title="AUROC, noise against clean (0.5 = chance)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("noise kind", overflow="fold")
    table.add_column("by")
    for language in languages:
        table.add_column(Text(language), justify="right", max_width=5, overflow="ellipsis")
    table.add_column("mean", justify="right")
    for kind, by_language in summary["presence"]["auroc_by_noise"].items():
        for ranker in ("score", "loss"):
            cells = [_cell(by_language.get(lang, {}).get(ranker), 2) for lang in languages]
            mean = summary["blind_spot"]["auroc_by_noise"][kind][ranker]
            name = Text(kind if ranker == "score" else "")
            table.add_row(name, ranker, *cells, _cell(mean, 2), end_section=ranker == "loss")
    return table


def _cell(value: Any, digits: int) -> str:
    """Returns a number with `digits` decimals, "-" when it is not known."""
    value = number(value)
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _seed(run: Run) -> Any:
    """Returns the run's seed, of the parameters or else of the data."""
    return setting(run.config, "random_seed", setting(run.config, "data.seed"))


def _column(run: Run, key: str) -> list[float]:
    """Returns one metric over the logged steps that have it."""
    return [number(record[key]) for record in run.metrics if key in record]


def _finite(values: Iterable[Any]) -> list[float]:
    """Returns the values that are finite numbers."""
    return [value for value in map(number, values) if math.isfinite(value)]


def _mean(values: Iterable[Any]) -> float:
    """Returns the mean of the finite values, NaN without any."""
    finite = _finite(values)
    return sum(finite) / len(finite) if finite else float("nan")


def _median(values: Iterable[Any]) -> float:
    """Returns the median of the finite values, NaN without any."""
    finite = _finite(values)
    return float(np.median(finite)) if finite else float("nan")


def _last(values: Sequence[Any], default: Any = float("nan")) -> Any:
    """Returns the last value, or the default of an empty sequence."""
    return values[-1] if values else default


def _plain(value: Any) -> Any:
    """Returns JSON data without NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
