"""The curves show the runs' own numbers: read back from the charts, against NumPy on the files."""

import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import synthetic_runs
from svg_reader import axis_reader, points_of, tooltips

from presence_t5x.reporting import figures, weights
from presence_t5x.reporting.run_files import read_run

LANGUAGES = ("en", "zh", "sw")


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    return synthetic_runs.write_pair(root, steps=200, languages=LANGUAGES)


@pytest.fixture(scope="module")
def runs(directories):
    return [read_run(directory) for directory in directories]


def charts(figures):
    return {caption: ElementTree.fromstring(chart) for caption, chart in figures}


def token_mean(rows, *, clean):
    chosen = [row for row in rows if (row["noise"] == "clean") == clean]
    tokens = [row["num_tokens"] for row in chosen]
    return np.average([row["loss"] for row in chosen], weights=tokens)


def told_numbers(lines):
    return {
        name: float(text.replace("−", "-"))
        for name, text in (line.split(": ") for line in lines)
    }  # fmt: skip


def test_loss_curves_and_their_difference(directories, runs):
    drawn = charts(figures.loss_figures(*runs))
    assert list(drawn) == [
        "Training loss", "Held-out loss on clean text", "Held-out loss on noise",
        "Presence against baseline",
    ]  # fmt: skip
    files = [synthetic_runs.read_lines(d / "evaluation.jsonl") for d in directories]
    for records in zip(*files):
        step = f"step {records[0]['step']}"
        changes = {}
        for name, caption in (("clean", "clean text"), ("noise", "noise")):
            losses = [token_mean(record["rows"], clean=name == "clean") for record in records]
            told = told_numbers(tooltips(drawn[f"Held-out loss on {caption}"])[step])
            assert list(told) == ["baseline", "presence"]
            assert list(told.values()) == pytest.approx(losses, rel=1e-3)
            changes[name] = 100 * (losses[1] / losses[0] - 1)
        told = told_numbers(tooltips(drawn["Presence against baseline"])[step])
        assert told == pytest.approx(changes, rel=1e-3)


def test_raw_training_loss_is_drawn_at_its_values(directories, runs):
    svg = charts(figures.loss_figures(*runs))["Training loss"]
    to_y = axis_reader(svg, horizontal=False, log=False)
    raw = [group for group in svg.iter("g") if group.get("class") == "line thin"]
    for group, directory in zip(raw, directories, strict=True):
        expected = [r["train/loss"] for r in synthetic_runs.read_lines(directory / "metrics.jsonl")]
        drawn = [to_y(y) for _, y in points_of(group.find("polyline"))]
        np.testing.assert_allclose(drawn, expected, atol=0.01)


def test_distributions_tell_auroc_and_medians(directories, runs):
    drawn = charts(figures.distribution_figures(runs[1]))
    assert list(drawn)[:2] == ["Permuted words", "Random words"] and len(drawn) == 5
    rows = synthetic_runs.read_lines(directories[1] / "probe_scores.jsonl")

    def scores(kind, language):
        return [r["score"] for r in rows if (r["noise"], r["language"]) == (kind, language)]

    for kind in synthetic_runs.KINDS:
        svg = drawn[kind.replace("_", " ").capitalize()]
        texts = [text.text for text in svg.iter("text")]
        told = [title.text for title in svg.iter("title")]
        for language in LANGUAGES:
            noisy, clean = np.array(scores(kind, language)), np.array(scores("clean", language))
            expected = (noisy[:, None] > clean).mean()
            assert texts[texts.index(language) + 1] == f"{expected:.2f}"
            median = float(next(t for t in told if t.startswith(f"{language}, clean")).split()[-1])
            assert median == pytest.approx(np.median(clean), rel=0.01)


def test_rankings_are_means_over_languages(directories, runs):
    by_kind, by_language = map(charts, figures.ranking_figures(runs[1]))
    assert list(by_language) == list(LANGUAGES)
    for record in synthetic_runs.read_lines(directories[1] / "probe.jsonl"):
        step = f"step {record['step']}"
        for kind in synthetic_runs.KINDS:
            rows = [row for row in record["rows"] if row["noise"] == kind]
            expected = {
                "self-influence": np.mean([row["auroc_score"] for row in rows]),
                "loss": np.mean([row["auroc_loss"] for row in rows]),
            }
            told = told_numbers(tooltips(by_kind[kind.replace("_", " ").capitalize()])[step])
            assert told == pytest.approx(expected, rel=1e-3)
            for row in rows if kind == "permuted_words" else ():
                told = told_numbers(tooltips(by_language[row["language"]])[step])
                assert told["self-influence"] == pytest.approx(row["auroc_score"], rel=1e-3)


def test_weights_band_spans_smallest_to_largest(directories, runs):
    svg = charts(weights.weight_figures(runs[1]))["Weights of the units"]
    unit_weights = np.array([
        record["presence/weights"]
        for record in synthetic_runs.read_lines(directories[1] / "metrics.jsonl")
    ])  # fmt: skip
    to_y = axis_reader(svg, horizontal=False, log=False)
    all_units, half = [[to_y(y) for _, y in points_of(p)] for p in svg.iter("polygon")]
    for drawn, high, low in ((all_units, 1.0, 0.0), (half, 0.75, 0.25)):
        top, bottom = drawn[: len(unit_weights)], drawn[len(unit_weights) :][::-1]
        np.testing.assert_allclose(top, np.quantile(unit_weights, high, axis=1), atol=2e-3)
        np.testing.assert_allclose(bottom, np.quantile(unit_weights, low, axis=1), atol=2e-3)


def test_temperature_jumps_where_the_switch_is_marked(runs):
    svg = charts(weights.weight_figures(runs[1]))["Temperature"]
    (line,) = svg.iter("polyline")
    corners = points_of(line)
    ((jump, landing),) = [(a[0], b[0]) for a, b in itertools.pairwise(corners) if a[1] != b[1]]
    assert jump == landing
    marks = [p.get("d") for p in svg.iter("path") if p.get("class") == "reference"]
    assert any(mark.startswith(f"M{jump:g} ") and "V" in mark for mark in marks)


def test_the_switch_of_another_schedule_is_not_marked(directories, tmp_path):
    run = read_run(directories[1])
    config = {"temperature": {"schedule": "constant", "switch_step": 50}}
    run = type(run)(**{**vars(run), "config": config})
    assert "switch at" not in weights.weight_figures(run)[0][1]


def test_dots_of_the_blind_spot():
    svg = ElementTree.fromstring(
        figures.blind_spot_figure({"random_words": {"score": 0.21, "loss": 0.93}})
    )
    told = [title.text for title in svg.iter("title")]
    assert {"random words, self-influence: 0.21", "random words, loss: 0.93"} <= set(told)
