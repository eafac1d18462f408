"""Columns, texts and sums of scored documents, against pyarrow, seqio and loops."""

import base64
import html
import json
import re
import shutil
from collections import defaultdict

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import scored_corpus
from memory_source import MemorySource

from presence_t5x.data.documents import Document
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.prepared import write_store
from presence_t5x.data.store_text import read_texts
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.reporting import documents_article
from presence_t5x.reporting.influence_article import influence_article
from presence_t5x.reporting.influence_log_file import read_influence_log
from presence_t5x.reporting.scored_documents import read_document_texts, read_scores


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return scored_corpus.write_scored(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def scores(path):
    return read_scores(path)


def table_of(text, name):
    """The values that the cells of a table tell, by the heading of their row."""
    start = text.index(f'<table class="sortable" id="influence-{name}-table">')
    table = text[start : text.index("</table>", start)]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
    return {
        heading: [float(v) if v else None for v in re.findall(r'data-value="(.*?)"', row)]
        for heading, row in rows
    }


def section(article, name):
    return next(section.body for section in article.sections if section.name == name)


@pytest.mark.parametrize("label", ["language", "source"])
def test_influence_by_label_equals_pyarrow(path, scores, label):
    shown = section(influence_article([scores], []), f"influence-{label}")
    told = {html.unescape(name): row for name, row in table_of(shown, label).items()}
    table = pq.read_table(path)
    tokens, mean = pc.sum(table["num_tokens"]).as_py(), pc.mean(table["score"]).as_py()
    values = set(table[label].to_pylist())
    assert len(told) == len(values) + 1 and "all" in told
    for value in values:
        own = table.filter(pc.equal(table[label], value))
        low, median, high = pc.quantile(own["score"], [0.1, 0.5, 0.9]).to_pylist()
        expected = [
            len(own), own["score"].null_count, pc.sum(own["num_tokens"]).as_py(),
            pc.sum(own["num_tokens"]).as_py() / tokens, pc.mean(own["loss"]).as_py(),
            pc.mean(own["score"]).as_py(), pc.mean(own["score"]).as_py() / mean,
            low, median, high,
        ]  # fmt: skip
        assert told[value] == pytest.approx(expected, rel=1e-12)


def test_influence_by_language_and_source(path, scores):
    crossed = section(influence_article([scores], []), "influence-crossed")
    table = pq.read_table(path)
    told = table_of(crossed, "crossed")
    columns = re.findall(r"<th scope=\"col\".*?>(.*?)</th>", crossed)[1:]
    place = columns.index("wiki")
    for language, values in told.items():
        own = table.filter(
            pc.and_(pc.equal(table["language"], language), pc.equal(table["source"], "wiki"))
        )
        assert values[place] == pytest.approx(pc.mean(own["score"]).as_py(), rel=1e-12)


def test_of_very_many_sources_the_largest_are_told(tmp_path):
    size = 2000
    columns = {
        "example_id": [f"{i}" for i in range(size)],
        "language": ["en"] * size,
        "source": [f"site{min(i, 500)}" for i in range(size)],
        "num_tokens": [10] * size,
    }
    path = scored_corpus.write_scores(tmp_path / "s.parquet", columns, np.arange(size) + 1.0)
    article = influence_article([read_scores(path)], [])
    told = table_of(section(article, "influence-source"), "source")
    assert len(told) == 201 and told["site500"][0] == 1500 and told["all"][0] == size
    words = "Of 501 values of source the 200 with the most documents."
    assert words in section(article, "influence-source")


def test_the_verdict_names_the_ends(path, scores):
    table = pq.read_table(path).group_by("language").aggregate([("score", "mean")])
    ranked = [row["language"] for row in table.sort_by("score_mean").to_pylist()]
    verdict = influence_article([scores], []).verdict
    assert f": {ranked[-1]} has the highest" in verdict and f", {ranked[0]} the lowest" in verdict


def test_the_log_of_a_run_equals_loops(tmp_path):
    rows = scored_corpus.write_influence_log(tmp_path, num_steps=60)
    log = read_influence_log(tmp_path)
    of_unit, of_step, scores = defaultdict(int), defaultdict(int), defaultdict(dict)
    for row in rows:
        number = sum(count for _, count in row["languages"])
        of_unit[row["step"], row["unit"]] += number
        of_step[row["step"]] += number
        if row["live"]:
            scores[row["step"]][row["unit"]] = row["score"]
    expected = {name: defaultdict(float) for name in
                ("rows", "tokens", "weight", "row_share", "score", "live_rows")}  # fmt: skip
    for row in rows:
        step, unit = row["step"], row["unit"]
        own = sum(count for _, count in row["languages"])
        relative = scores[step].get(unit, 0.0) / np.mean(list(scores[step].values()))
        for language, count in row["languages"]:
            # 60 steps are 40 stretches: the first step of every three has one of its own.
            key = language, (step - 1) * 40 // 60
            expected["rows"][key] += count
            expected["tokens"][key] += row["num_tokens"] * count / own
            expected["weight"][key] += row["weight"] * count / of_unit[step, unit]
            expected["row_share"][key] += count / of_step[step]
            expected["score"][key] += count * relative
            expected["live_rows"][key] += count * row["live"]
    assert log.rows.shape == (3, 40) and log.steps[-1] == 60 and log.steps[0] == 2
    for name, values in expected.items():
        found = getattr(log, name)
        for i, language in enumerate(log.languages):
            wanted = [values[language, stretch] for stretch in range(40)]
            np.testing.assert_allclose(found[i], wanted, rtol=1e-6, atol=1e-9, err_msg=name)
    assert log.weight.sum() == pytest.approx(60, rel=1e-5)
    assert log.row_share.sum() == pytest.approx(60)
    totals = log.rows.sum(axis=1)
    assert (np.diff(totals) <= 0).all()
    told = table_of(section(influence_article([], [log]), "influence-training"), "training")
    for language, row in told.items():
        i = log.languages.index(language)
        ratio = log.weight[i].sum() / log.row_share[i].sum()
        assert row[4] == pytest.approx(ratio, rel=1e-5)


def test_a_run_without_a_log_has_none(tmp_path):
    assert read_influence_log(tmp_path) is None
    (tmp_path / "influence.parquet").mkdir()
    assert read_influence_log(tmp_path) is None
    (tmp_path / "influence.parquet" / "0.0.parquet").write_text("torn")
    with pytest.raises(ValueError, match=r"influence\.parquet is damaged"):
        read_influence_log(tmp_path)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_texts_are_what_seqio_decodes(tmp_path, kind):
    vocabulary = load_vocabulary("bytes" if kind == "bytes" else vocabulary_file())
    documents = tuple(
        Document(text, name, inputs="question: " if name == "chinese" else "")
        for name, (_, text) in scored_corpus.SPECIAL.items()
    )
    store = write_store(MemorySource((("a", 1.0, documents),)), tmp_path / "store", vocabulary)
    for (name, text), record in zip(read_texts(store, range(len(store))), store, strict=True):
        inputs, targets = (vocabulary.decode(part.tolist()) for part in record.pair)
        assert name == record.id
        assert text == (f"{inputs}\n→ {targets}" if record.num_inputs else targets)
        if kind == "bytes" and not record.num_inputs:
            assert text == scored_corpus.SPECIAL[name][1]


def test_texts_come_from_the_store_or_else_from_the_input(tmp_path):
    path = scored_corpus.write_scored(tmp_path, num_documents=30)
    ids = pq.read_table(path)["example_id"].to_pylist()
    wanted = [ids.index("arabic"), ids.index("hindi")]
    expected = {row: scored_corpus.SPECIAL[ids[row]][1] for row in wanted}
    assert read_document_texts(read_scores(path), wanted) == (expected, "")
    shutil.rmtree(tmp_path / "scores.parquet.tokens")
    found = read_document_texts(read_scores(path), wanted)
    assert found.by_document == {} and "is not there any more" in found.problem
    lines = [{"id": ids[row], "text": text} for row, text in expected.items()]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_document_texts(read_scores(path), wanted) == (expected, "")
    missing = read_document_texts(read_scores(path), [*wanted, ids.index("bidi")])
    assert "does not have all of the documents" in missing.problem
    path.with_name("scores.parquet.manifest.json").unlink()
    found = read_document_texts(read_scores(path), wanted)
    assert found.problem == "scores.parquet.manifest.json is missing beside the scores"


def test_texts_of_another_store_are_refused(tmp_path):
    path = scored_corpus.write_scored(tmp_path, num_documents=30)
    other = pq.read_table(path).slice(1)
    pq.write_table(other, path)
    assert "document 0 of" in read_document_texts(read_scores(path), [0]).problem


def test_extremes_and_texts_are_those_of_a_full_sort(path, scores):
    table = pq.read_table(path).to_pylist()
    known = [(row["score"], i) for i, row in enumerate(table) if row["score"] is not None]
    highest = [i for _, i in sorted(known, key=lambda pair: (-pair[0], pair[1]))]
    assert documents_article.extreme(scores, 12, "highest").tolist() == highest[:12]
    lowest = [i for _, i in sorted(known)]
    assert documents_article.extreme(scores, 12, "lowest").tolist() == lowest[:12]
    chosen = documents_article.documents_with_text(scores, 3)
    for language in scored_corpus.LANGUAGES:
        own = [value for value, i in known if table[i]["language"] == language]
        shown = [table[i]["score"] for i in chosen if table[i]["language"] == language]
        assert sorted(shown) == sorted(own)[:3] + sorted(own)[-3:]


def test_of_very_many_documents_a_sample_is_shown(scores):
    needed = np.array([3, 299])
    shown = documents_article.documents_shown(scores, needed, most=50)
    assert len(shown) == 50 and set(needed) <= set(shown.tolist())
    assert (np.diff(shown) > 0).all()
    everything = documents_article.documents_shown(scores, needed, most=300)
    assert everything.tolist() == list(range(300))


@pytest.mark.parametrize(
    ("values", "kind", "letter"),
    [([0, 255], "Uint8", "u1"), ([0, 256], "Uint16", "u2"), ([2**32 - 1], "Uint32", "u4"),
     ([-1, 5], "Int32", "i4"), ([2**32], "Float64", "f8"), ([0.1, 3], "Float64", "f8"),
     ([1.0, np.nan], "Float64", "f8")],
)  # fmt: skip
def test_arrays_for_the_script_are_exact(values, kind, letter):
    found = documents_article._array(np.array(values))
    assert found["kind"] == f"{kind}Array"
    read = np.frombuffer(base64.b64decode(found["content"]), f"<{letter}")
    np.testing.assert_array_equal(read, values)
