"""Figures of two runs against sums written out by hand, and how broken files are reported."""

import io
import json
import math
import os
import stat

import pytest
import synthetic_runs
from rich.console import Console

from presence_t5x.reporting import summary as summaries
from presence_t5x.reporting.summary import print_tables, read_run, summarize, write_summary


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return synthetic_runs.write_pair(tmp_path_factory.mktemp("pair"), steps=100)


@pytest.fixture()
def fresh_pair(tmp_path):
    return synthetic_runs.write_pair(tmp_path, steps=100, languages=("en", "zh"))


def summarize_pair(pair):
    return summarize(*map(read_run, pair))


def evaluation(rows, step=100):
    keys = ("language", "noise", "num_tokens", "loss")
    return [{"step": step, "rows": [dict(zip(keys, row)) for row in rows]}]


def test_losses_are_token_weighted_means_of_the_last_evaluation(fresh_pair):
    early = evaluation([("en", "clean", 5.0, 9.0)], step=50)
    last = evaluation([("en", "clean", 100.0, 2.0), ("zh", "clean", 300.0, 4.0),
                       ("en", "random_words", 10.0, 7.0), ("zh", "wrong_language", 30.0, 5.0),
                       ("sw", "clean", 0.0, None)])  # fmt: skip
    synthetic_runs.write_lines(fresh_pair[0] / "evaluation.jsonl", early + last)
    figures = summarize_pair(fresh_pair)["baseline"]
    assert figures["eval_loss_clean"] == pytest.approx((100 * 2 + 300 * 4) / 400)
    assert figures["eval_loss_noise"] == pytest.approx((10 * 7 + 30 * 5) / 40)
    assert figures["eval_step"] == 100


def test_a_nan_loss_is_not_averaged_away(fresh_pair):
    rows = [("en", "clean", 100.0, 2.0), ("zh", "clean", 300.0, None)]
    synthetic_runs.write_lines(fresh_pair[1] / "evaluation.jsonl", evaluation(rows))
    assert math.isnan(summarize_pair(fresh_pair)["presence"]["eval_loss_clean"])


def test_seconds_are_the_median_of_the_later_half(fresh_pair):
    for directory, later in zip(fresh_pair, (0.2, 0.3)):
        seconds = [9.0, 8.0, 0.1, later, later, 5.0]
        rows = [{"step": i, "seconds_per_step": s} for i, s in enumerate(seconds)]
        synthetic_runs.write_lines(directory / "timing.jsonl", rows)
    figures = summarize_pair(fresh_pair)
    assert figures["baseline"]["seconds_per_step"] == pytest.approx(0.2)
    assert figures["presence"]["seconds_per_step"] == pytest.approx(0.3)
    assert figures["seconds_per_step_ratio"] == pytest.approx(1.5)


def test_figures_of_the_weighting(pair):
    figures = summarize_pair(pair)
    metrics = synthetic_runs.read_lines(pair[1] / "metrics.jsonl")
    sizes = [record["presence/effective_sample_size"] for record in metrics]
    assert figures["presence"]["effective_sample_size"] == pytest.approx(sum(sizes) / len(sizes))
    assert figures["presence"]["final_temperature"] == -1.0
    rows = synthetic_runs.read_lines(pair[1] / "probe.jsonl")[-1]["rows"]
    expected = {r["language"]: r["auroc_score"] for r in rows if r["noise"] == "permuted_words"}
    assert figures["presence"]["auroc"] == expected and len(expected) == 8
    sample = figures["presence"]["auroc_by_noise"]["out_of_domain"]["ru"]
    row = next(r for r in rows if r["noise"] == "out_of_domain" and r["language"] == "ru")
    assert sample == {"score": row["auroc_score"], "loss": row["auroc_loss"]}
    assert figures["steps"] == {"baseline": 100, "presence": 100}
    assert figures["seeds"] == {"baseline": 0, "presence": 0}


@pytest.mark.parametrize(
    ("score", "loss", "reproduced"),
    [(0.3, 0.9, True), (0.7, 0.9, False), (0.3, 0.4, False), (0.5, 0.9, False)],
)
def test_blind_spot(score, loss, reproduced):
    languages = {
        "en": {"score": score - 0.1, "loss": loss},
        "zh": {"score": score + 0.1, "loss": loss},
    }
    finding = summaries.blind_spot({"random_words": languages})
    assert finding["reproduced"] is reproduced and finding["measured"] is True
    assert finding["auroc_by_noise"]["random_words"]["score"] == pytest.approx(score)


def test_blind_spot_without_random_words():
    finding = summaries.blind_spot({"permuted_words": {"en": {"score": 0.1, "loss": 0.9}}})
    assert finding["reproduced"] is False and finding["measured"] is False


def test_a_repeated_step_keeps_the_last_record(fresh_pair):
    path = fresh_pair[0] / "metrics.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 50, "train/loss": 123.0}\n')
    metrics = read_run(fresh_pair[0]).metrics
    assert [record["step"] for record in metrics] == list(range(10, 101, 10))
    assert metrics[4]["train/loss"] == 123.0


def test_only_the_last_probe_scores_are_kept(fresh_pair):
    path = fresh_pair[1] / "probe_scores.jsonl"
    rows = synthetic_runs.read_lines(path)
    synthetic_runs.write_lines(path, [{**rows[0], "step": 50}, *rows])
    assert len(read_run(fresh_pair[1]).probe_scores) == len(rows)


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "timing.jsonl", "evaluation.jsonl", "config.json"]
)
def test_a_missing_file_is_named(fresh_pair, name):
    (fresh_pair[0] / name).unlink()
    with pytest.raises(ValueError, match=rf"baseline/{name} is missing"):
        read_run(fresh_pair[0])


def test_probe_files_are_optional(fresh_pair):
    for name in ("probe.jsonl", "probe_scores.jsonl"):
        (fresh_pair[1] / name).unlink()
    figures = summarize_pair(fresh_pair)
    assert figures["presence"]["auroc"] == {} and not figures["blind_spot"]["measured"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no_such_run does not exist"):
        read_run(tmp_path / "no_such_run")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ('{"step": 110, "train/lo', r"metrics\.jsonl, line 11: no complete JSON object"),
        ("[1, 2]", r"metrics\.jsonl, line 11: expected a JSON object, found list"),
        ('{"train/loss": 1.0}', r"metrics\.jsonl, line 11: the keys \['step'\] are missing"),
        ('{"step": "x"}', r"metrics\.jsonl, line 11: step='x' must be an integer"),
    ],
)
def test_a_broken_line_is_reported_with_file_and_line(fresh_pair, damage, message):
    with (fresh_pair[0] / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(damage)
    with pytest.raises(ValueError, match=message):
        read_run(fresh_pair[0])


def test_a_row_without_its_keys_is_reported(fresh_pair):
    rows = [{"language": "en", "noise": "clean", "loss": 1.0}]
    synthetic_runs.write_lines(fresh_pair[0] / "evaluation.jsonl", [{"step": 1, "rows": rows}])
    with pytest.raises(ValueError, match=r"line 1, rows\[0\]: the keys \['num_tokens'\]"):
        read_run(fresh_pair[0])


def test_write_summary_is_strict_json_and_readable_by_all(fresh_pair, tmp_path):
    (fresh_pair[1] / "timing.jsonl").write_text("", encoding="utf-8")
    figures = summarize_pair(fresh_pair)
    path = tmp_path / "deep" / "summary.json"
    write_summary(figures, path)
    assert "NaN" not in path.read_text(encoding="utf-8")
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["presence"]["seconds_per_step"] is None and read["seconds_per_step_ratio"] is None
    assert read["presence"]["auroc"] == figures["presence"]["auroc"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["summary.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_summary({"a": 1}, path)
    assert path.read_text(encoding="utf-8") == "old" and os.listdir(tmp_path) == ["summary.json"]


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_and_show_the_figures(pair, width):
    figures = summarize_pair(pair)
    stream = io.StringIO()
    print_tables(figures, Console(file=stream, width=width))
    text = stream.getvalue()
    assert "\x1b" not in text and max(map(len, text.splitlines())) <= width
    for key in ("eval_loss_clean", "eval_loss_noise", "seconds_per_step"):
        for run in ("baseline", "presence"):
            assert f"{figures[run][key]:.4f}" in text
    line = next(line for line in text.splitlines() if "random_words" in line)
    means = figures["blind_spot"]["auroc_by_noise"]["random_words"]
    by_language = figures["presence"]["auroc_by_noise"]["random_words"].values()
    expected = [f"{v:.2f}" for v in (*(p["score"] for p in by_language), means["score"])]
    assert line.split() == ["random_words", "score", *expected]


def test_more_languages_than_fit_are_continued(tmp_path):
    languages = [f"l{i:02}" for i in range(20)]
    pair = synthetic_runs.write_pair(tmp_path, steps=50, languages=languages)
    stream = io.StringIO()
    print_tables(summarize_pair(pair), Console(file=stream, width=80))
    assert all(language in stream.getvalue() for language in languages)
    assert max(map(len, stream.getvalue().splitlines())) <= 80
