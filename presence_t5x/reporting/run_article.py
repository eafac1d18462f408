"""Two runs as an article: did the weighting help, what do scores say, where is the blind spot.

The figures come from `summary`, the words from `text`, the charts from `figures` and `weights`;
here they are put in order.
"""

from collections.abc import Mapping
from typing import Any

from presence_t5x.reporting import figures, text, weights
from presence_t5x.reporting.page import Article, Section, figure_grid, how, missing
from presence_t5x.reporting.run_files import Run
from presence_t5x.reporting.summary import summarize
from presence_t5x.reporting.svg import escape


def run_article(baseline: Run, presence: Run) -> Article:
    """Returns the article on an unweighted and a weighted run; a pure function of them.

    What a run did not record (no probe, a single evaluation) is said in its place.
    """
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
    steps = summary["steps"]
    return Article(
        name="run",
        label="The run",
        title="Did self-influence weighting help?",
        eyebrow=f"baseline: {baseline.directory} · presence: {presence.directory}",
        verdict=text.verdict(summary),
        notes=text.caveats(summary),
        sections=[Section(*section) for section in sections],
        footer=(
            f"Written by presence_t5x.report from {steps['baseline']} steps of the baseline and "
            f"{steps['presence']} of presence. Hover a chart to read its values."
        ),
    )


def _result(summary: Mapping[str, Any], baseline: Run, presence: Run) -> str:
    """Returns the tables that the verdict rests on."""
    changes = "<p class='missing'>A run has no evaluation.</p>"
    if baseline.evaluation and presence.evaluation:
        changes = text.change_table(baseline, presence)
    return (
        text.comparison_table(summary)
        + how(
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
    return how(
        "Thin lines are the logged steps, thick ones their running mean. Training loss includes "
        "the planted noise, so that its level says less than the held-out loss on clean text. The "
        "gap between the runs counts where it is wider than the curves’ own jitter."
    ) + figure_grid(figures.loss_figures(baseline, presence), "wide")


def _scores(presence: Run) -> str:
    """Returns the distributions of scores."""
    drawn = figures.distribution_figures(presence)
    if not drawn:
        return missing("The weighted run has no probe scores (probe_scores.jsonl).")
    return (
        how(
            "One row per language: how the self-influence of single held-out rows is spread, clean "
            "text upwards, noise downwards, on a common log axis; ticks are medians. Noise that "
            "lies to the right is found by a high score. The number is the AUROC: the chance that "
            "a noisy row scores above a clean one (0.5 is a coin toss, below it noise looks "
            "cleaner than clean text)."
        )
        + figures.distribution_legend()
        + figure_grid(drawn)
    )


def _ranking(summary: Mapping[str, Any], presence: Run) -> str:
    """Returns AUROC over training and at its end."""
    by_kind, by_language = figures.ranking_figures(presence)
    if not by_kind:
        return missing("The weighted run has no probe rows (probe.jsonl).")
    languages = ""
    if by_language:
        languages = "<h3>Permuted words, by language</h3>" + figure_grid(by_language, "small")
    return (
        how(
            "AUROC of noise against clean text of the same language at each probe: 1 means that "
            "every noisy row ranks above every clean one; dotted is chance. Self-influence "
            "needs a gradient and the loss comes for free, so where the dashed line is higher, the "
            "loss alone would have been the better detector."
        )
        + figures.ranker_legend()
        + "<h3>By noise kind, mean of languages</h3>"
        + figure_grid(by_kind)
        + languages
        + "<h3>At the last probe</h3>"
        + text.auroc_table(summary)
    )


def _blind_spot(summary: Mapping[str, Any]) -> str:
    """Returns the finding on random words and the rankers per noise kind."""
    status, words = text.blind_spot_text(summary)
    reading = how(
        "Random words that are part of training may end with a small gradient: the model has "
        "learned to expect noise, and cannot learn more from it. Their self-influence is then "
        "below that of clean text although their loss stays highest, and inverse weighting (a "
        "negative temperature) favours them. A score left of the dotted line marks such a kind."
    )
    finding = f'<p><span class="badge">{escape(status)}</span></p><p>{escape(words)}</p>'
    means = summary["blind_spot"]["auroc_by_noise"]
    if not means:
        return finding + reading
    chart = figures.ranker_legend() + figures.blind_spot_figure(means)
    return f'<div class="split"><div>{finding}{reading}</div><figure>{chart}</figure></div>'


def _weights(presence: Run) -> str:
    """Returns what the weighting did step by step."""
    if not any("presence/temperature" in record for record in presence.metrics):
        return missing("The weighted run logged no presence/* metrics.")
    return how(
        "A positive temperature favours units with a high score, a negative one those with a low "
        "score, 0 all alike. The effective sample size says how many equally weighted units "
        "would be as noisy: near the number of units the weighting hardly acts, near one a single "
        "unit decides the step. Bands show the spread over the units of each logged step."
    ) + figure_grid(weights.weight_figures(presence), "wide")


def _settings(baseline: Run, presence: Run) -> str:
    """Returns what the runs were told."""
    different, common = text.settings_tables(baseline, presence)
    return (
        "<h3>Different between the runs</h3>"
        + different
        + how(
            "Beyond the directory, only settings of the weighting should differ; any other "
            "difference is a second reason for the result."
        )
        + f"<details><summary>Settings that both runs share</summary>{common}</details>"
    )
