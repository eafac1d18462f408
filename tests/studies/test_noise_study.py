"""The noise study: with scores that are known its table says what they say; and with a model."""

import json
from pathlib import Path
from types import SimpleNamespace

import memory_source
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from presence_t5x import study
from presence_t5x.data.documents import Document
from presence_t5x.studies import texts
from presence_t5x.studies.noise import PAPER_PERMUTED_OVER_CLEAN
from presence_t5x.studies.sample import Sampling, draw

PAPER = PAPER_PERMUTED_OVER_CLEAN["en"]


@pytest.fixture
def scorer(monkeypatch):
    """Scores permuted words highest and repeated text lowest; the loss is the other way round."""
    calls = []

    def score(options, gin_files, bindings):
        calls.append((options, gin_files, bindings))
        lines = Path(options.input).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        values = {"permuted_words": 3.0, "clean": 2.0, "repeated_text": 1.0}
        scores = [values[row["id"].split("|")[0].split(":")[0]] for row in rows]
        columns = dict.fromkeys(("score_decoder", "score_per_token"), scores)  # a decoder's
        table = pa.table(
            {
                "example_id": [row["id"] for row in rows],
                "language": [row["language"] for row in rows],
                "num_tokens": [len(row["text"]) for row in rows],
                "loss": [1 / score for score in scores],
                "score": scores,
                **columns,
            }
        )
        output = Path(options.output)
        pq.write_table(table, output)
        step = int(options.checkpoint.split("/")[-1])
        manifest = {
            "checkpoints": [{"step": step}],
            "layers": ["encoder/layers_0"],
            "score_loss": "mean",
        }
        output.with_name(f"{output.name}.manifest.json").write_text(json.dumps(manifest))
        return output

    monkeypatch.setattr(texts.score, "score", score)
    return calls


def run(corpus, output, *more, checkpoint="run/10,run/20"):
    return study.main(
        [
            "noise", f"--checkpoint={checkpoint}", f"--input={corpus}", f"--output={output}",
            "--documents=20", "--kinds=permuted_words,repeated_text", *more,
        ]
    )  # fmt: skip


@pytest.fixture
def known_checkpoints(monkeypatch):
    """Checkpoints that are names alone."""
    monkeypatch.setattr(texts, "find_checkpoints", lambda text: text.split(","))


def test_checkpoints_of_one_step_are_refused(monkeypatch):
    step = {"a/9": 9, "a/10": 10, "b/10": 10}
    monkeypatch.setattr(texts.checkpoints, "find", lambda path: SimpleNamespace(step=step[path]))
    assert texts.find_checkpoints("a/10,a/9") == ["a/10", "a/9"]
    with pytest.raises(ValueError, match=r"a/10 and b/10 are both of step 10.*each by itself"):
        texts.find_checkpoints("a/9,a/10,b/10")


def test_noise_from_text_to_table(corpus, scorer, known_checkpoints, tmp_path, capsys):
    gin = ("--gin_file=a.gin", "--gin.X=1")
    assert run(corpus, tmp_path / "out", "--rates=0.5,0.1", *gin) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "out/study.json").read_text())
    names = ("step", "language", "noise", "measure", "rate")
    rows = {tuple(row[name] for name in names): row for row in found["rows"]}
    for step in (10, 20):
        for language in ("de", "en", "all", "mean"):
            key = (step, language, "permuted_words")
            score, loss = rows[*key, "score", 0.5], rows[*key, "loss", 0.5]
            assert score["auroc"] == 1.0 and loss["auroc"] == 0.0
            assert score["over_clean"] == 1.5 and score["degree"] == 1.0
            assert score["paper_over_clean"] == (PAPER if language == "en" else None)
            assert score["found_in_top_10%"] == 0.2 and score["average_precision"] == 1.0
            assert rows[*key, "score", 0.1]["found_in_top_10%"] == pytest.approx(1.0)
            # Score 3 at loss 1/3 against 2 at 1/2: 27 against 8.
            assert rows[*key, "score_over_squared_loss", 0.5]["over_clean"] == pytest.approx(27 / 8)
            assert rows[*key, "length", 0.5]["auroc"] == 0.5  # as many characters
            assert 0.2 < rows[*key, "random", 0.5]["auroc"] < 0.8
            assert rows[step, language, "repeated_text", "score", 0.5]["auroc"] == 0.0
    assert {row["measure"] for row in found["rows"]}.isdisjoint({"score_encoder"})
    assert [one["step"] for one in found["protocol"]["checkpoints"]] == [10, 20]
    text = (tmp_path / "out/study.md").read_text()
    assert "| permuted_words | score | 1.000 |" in text and "step 20" in text
    assert "The loss finds more than the score: repeated_text (1.000 against 0.000)." in text
    assert (tmp_path / "out/study.csv").read_text().count("\n") == 1 + len(found["rows"])
    assert [call[1:] for call in scorer] == [(["a.gin"], ["X=1"])] * 2
    titles = [chart["title"] for chart in found["charts"]]
    assert "permuted_words over training" in titles and "permuted_words by rate" in titles


def test_the_same_texts_for_other_checkpoints(corpus, scorer, known_checkpoints, tmp_path, capsys):
    assert run(corpus, tmp_path / "out", checkpoint="run/10") == 0
    before = (tmp_path / "out/texts.jsonl").read_bytes()
    lines = [json.loads(line) for line in before.decode().splitlines()]
    assert len(lines) == 2 * 20 * 3
    assert "short" not in {row["id"].split("|")[1] for row in lines}
    assert run(corpus, tmp_path / "out") == 0
    assert (tmp_path / "out/texts.jsonl").read_bytes() == before
    assert run(corpus, tmp_path / "out", "--seed=1") == 2
    assert "seed=0 there, 1 here; choose another --output" in capsys.readouterr().err


def test_sources_and_degrees(corpus, scorer, known_checkpoints, tmp_path, capsys):
    kinds = "--kinds=permuted_words,permuted_words:0.25"
    assert run(corpus, tmp_path / "out", "--sources=wiki_*", kinds) == 0
    rows = [json.loads(line) for line in (tmp_path / "out/texts.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"wiki_a"} and len(rows) == 2 * 15 * 3
    found = json.loads((tmp_path / "out/study.json").read_text())
    degrees = {(row["noise"], row["kind"], row["degree"]) for row in found["rows"]}
    assert degrees == {
        ("permuted_words", "permuted_words", 1.0),
        ("permuted_words:0.25", "permuted_words", 0.25),
    }
    assert "permuted_words by degree" in [chart["title"] for chart in found["charts"]]
    assert run(corpus, tmp_path / "none", "--sources=news") == 2
    assert "has a source like 'news'" in capsys.readouterr().err


def test_documents_that_are_noise_already_are_not_clean_text():
    """As in the encyclopedia's training split."""
    labels = ("clean", "random_words", "", "clean")
    documents = (Document("x " * 30, str(i), "en", "", noise) for i, noise in enumerate(labels))
    source = memory_source.MemorySource((("a", 1.0, tuple(documents)),))
    assert {document.id for document in draw(source, Sampling(10))} == {"0", "2", "3"}
    assert len(draw(source, Sampling(10, clean=False))) == 4
    unspaced = Document("河流穿过古老的城市" * 4, "zh", "zh")
    source = memory_source.MemorySource((("a", 1.0, (unspaced, Document("x " * 29, "29", "en"))),))
    assert [document.id for document in draw(source, Sampling(10))] == ["zh"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--kinds=permuted",), "--kinds"),
        (("--kinds=",), "--kinds names no noise"),
        (("--sources=none_of_these",), "none_of_these"),
        (("--rates=0",), "--rates=0"),
        (("--rates=x",), "--rates=x"),
        (("--config=nothing",), "neither one of"),
    ],
)
def test_refusals(corpus, scorer, known_checkpoints, tmp_path, capsys, more, message):
    assert run(corpus, tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # the command, mended, can have it


def test_settings_of_a_file_count_less_than_the_command_line(
    corpus, scorer, known_checkpoints, tmp_path, capsys
):
    config = tmp_path / "mine.toml"
    lines = ["documents = 5", 'kinds = ["permuted_words"]', "rates = [0.2]", "by_layer = false"]
    config.write_text("\n".join([*lines, f'input = "{corpus}"', 'checkpoint = "run/1"', ""]))
    output = f"--output={tmp_path / 'out'}"
    assert study.main(["noise", "--config", str(config), output, "--documents=4"]) == 0
    protocol = json.loads((tmp_path / "out/study.json").read_text())["protocol"]
    assert (protocol["documents"], protocol["rates"]) == (4, [0.2])
    config.write_text(f'documen = 5\ninput = "{corpus}"\ncheckpoint = "run/1"\n')
    assert study.main(["noise", f"--config={config}", output]) == 2
    assert "--documen=5" in capsys.readouterr().err
