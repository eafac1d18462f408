"""The words and tables of the report, computed from the summary: nothing here knows the outcome.

Sentences are plain text (the caller escapes them); tables are HTML whose every cell is escaped.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from presence_t5x.reporting.run_files import Record, Run, number
from presence_t5x.reporting.scales import format_number
from presence_t5x.reporting.summary import CLEAN, blind_spot, languages_of, relative_change
from presence_t5x.reporting.svg import escape

_UNCHANGED = 0.0005  # a smaller relative change would be printed as 0.0 %


def plain_words(kind: str) -> str:
    """Returns a noise kind as a person writes it.

    >>> plain_words("permuted_words")
    'permuted words'
    """
    return str(kind).replace("_", " ")


def verdict(summary: Mapping[str, Any]) -> str:
    """Returns one sentence: what the weighting did to held-out clean loss, and at what cost."""
    before = summary["baseline"]["eval_loss_clean"]
    after = summary["presence"]["eval_loss_clean"]
    change = relative_change(before, after)
    if not math.isfinite(change):
        broken = [n for n in ("baseline", "presence") if not _known(summary[n]["eval_loss_clean"])]
        which = " and of ".join(broken) or "the baseline"
        return f"No verdict: the held-out clean loss of {which} is missing or not finite."
    losses = f"({before:.3f} → {after:.3f} nats per target token)"
    if abs(change) < _UNCHANGED:
        outcome = f"Weighting left held-out clean loss unchanged {losses}"
    else:
        verb = "lowered" if change < 0 else "raised"
        outcome = f"Weighting {verb} held-out clean loss by {abs(change):.1%} {losses}"
    ratio = summary["seconds_per_step_ratio"]
    cost = f", at {ratio:.2f} times the baseline’s time per step" if _known(ratio) else ""
    return f"{outcome}{cost}."


def caveats(summary: Mapping[str, Any]) -> list[str]:
    """Returns what keeps the verdict from being more than it is."""
    seeds, steps = summary["seeds"], summary["steps"]
    notes = []
    if seeds["baseline"] == seeds["presence"]:
        notes.append(
            f"One run each (seed {seeds['baseline']}): how much of the difference another seed "
            "would repeat was not measured."
        )
    else:
        notes.append(
            f"The seeds differ ({seeds['baseline']} and {seeds['presence']}), so the runs do not "
            "share their start."
        )
    if steps["baseline"] != steps["presence"]:
        notes.append(
            f"The runs have different lengths: {steps['baseline']} steps of the baseline, "
            f"{steps['presence']} of presence."
        )
    evaluated = [summary[name]["eval_step"] for name in ("baseline", "presence")]
    if evaluated[0] != evaluated[1]:
        notes.append(f"The last evaluations are of different steps: {_either(evaluated)}.")
    return notes


def blind_spot_text(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Returns a status word and the finding on random words, from the weighted run's last probe."""
    finding = summary["blind_spot"]
    if not finding["measured"]:
        return "Not measured", "The weighted run has no probe of random words."
    pair = finding["auroc_by_noise"]["random_words"]
    score, loss = pair["score"], pair["loss"]
    figures = f"AUROC {score:.2f} by self-influence, {loss:.2f} by loss; mean of languages"
    figures += _baseline_too(summary)
    if finding["reproduced"]:
        return "Reproduced", (
            f"Self-influence ranks random words below clean text, while their loss is higher "
            f"({figures}). A negative temperature would favour them over clean text. "
            + _last_temperature(summary)
        )
    if score >= 0.5:
        what = "Self-influence does not rank random words below clean text"
    else:
        what = "Self-influence ranks random words below clean text, but so does the loss"
    return "Refuted in this run", f"{what} ({figures})."


def comparison_table(summary: Mapping[str, Any]) -> str:
    """Returns the table of baseline against presence."""
    baseline, presence = summary["baseline"], summary["presence"]
    rows = []
    for label, key, digits in (
        ("Held-out loss, clean text", "eval_loss_clean", 4),
        ("Held-out loss, noise", "eval_loss_noise", 4),
        ("Seconds per step", "seconds_per_step", 4),
    ):
        change = relative_change(baseline[key], presence[key])
        values = [_fixed(run[key], digits) for run in (baseline, presence)]
        # Loss on noise has no good direction: a model need not be able to predict noise.
        css_class = _direction(change) if key != "eval_loss_noise" else ""
        rows.append((label, *values, (_percent(change), css_class)))
    size = (
        f"{_fixed(presence['effective_sample_size'], 2)} of {format_number(presence['num_units'])}"
    )
    rows.append(("Effective sample size, units", "–", size, ""))
    speeds = [format_number(run["tokens_per_second"]) for run in (baseline, presence)]
    rows.append(("Target tokens per second", *speeds, ""))
    return table(("", "baseline", "presence", "change"), rows, "main")


def change_table(baseline: Run, presence: Run) -> str:
    """Returns the relative change of held-out loss per language and kind at the last evaluation."""
    last = [run.evaluation[-1]["rows"] if run.evaluation else () for run in (baseline, presence)]
    losses = [_losses(rows) for rows in last]
    kinds = dict.fromkeys(kind for _, kind in losses[0])
    kinds = sorted(kinds, key=lambda kind: kind != CLEAN)  # clean first, the rest as they come
    languages = list(dict.fromkeys(language for language, _ in losses[0]))
    rows = []
    for language in languages:
        cells: list[Any] = []
        if CLEAN in kinds:
            cells += [_fixed(side.get((language, CLEAN), math.nan), 3) for side in losses]
        for kind in kinds:
            before, after = (side.get((language, kind), math.nan) for side in losses)
            change = relative_change(before, after)
            cells.append((_percent(change), _direction(change) if kind == CLEAN else ""))
        rows.append((language, *cells))
    clean = ("clean: baseline", "clean: presence") if CLEAN in kinds else ()
    heads = [
        f"{plain_words(kind)}: change" if kind == CLEAN else plain_words(kind) for kind in kinds
    ]
    return table(("language", *clean, *heads), rows)


def auroc_table(summary: Mapping[str, Any]) -> str:
    """Returns AUROC of score and of loss per noise kind and language at the last probe."""
    by_noise = summary["presence"]["auroc_by_noise"]
    languages = languages_of(by_noise)
    rows = []
    for kind, by_language in by_noise.items():
        for ranker, name in (("score", "self-influence"), ("loss", "loss")):
            cells = [_fixed(by_language.get(lang, {}).get(ranker), 2) for lang in languages]
            mean = _fixed(summary["blind_spot"]["auroc_by_noise"][kind][ranker], 2)
            rows.append((plain_words(kind) if ranker == "score" else "", name, *cells, mean))
    return table(("noise kind", "ranked by", *languages, "mean"), rows, "ranks")


def settings_tables(baseline: Run, presence: Run) -> tuple[str, str]:
    """Returns the table of settings that differ between the runs, and of those they share."""
    sides = [_flat(run.config) for run in (baseline, presence)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    values = {name: [side.get(name, "–") for side in sides] for name in names}
    different = [(name, *pair) for name, pair in values.items() if pair[0] != pair[1]]
    common = [(name, pair[0]) for name, pair in values.items() if pair[0] == pair[1]]
    return (
        table(("setting", "baseline", "presence"), different, "settings"),
        table(("setting", "both runs"), common, "settings"),
    )


def table(heads: Sequence[object], rows: Sequence[Sequence[Any]], css_class: str = "") -> str:
    """Returns an HTML table; a cell is a value, or a pair (value, CSS class); all are escaped."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = []
    for name, *cells in rows:
        pairs = [cell if isinstance(cell, tuple) else (cell, "") for cell in cells]
        texts = [
            f'<td class="{css}">{escape(text)}</td>' if css else f"<td>{escape(text)}</td>"
            for text, css in pairs
        ]
        body.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(texts)}</tr>')
    return (
        f'<div class="scroll"><table class="{css_class}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _known(value: Any) -> bool:
    """Returns whether a figure was measured."""
    return math.isfinite(number(value))


def _fixed(value: Any, digits: int) -> str:
    """Returns a number with `digits` decimals, an en dash when it is not known."""
    return f"{number(value):.{digits}f}" if _known(value) else "–"


def _percent(change: float) -> str:
    """Returns a signed relative change, an en dash when it is not known."""
    return f"{change:+.1%}".replace("-", "−") if math.isfinite(change) else "–"


def _direction(change: float) -> str:
    """Returns the CSS class of a change in something that should be small."""
    if not math.isfinite(change) or abs(change) < _UNCHANGED:
        return "unchanged"
    return "better" if change < 0 else "worse"


def _either(values: Sequence[object]) -> str:
    """Returns 'a (baseline) and b (presence)'."""
    return f"{values[0]} (baseline) and {values[1]} (presence)"


def _baseline_too(summary: Mapping[str, Any]) -> str:
    """Returns the same two figures of the baseline, if it probed random words."""
    finding = blind_spot(summary["baseline"]["auroc_by_noise"])
    if not finding["measured"]:
        return ""
    pair = finding["auroc_by_noise"]["random_words"]
    return f"; in the baseline {pair['score']:.2f} and {pair['loss']:.2f}"


def _last_temperature(summary: Mapping[str, Any]) -> str:
    """Returns which way this run's last temperature pulled."""
    temperature = number(summary["presence"]["final_temperature"])
    if not math.isfinite(temperature):
        return ""
    shown = format_number(temperature)
    if temperature < 0:
        return f"This run ended with temperature {shown}, which leans that way."
    if temperature > 0:
        return f"This run ended with temperature {shown}, which disfavours them."
    return "This run ended unweighted (temperature 0)."


def _losses(rows: Sequence[Record]) -> dict[tuple[str, str], float]:
    """Returns {(language, kind): loss}."""
    return {(str(row["language"]), str(row["noise"])): number(row["loss"]) for row in rows}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns {dotted path: value as text} of nested settings."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[f"{prefix}{name}"] = text
    return flat
