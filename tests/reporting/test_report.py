"""The page holds the runs' figures, survives whatever a run lacks, and asks the network nothing."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic_runs

from presence_t5x.report import main, render_report, write_report
from presence_t5x.reporting import text
from presence_t5x.reporting.run_files import read_run
from presence_t5x.reporting.summary import summarize

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=\"y\">&\ud800"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return synthetic_runs.write_pair(tmp_path_factory.mktemp("pair"), steps=200)


@pytest.fixture(scope="module")
def page(pair):
    return render_report(*map(read_run, pair))


@pytest.fixture()
def small(tmp_path):
    return synthetic_runs.write_pair(tmp_path, steps=100, languages=("en",))


def render(pair):
    page = render_report(*map(read_run, pair))
    check_charts(page)
    return page


def check_charts(page):
    """Every chart is well-formed and has a title, and no coordinate is NaN."""
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    for chart in charts:
        assert ElementTree.fromstring(chart).find("title").text
        assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', chart)
    return charts


def edit(path, change):
    synthetic_runs.write_lines(path, [change(record) for record in synthetic_runs.read_lines(path)])


def set_clean_loss(directory, loss):
    rows = [{"language": "en", "noise": "clean", "num_tokens": 10.0, "loss": loss}]
    synthetic_runs.write_lines(directory / "evaluation.jsonl", [{"step": 100, "rows": rows}])


def section(page, name):
    return re.search(rf'<section id="{name}">.*?</section>', page, flags=re.DOTALL)[0]


def test_the_numbers_are_those_of_the_runs(pair, page):
    summary = summarize(*map(read_run, pair))
    result = section(page, "result")
    for run in ("baseline", "presence"):
        for key in ("eval_loss_clean", "eval_loss_noise", "seconds_per_step"):
            assert f"<td>{summary[run][key]:.4f}</td>" in result
    assert f"{summary['presence']['effective_sample_size']:.2f} of 8" in result
    last = synthetic_runs.read_lines(pair[1] / "evaluation.jsonl")[-1]["rows"]
    for row in last:
        if row["noise"] == "clean":
            assert f"<td>{row['loss']:.3f}</td>" in result
    ranking = section(page, "ranking")
    for by_language in summary["presence"]["auroc_by_noise"].values():
        for values in by_language.values():
            assert f"{values['score']:.2f}</td>" in ranking
            assert f"{values['loss']:.2f}</td>" in ranking


def test_every_part_is_there(page):
    charts = check_charts(page)
    # 4 of loss; 5 kinds of distributions; 5 kinds and 8 languages of ranking; 1 of the blind spot;
    # 4 of weights; 3 legends.
    assert len(charts) == 4 + 5 + 5 + 8 + 1 + 4 + 3
    for name in ("result", "loss", "scores", "ranking", "blind-spot", "weights", "settings"):
        assert f'href="#{name}"' in page and section(page, name)
    assert "$" not in page and "switch at 50" in section(page, "weights")
    assert "temperature.schedule" in section(page, "settings").split("<details>")[0]
    assert "model.emb_dim" in section(page, "settings").split("<details>")[1]


def test_the_page_asks_the_network_nothing(page):
    for forbidden in ("http:", "https:", "//", "<script", "<link", "@import", "url(", "src="):
        assert forbidden not in page
    assert len(page.encode()) < 1_500_000
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_every_colour_is_defined_for_light_and_dark(page):
    style = re.search(r"<style>.*?</style>", page, flags=re.DOTALL)[0]
    light, dark = style.split("prefers-color-scheme: dark")
    for name in set(re.findall(r"var\(--([a-z]+)\)", page)) - {"c"}:
        assert f"--{name}:" in light and f"--{name}:" in dark, name


def test_a_long_run_stays_small(tmp_path):
    pair = synthetic_runs.write_pair(tmp_path, steps=8_000)
    assert len(render(pair).encode()) < 1_500_000


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (2.0, 1.9, "lowered held-out clean loss by 5.0% (2.000 → 1.900"),
        (2.0, 2.5, "raised held-out clean loss by 25.0% (2.000 → 2.500"),
        (2.0, 2.0001, "left held-out clean loss unchanged (2.000 → 2.000"),
        (2.0, None, "No verdict: the held-out clean loss of presence is missing"),
        (None, None, "No verdict: the held-out clean loss of baseline and of presence is missing"),
    ],
)
def test_the_verdict_follows_the_figures(small, before, after, expected):
    for directory, loss in zip(small, (before, after)):
        set_clean_loss(directory, loss)
    page = render(small)
    assert expected in re.search(r'<p class="verdict">(.*?)</p>', page)[1]


def test_caveats_name_what_differs(small):
    assert "One run each (seed 0)" in render(small)
    config = json.loads((small[1] / "config.json").read_text(encoding="utf-8"))
    (small[1] / "config.json").write_text(json.dumps(config | {"random_seed": 5}), encoding="utf-8")
    path = small[1] / "metrics.jsonl"
    synthetic_runs.write_lines(path, synthetic_runs.read_lines(path)[:-2])
    path = small[1] / "evaluation.jsonl"
    synthetic_runs.write_lines(path, synthetic_runs.read_lines(path)[:-1])
    page = render(small)
    assert "The seeds differ (0 and 5)" in page
    assert "100 steps of the baseline, 80 of presence" in page
    assert "different steps: 100 (baseline) and 50 (presence)" in page


@pytest.mark.parametrize(
    ("score", "loss", "status", "words"),
    [
        (0.2, 0.9, "Reproduced", "ranks random words below clean text, while their loss is higher"),
        (0.8, 0.9, "Refuted in this run", "does not rank random words below clean text"),
        (0.2, 0.4, "Refuted in this run", "but so does the loss"),
        (None, None, "Not measured", "no probe of random words"),
    ],
)
def test_the_blind_spot_is_judged_from_the_probe(small, score, loss, status, words):
    row = {"language": "en", "noise": "random_words", "auroc_score": score, "auroc_loss": loss}
    synthetic_runs.write_lines(small[1] / "probe.jsonl", [{"step": 100, "rows": [row]}])
    part = section(render(small), "blind-spot")
    assert f'<span class="badge">{status}</span>' in part and words in part
    if score is not None:
        assert f"AUROC {score:.2f} by self-influence, {loss:.2f} by loss" in part


@pytest.mark.parametrize(
    ("temperature", "words"),
    [(-0.5, "temperature −0.5, which leans that way"), (2.0, "temperature 2, which disfavours"),
     (0.0, "ended unweighted")],
)  # fmt: skip
def test_the_blind_spot_names_the_last_temperature(small, temperature, words):
    change = {"presence/temperature": temperature}
    edit(small[1] / "metrics.jsonl", lambda record: record | change)
    assert words in section(render(small), "blind-spot")


def test_hostile_text_is_escaped(tmp_path):
    kinds = ("permuted_words", "random_words", HOSTILE)
    pair = synthetic_runs.write_pair(tmp_path, steps=50, languages=(HOSTILE, "en"), kinds=kinds)
    config = {HOSTILE: HOSTILE, "model": {HOSTILE: [HOSTILE]}, "random_seed": HOSTILE}
    (pair[1] / "config.json").write_text(json.dumps(config), encoding="utf-8")
    path = write_report(*pair, tmp_path / "out")
    page = path.read_text(encoding="utf-8")
    check_charts(page)
    assert "<script" not in page and "<img" not in page
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)") > 10


def test_braces_and_dollars_of_data_are_left_alone(small):
    config = {"note": "$title ${verdict} {0} %s"}
    (small[0] / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "$title ${verdict} {0} %s" in render(small)


def test_without_probes(small):
    for name in ("probe.jsonl", "probe_scores.jsonl"):
        (small[1] / name).unlink()
    page = render(small)
    assert "no probe rows (probe.jsonl)" in section(page, "ranking")
    assert "no probe scores (probe_scores.jsonl)" in section(page, "scores")
    assert "Not measured" in section(page, "blind-spot")


def test_empty_files(small):
    for directory in small:
        for path in directory.glob("*.jsonl"):
            path.write_text("", encoding="utf-8")
    page = render(small)
    assert "No verdict" in page and "no finite values" in page
    assert "logged no presence/* metrics" in section(page, "weights")


def test_a_single_logged_step_and_evaluation(tmp_path):
    page = render(synthetic_runs.write_pair(tmp_path, steps=10, languages=("en",)))
    assert "lowered" in page or "raised" in page


def test_zero_variance_and_nothing_above_zero(small):
    edit(small[1] / "probe_scores.jsonl", lambda record: record | {"score": 0.25})
    assert ">0.50</text>" in section(render(small), "scores")  # all ties: AUROC is one half
    edit(small[1] / "probe_scores.jsonl", lambda record: record | {"score": 0.0})
    assert "no positive finite scores" in section(render(small), "scores")


def test_runs_that_broke(small):
    for directory in small:
        edit(
            directory / "metrics.jsonl",
            lambda record: dict.fromkeys(record) | {"step": record["step"]},
        )
    edit(small[1] / "probe_scores.jsonl", lambda record: record | {"score": None, "loss": None})
    page = render(small)
    assert "no finite values" in section(page, "loss")


def test_many_units_are_shown_by_their_largest_weight(small):
    without = ("presence/weights", "presence/scores")
    edit(
        small[1] / "metrics.jsonl",
        lambda record: {k: v for k, v in record.items() if k not in without},
    )
    weights = section(render(small), "weights")
    assert ">largest</text>" in weights and "middle half" not in weights


def test_command_line(small, tmp_path):
    arguments = [f"--baseline={small[0]}", f"--presence={small[1]}", f"--output={tmp_path / 'out'}"]
    command = [sys.executable, "-m", "presence_t5x.report", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path = tmp_path / "out" / "report" / "index.html"
    assert done.stdout.splitlines()[-1] == f"report:  {path}"
    assert "AUROC" in done.stdout and (tmp_path / "out" / "summary.json").is_file()
    assert path.read_text(encoding="utf-8") == render(small)


def test_command_line_reports_a_missing_run(small, tmp_path, capsys):
    arguments = [f"--baseline={tmp_path / 'none'}", f"--presence={small[1]}", "--output=unused"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "none does not exist" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to show; give --baseline and --presence, --scores, --study or --plan"),
        (["--baseline=x"], "--baseline and --presence belong together; give both"),
        (["--scores=none.parquet"], "--scores=none.parquet is no file; write one with"),
        (["--scores={}/text"], "is no parquet file"),
        (["--scores={}/short.parquet"], "lacks the columns ['source', 'num_tokens', 'loss'"),
        (["--scores={}/empty.parquet"], "has no document"),
        (["--study={}"], "has no study.json; python -m presence_t5x.study writes it"),
        (["--study={}/broken"], "study.json lacks"),
        (["--plan={}"], "plan.json is missing; python -m presence_t5x.reproduce --tables_only"),
        (["--plan={}/broken"], "plan.json or tables.json is damaged (no plan: it has no 'name')"),
        (["--study=x", "--texts=-1"], "--texts=-1"),
        (["--other"], "unrecognized arguments: --other; --help lists the arguments"),
    ],
)  # fmt: skip
def test_command_line_says_what_is_wrong_on_one_line(tmp_path, capsys, arguments, message):
    (tmp_path / "text").write_text("no parquet")
    columns = {"example_id": ["a"], "language": ["en"]}
    pq.write_table(pa.table(columns), tmp_path / "short.parquet")
    numbers = {name: [1.0] for name in ("num_tokens", "loss", "score")}
    whole = pa.table({**columns, "source": [""], **numbers})
    pq.write_table(whole.slice(0, 0), tmp_path / "empty.parquet")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text("{}")
    (tmp_path / "broken" / "plan.json").write_text('{"plan": {}, "protocols": {}}')
    (tmp_path / "broken" / "tables.json").write_text("[]")
    filled = [argument.format(tmp_path) for argument in arguments]
    assert main([*filled, f"--output={tmp_path / 'out'}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_change_table_knows_better_from_worse(small):
    for directory, loss in zip(small, (2.0, 2.2)):
        set_clean_loss(directory, loss)
    runs = list(map(read_run, small))
    assert '<td class="worse">+10.0%</td>' in text.change_table(*runs)
    assert '<td class="better">−9.1%</td>' in text.change_table(*reversed(runs))
