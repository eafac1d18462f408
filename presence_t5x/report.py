"""One page about two runs: did the weighting help, what do scores say, where is the blind spot.

    python -m presence_t5x.report --baseline=DIR --presence=DIR --output=DIR

Reads run directories, writes DIR/summary.json and DIR/report/index.html, and prints the tables. The
page is a file that needs nothing else: no script, no font,
no request. The figures come from `summary`, the words from `text`, the charts from
`figures` and `weights`; here they are put in order.
"""

import argparse
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from presence_t5x.command_line import OneLineParser, exit_status
from presence_t5x.files import write_text_atomically
from presence_t5x.reporting import figures, text, weights
from presence_t5x.reporting.figures import Figure
from presence_t5x.reporting.run_files import Run, read_run
from presence_t5x.reporting.summary import (
    print_tables,
    summarize,
    write_summary,
)
from presence_t5x.reporting.svg import escape

_TITLE = "Did self-influence weighting help?"


def write_report(
    baseline_dir: str | Path, presence_dir: str | Path, output_dir: str | Path
) -> Path:
    """Writes the report on an unweighted and a weighted run, whole or not at all.

    What a run did not record (no probe, a single evaluation) is said on the page in its place.

    Returns:
      The path of the page, `output_dir`/index.html; the directory is made where it is missing.

    Raises:
      ValueError: a run directory without its files, or with a torn one (see `read_run`).
    """
    page = render_report(read_run(baseline_dir), read_run(presence_dir))
    path = Path(output_dir) / "index.html"
    write_text_atomically(page, path)
    return path


def render_report(baseline: Run, presence: Run) -> str:
    """Returns the page as HTML text; a pure function of the two runs."""
    summary = summarize(baseline, presence)
    sections = [
        ("result", "Result", _result(summary, baseline, presence)),
        ("loss", "Loss over training", _loss(baseline, presence)),
        ("scores", "Scores of clean text and of noise", _scores(presence)),
        ("ranking", "Who finds the noise: self-influence or loss", _ranking(summary, presence)),
        ("blind-spot", "Blind spot", _blind_spot(summary)),
        ("weights", "Weights and temperature", _weights(presence)),
        ("settings", "Settings", _settings(baseline, presence)),
    ]
    template = resources.files("presence_t5x.reporting").joinpath("template.html")
    links = (f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)
    steps = summary["steps"]
    runs = f"baseline: {baseline.directory} · presence: {presence.directory}"
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        title=escape(_TITLE),
        runs=escape(runs),
        verdict=escape(text.verdict(summary)),
        caveats="".join(f"<li>{escape(note)}</li>" for note in text.caveats(summary)),
        navigation="".join(links),
        sections="".join(_section(*section) for section in sections),
        footer=escape(
            f"Written by presence_t5x.report from {steps['baseline']} steps of the baseline and "
            f"{steps['presence']} of presence. Hover a chart to read its values."
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Reports on two runs; errors are one line and exit status 2."""
    return exit_status(lambda: _report(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m presence_t5x.report", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--baseline", required=True, help="directory of the unweighted run")
    parser.add_argument("--presence", required=True, help="directory of the weighted run")
    parser.add_argument("--output", required=True, help="gets summary.json and report/")
    return parser


def _report(options: argparse.Namespace) -> None:
    """Writes summary and report, and prints the tables and both paths."""
    output = Path(options.output)
    summary = summarize(read_run(options.baseline), read_run(options.presence))
    page = write_report(options.baseline, options.presence, output / "report")
    write_summary(summary, output / "summary.json")
    print_tables(summary, Console())
    print(f"summary: {output / 'summary.json'}\nreport:  {page}")


def _result(summary: Mapping[str, Any], baseline: Run, presence: Run) -> str:
    """Returns the tables that the verdict rests on."""
    changes = "<p class='missing'>A run has no evaluation.</p>"
    if baseline.evaluation and presence.evaluation:
        changes = text.change_table(baseline, presence)
    return (
        text.comparison_table(summary)
        + _how(
            "Losses are means per target token on rows kept out of training, at each run’s last "
            "evaluation; lower is better on clean text. On noise neither direction is good in "
            "itself: a model that predicts noise less well may have learned less of it. Seconds "
            "per step are medians of the later half, without compilation."
        )
        + "<h3>By language: change of held-out loss, presence against baseline</h3>"
        + changes
    )


def _loss(baseline: Run, presence: Run) -> str:
    """Returns the loss curves."""
    return _how(
        "Thin lines are the logged steps, thick ones their running mean. Training loss includes "
        "the planted noise, so that its level says less than the held-out loss on clean text. The "
        "gap between the runs counts where it is wider than the curves’ own jitter."
    ) + _figures(figures.loss_figures(baseline, presence), "wide")


def _scores(presence: Run) -> str:
    """Returns the distributions of scores."""
    drawn = figures.distribution_figures(presence)
    if not drawn:
        return _missing("The weighted run has no probe scores (probe_scores.jsonl).")
    return (
        _how(
            "One row per language: how the self-influence of single held-out rows is spread, clean "
            "text upwards, noise downwards, on a common log axis; ticks are medians. Noise that "
            "lies to the right is found by a high score. The number is the AUROC: the chance that "
            "a noisy row scores above a clean one (0.5 is a coin toss, below it noise looks "
            "cleaner than clean text)."
        )
        + figures.distribution_legend()
        + _figures(drawn)
    )


def _ranking(summary: Mapping[str, Any], presence: Run) -> str:
    """Returns AUROC over training and at its end."""
    by_kind, by_language = figures.ranking_figures(presence)
    if not by_kind:
        return _missing("The weighted run has no probe rows (probe.jsonl).")
    languages = ""
    if by_language:
        languages = "<h3>Permuted words, by language</h3>" + _figures(by_language, "small")
    return (
        _how(
            "AUROC of noise against clean text of the same language at each probe: 1 means that "
            "every noisy row ranks above every clean one; dotted is chance. Self-influence "
            "needs a gradient and the loss comes for free, so where the dashed line is higher, the "
            "loss alone would have been the better detector."
        )
        + figures.ranker_legend()
        + "<h3>By noise kind, mean of languages</h3>"
        + _figures(by_kind)
        + languages
        + "<h3>At the last probe</h3>"
        + text.auroc_table(summary)
    )


def _blind_spot(summary: Mapping[str, Any]) -> str:
    """Returns the finding on random words and the rankers per noise kind."""
    status, words = text.blind_spot_text(summary)
    how = _how(
        "Random words that are part of training may end with a small gradient: the model has "
        "learned to expect noise, and cannot learn more from it. Their self-influence is then "
        "below that of clean text although their loss stays highest, and inverse weighting (a "
        "negative temperature) favours them. A score left of the dotted line marks such a kind."
    )
    finding = f'<p><span class="badge">{escape(status)}</span></p><p>{escape(words)}</p>'
    means = summary["blind_spot"]["auroc_by_noise"]
    if not means:
        return finding + how
    chart = figures.ranker_legend() + figures.blind_spot_figure(means)
    return f'<div class="split"><div>{finding}{how}</div><figure>{chart}</figure></div>'


def _weights(presence: Run) -> str:
    """Returns what the weighting did step by step."""
    if not any("presence/temperature" in record for record in presence.metrics):
        return _missing("The weighted run logged no presence/* metrics.")
    return _how(
        "A positive temperature favours units with a high score, a negative one those with a low "
        "score, 0 all alike. The effective sample size says how many equally weighted units "
        "would be as noisy: near the number of units the weighting hardly acts, near one a single "
        "unit decides the step. Bands show the spread over the units of each logged step."
    ) + _figures(weights.weight_figures(presence), "wide")


def _settings(baseline: Run, presence: Run) -> str:
    """Returns what the runs were told."""
    different, common = text.settings_tables(baseline, presence)
    return (
        "<h3>Different between the runs</h3>"
        + different
        + _how(
            "Beyond the directory, only settings of the weighting should differ; any other "
            "difference is a second reason for the result."
        )
        + f"<details><summary>Settings that both runs share</summary>{common}</details>"
    )


def _section(name: str, title: str, body: str) -> str:
    """Returns one card of the page."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>'


def _figures(figures: Iterable[Figure], css_class: str = "") -> str:
    """Returns charts with their captions in a grid."""
    drawn = (
        f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"
        for caption, chart in figures
    )
    return f'<div class="figures {css_class}">{"".join(drawn)}</div>'


def _how(words: str) -> str:
    """Returns a paragraph on how to read what stands next to it."""
    return f'<p class="how">{escape(words)}</p>'


def _missing(words: str) -> str:
    """Returns the notice that stands where a figure would be."""
    return f'<p class="missing">{escape(words)}</p>'


if __name__ == "__main__":
    sys.exit(main())
