"""The command, with a scorer that is known: the table is what its scores say."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from presence_t5x import study

WORDS = ["river", "town", "sea", "noon", "house", "garden", "road", "bridge", "market", "winter"]


@pytest.fixture
def corpus(tmp_path):
    rows = [
        {
            "id": f"{language}-{i}",
            "text": " ".join(WORDS[(i + j) % 10] for j in range(50)) + ".",
            "lang": language,
            "source": ("wiki_a", "help")[i % 2],
        }
        for language in ("de", "en")
        for i in range(30)
    ]
    rows.append({"id": "short", "text": "too short", "lang": "en"})
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def scorer(monkeypatch):
    """Scores permuted words highest and repeated text lowest; the loss is the other way round."""
    calls = []

    def main(arguments):
        given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        calls.append(given)
        lines = Path(given["input"]).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        values = {"permuted_words": 3.0, "clean": 2.0, "repeated_text": 1.0}
        scores = [values[row["id"].split("|")[0]] for row in rows]
        table = pa.table(
            {
                "example_id": [row["id"] for row in rows],
                "language": [row["language"] for row in rows],
                "num_tokens": [len(row["text"]) for row in rows],
                "loss": [-score for score in scores],
                "score": scores,
            }
        )
        pq.write_table(table, given["output"])
        step = int(given["checkpoint"].split("/")[-1])
        manifest = {"checkpoints": [{"step": step}], "layers": ["encoder/layers_0"]}
        Path(f"{given['output']}.manifest.json").write_text(json.dumps(manifest))
        return 0

    monkeypatch.setattr(study.score, "main", main)
    return calls


def run(corpus, output, *more, checkpoint="run/10,run/20"):
    return study.main(
        [
            "noise", f"--checkpoint={checkpoint}", f"--input={corpus}", f"--output={output}",
            "--documents=20", "--kinds=permuted_words,repeated_text", *more,
        ]
    )  # fmt: skip


def test_noise_from_text_to_table(corpus, scorer, tmp_path, capsys):
    assert run(corpus, tmp_path / "out") == 0, capsys.readouterr().err
    texts = [json.loads(line) for line in (tmp_path / "out/texts.jsonl").read_text().splitlines()]
    assert len(texts) == 2 * 20 * 3
    assert "short" not in {row["id"].split("|")[1] for row in texts}
    found = json.loads((tmp_path / "out/study.json").read_text())
    rows = {(r["step"], r["language"], r["noise"], r["measure"]): r for r in found["rows"]}
    for step in (10, 20):
        for language in ("de", "en", "all"):
            key = (step, language, "permuted_words")
            assert rows[*key, "score"]["auroc"] == 1.0 and rows[*key, "loss"]["auroc"] == 0.0
            assert rows[*key, "score"]["over_clean"] == 1.5
            assert rows[*key, "length"]["auroc"] == 0.5  # as many characters
            assert rows[step, language, "repeated_text", "score"]["auroc"] == 0.0
            assert 0.2 < rows[*key, "random"]["auroc"] < 0.8
    assert [one["step"] for one in found["protocol"]["checkpoints"]] == [10, 20]
    text = (tmp_path / "out/study.md").read_text()
    assert "| permuted_words | score | 1.000 |" in text and "Step 20" in text
    assert (tmp_path / "out/study.csv").read_text().count("\n") == 1 + len(found["rows"])
    assert len(scorer) == 2


def test_the_same_texts_for_other_checkpoints(corpus, scorer, tmp_path, capsys):
    assert run(corpus, tmp_path / "out", checkpoint="run/10") == 0
    before = (tmp_path / "out/texts.jsonl").read_bytes()
    assert run(corpus, tmp_path / "out") == 0
    assert (tmp_path / "out/texts.jsonl").read_bytes() == before
    assert run(corpus, tmp_path / "out", "--seed=1") == 2
    assert "choose another --output" in capsys.readouterr().err


def test_sources(corpus, scorer, tmp_path, capsys):
    assert run(corpus, tmp_path / "out", "--sources=wiki_*") == 0
    rows = [json.loads(line) for line in (tmp_path / "out/texts.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"wiki_a"} and len(rows) == 2 * 15 * 3
    assert run(corpus, tmp_path / "none", "--sources=news") == 2
    assert "has a source like 'news'" in capsys.readouterr().err


def test_refusals(corpus, scorer, tmp_path, capsys, monkeypatch):
    assert run(corpus, tmp_path / "out", "--kinds=permuted") == 2
    assert "--kinds" in capsys.readouterr().err
    monkeypatch.setattr(study.score, "main", lambda arguments: 2)
    assert run(corpus, tmp_path / "failed") == 2
    assert "run/10 could not be scored" in capsys.readouterr().err
