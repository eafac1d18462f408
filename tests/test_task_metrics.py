"""Metrics of fine-tuned answers: the published scorers' cases, their quirks, an oracle, properties.

The oracle is written from the description of the scorers: regular expressions and lists, where the
code under test deletes characters and counts multisets.
"""

import functools
import random
import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x import task_metrics
from presence_t5x.task_metrics import (
    accuracy,
    answers_by_normalizer,
    example_values,
    mlqa,
    normalize_by_script,
    normalize_mlqa,
    normalize_squad,
    span_f1,
    squad,
)

ROUNDING = {"rel": 1e-12, "abs": 1e-12}  # of float64 means
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
# fmt: off
ARTICLES = {
    "ar": [], "hi": [], "zh": [], "en": ["a", "an", "the"],
    "es": ["un", "una", "unos", "unas", "el", "la", "los", "las"],
    "vi": ["của", "là", "cái", "chiếc", "những"],
    "de": ["ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem",
           "des"],
}
# fmt: on
AL = "\u0627\u0644"


@functools.cache
def unicode_punctuation():
    every = map(chr, range(sys.maxunicode))
    return "".join(c for c in every if unicodedata.category(c)[0] == "P") + ASCII_PUNCTUATION


def oracle_tokens(text, language):
    """Tokens by the MLQA rules of a language; by SQuAD's for None."""
    unwanted = ASCII_PUNCTUATION if language is None else unicode_punctuation()
    text = re.sub(f"[{re.escape(unwanted)}]", "", text.lower())
    words = re.split(r"(\W+)", text)
    articles = ARTICLES[language or "en"]
    text = "".join(" " if word in articles else word for word in words)
    if language == "ar":
        text = text.replace(AL, " ")
    if language != "zh":
        return text.split()
    pieces = re.findall(r"[\u4e00-\u9fa5]|[^\s\u4e00-\u9fa5]+", text)
    return pieces


def oracle_scores(targets, predictions, language):
    """(exact match, F1), in percent."""
    exact, overlap = [], []
    for golds, prediction in zip(targets, predictions):
        found = oracle_tokens(prediction, language)
        each = []
        for gold in golds:
            rest, same = oracle_tokens(gold, language), 0
            exact_here = rest == found
            total = len(rest) + len(found)
            for token in found:
                if token in rest:
                    rest.remove(token)
                    same += 1
            each.append((exact_here, 2 * same / total if same else 0))
        exact.append(max(e for e, _ in each))
        overlap.append(max(f for _, f in each))
    return 100 * sum(exact) / len(exact), 100 * sum(overlap) / len(overlap)


# What the published scorers of T5 and mT5 give.
SQUAD_CASES = [
    ([["", "this is a string"], ["this is a string"] * 2], ["this is a string"] * 2, 100, 100),
    ([["this is a string"] * 2] * 2, ["", ""], 0, 0),
    ([["abc abd", "$$$$"]], ["abd"], 0, 200 / 3),
    (
        [["big moose", "hippo"], ["correct1"], ["correct2.1", "correct2.2"], ["a", "b"]],
        ["‘a big  Moose!‘", "wrong", "correct2.2", "c"],
        25,
        35,
    ),
    ([["answer"]] * 5, ["answer"] * 5, 100, 100),
]


@pytest.mark.parametrize(("targets", "predictions", "exact", "f1"), SQUAD_CASES)
def test_published_squad_cases(targets, predictions, exact, f1):
    assert squad(targets, predictions) == pytest.approx({"em": exact, "f1": f1}, **ROUNDING)


def test_published_normalisations():
    text = "`Needs\tA_LOT of the 'normalization'.\"‘"
    assert normalize_squad(text) == "needs alot of normalization‘"
    assert normalize_mlqa(text, "en") == "needs alot of normalization"
    assert normalize_mlqa("this unas a string", "es") == "this a string"
    assert mlqa([["this unas a string"]], ["this a string"], lang="es") == {"em": 100, "f1": 100}
    found = mlqa([["abc abd", "$$$$"]], ["abd"], lang="en")
    assert found == pytest.approx({"em": 0, "f1": 200 / 3}, **ROUNDING)


QUIRKS = [
    # SQuAD's rules know no other language and no Unicode punctuation.
    (normalize_squad, "Der Bär, la mer", "der bär la mer"),
    (normalize_squad, "东京。", "东京。"),
    (normalize_squad, "a b-c u.s. the", "bc us"),
    # Articles go after punctuation: "a." is one, "a.b" is not.
    (normalize_squad, "a. x", "x"),
    (functools.partial(normalize_mlqa, lang="en"), "‘The’ x…", "x"),
    (functools.partial(normalize_mlqa, lang="de"), "Der den Baum", "baum"),
    (functools.partial(normalize_mlqa, lang="vi"), "của Là sông", "sông"),
    (functools.partial(normalize_mlqa, lang="hi"), "यह एक है।", "यह एक है"),
    # Meant for the article alone, it takes the two letters out of words.
    (functools.partial(normalize_mlqa, lang="ar"), f"{AL}كتاب ق{AL}", "كتاب ق"),
    (functools.partial(normalize_mlqa, lang="ar"), f"س{AL}م", "س م"),
    # Ideographs beyond U+9FA5 stay together; kana are not cut at all.
    (
        functools.partial(normalize_mlqa, lang="zh"),
        "在2008年\u9fff\u9fff",
        "在 2008 年 \u9fff\u9fff",
    ),
    (functools.partial(normalize_mlqa, lang="zh"), "ひらがな中", "ひらがな 中"),
]


@pytest.mark.parametrize(("normalize", "text", "expected"), QUIRKS)
def test_quirks_of_the_published_normalisations(normalize, text, expected):
    assert normalize(text) == expected


def test_an_answer_of_articles_alone_is_exact_without_overlap():
    assert squad([["the"]], ["A"]) == {"em": 100, "f1": 0}


WORDS = [
    "the",
    "a",
    "la",
    "der",
    "của",
    "Río",
    "U.S.",
    "é",
    "…",
    "中国",
    "が",
    "กรุง",
    "$",
    "x-y",
    AL,
]
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=5).map(" ".join)
QUESTIONS = st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), TEXTS), min_size=1)


@given(questions=QUESTIONS, language=st.sampled_from([None, *ARTICLES]))
@settings(deadline=None)
def test_answers_are_scored_as_the_oracle_does(questions, language):
    targets, predictions = map(list, zip(*questions))
    metric = squad if language is None else functools.partial(mlqa, lang=language)
    exact, f1 = oracle_scores(targets, predictions, language)
    found = metric(targets, predictions)
    assert found == pytest.approx({"em": exact, "f1": f1}, **ROUNDING)


METRICS = [
    squad,
    *(functools.partial(mlqa, lang=language) for language in ARTICLES),
    functools.partial(answers_by_normalizer, lang="th"),
    functools.partial(answers_by_normalizer, lang="zh"),
]


@given(questions=QUESTIONS, metric=st.sampled_from(METRICS), seed=st.integers(0, 99))
@settings(deadline=None)
def test_scores_are_percentages_that_no_order_changes(questions, metric, seed):
    found = metric(*map(list, zip(*questions)))
    assert all(0 <= value <= 100 for value in found.values())
    shuffled = [(random.Random(seed).sample(golds, len(golds)), text) for golds, text in questions]
    random.Random(seed).shuffle(shuffled)
    assert metric(*map(list, zip(*shuffled))) == pytest.approx(found, **ROUNDING)


@given(texts=st.lists(TEXTS, min_size=1), metric=st.sampled_from(METRICS))
@settings(deadline=None)
def test_the_gold_answer_itself_is_right(texts, metric):
    texts = [f"{text} z" for text in texts]  # so that something is left
    found = metric([["other", text] for text in texts], texts)
    assert all(value == pytest.approx(100) for value in found.values())


UNSPACED = ["中国人民", "ひらがなカタカナ", "กรุงเทพมหานคร", "ເມືອງ", "မြန်မာ", "ភ្នំពេញ", "々〆𠀀"]


@given(parts=st.lists(st.sampled_from(UNSPACED), min_size=1), seed=st.integers(0, 999))
def test_spacing_of_unspaced_scripts_changes_nothing(parts, seed):
    rng = random.Random(seed)
    text = "".join(parts)
    marked = "".join(
        (" " if rng.random() < 0.3 and unicodedata.category(c)[0] != "M" else "") + c for c in text
    )
    assert normalize_by_script(marked, "th") == normalize_by_script(text, "th")
    assert answers_by_normalizer([[text]], [marked], "th")["script/f1"] == 100


def test_tokens_by_script():
    cases = {
        "東京タワー": "東 京 タ ワ ー",
        "5月 12日": "5 月 12 日",
        "５月12日": "5 月 12 日",
        "iPhone手机": "iphone 手 机",
        "ที่นี่ ดี": "ที่ นี่ ดี",  # vowels and tones stay on their consonants
        "서울 특별시": "서울 특별시",  # Korean has spaces
        "New York": "new york",
        "पश्चिम।": "पश्चिम",
    }
    for text, expected in cases.items():
        assert normalize_by_script(text) == unicodedata.normalize("NFKC", expected)
    assert normalize_by_script("the Los", "es") == "the"
    assert normalize_by_script(f"{AL}كتاب ق{AL}ب", "ar") == f"كتاب ق{AL}ب"


def test_normalisers_side_by_side():
    found = answers_by_normalizer([["在 北京。"]], ["在北京"], "zh")
    assert found == {
        "squad/em": 0, "squad/f1": 0, "mlqa/em": 100, "mlqa/f1": 100, "script/em": 100,
        "script/f1": 100,
    }  # fmt: skip
    assert {name.split("/")[0] for name in answers_by_normalizer([["x"]], ["x"], "th")} == {
        "squad",
        "script",
    }


SPAN_CASES = [
    (["PER: rick $$ PER: morty"], ["PER: rick $$ PER: morty"], 1.0),
    (["PER: rick $$ PER: morty"], ["PER: morty $$ PER: rick"], 1.0),
    (["PER: rick"], ["LOC: rick"], 0.0),
    (["PER: a $$ PER: a"], ["PER: a"], 2 / 3),
    (["PER: a"], ["PER: a $$ PER: a"], 2 / 3),
    # Micro over the set: 1 right of 3 gold and of 2 found.
    (["PER: a $$ LOC: b", "ORG: c"], ["PER: a", "ORG: d"], 0.4),
    (["None", "PER: a"], ["None", "PER: a"], 1.0),
    (["None"], ["None"], 0.0),
    (["None", "PER: a"], ["PER: b", "PER: a"], 2 / 3),
    # A second colon removes the entity on either side; without spaces " $$ " is no delimiter.
    (["PER: a: b $$ LOC: c"], ["LOC: c"], 1.0),
    (["LOC: c"], ["PER: a: b $$ LOC: c"], 1.0),
    (["PER: a $$ LOC: c"], ["PER: a$$LOC: c"], 0.0),
    (["PER: a"], ["  PER :  a  "], 1.0),
    (["PER: a"], [""], 0.0),
]


@pytest.mark.parametrize(("targets", "predictions", "expected"), SPAN_CASES)
def test_span_f1(targets, predictions, expected):
    # 1e-13 stands in its denominators.
    assert span_f1(targets, predictions)["span_f1"] == pytest.approx(expected, abs=1e-12)


SPANS = st.lists(st.sampled_from(["PER: a", "PER: b", "LOC: a", "None", "x", "LOC: a: b"]))


@given(examples=st.lists(st.tuples(SPANS, SPANS), min_size=1), seed=st.integers(0, 99))
def test_span_f1_of_any_order(examples, seed):
    def score(pairs):
        targets, predictions = zip(*(tuple(" $$ ".join(x) for x in pair) for pair in pairs))
        return span_f1(targets, predictions)["span_f1"]

    rng = random.Random(seed)
    shuffled = [tuple(rng.sample(spans, len(spans)) for spans in pair) for pair in examples]
    rng.shuffle(shuffled)
    found = score(examples)
    assert 0 <= found <= 1 and score(shuffled) == found
    right = wrong = missed = 0
    for gold, predicted in examples:
        gold = [span for span in gold if span.count(":") == 1]
        for span in predicted:
            if span.count(":") == 1:
                hit = span in gold
                right += hit
                wrong += not hit
                if hit:
                    gold.remove(span)
        missed += len(gold)
    expected = 2 * right / (2 * right + wrong + missed) if right else 0
    assert found == pytest.approx(expected, abs=1e-12)


@given(labels=st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2)), min_size=1))
def test_accuracy(labels):
    targets, predictions = map(list, zip(*labels))
    expected = 100 * len([1 for a, b in labels if a == b]) / len(labels)
    assert accuracy(targets, predictions)["accuracy"] == pytest.approx(expected, **ROUNDING)
    assert accuracy(targets, targets) == {"accuracy": 100}


def test_postprocessing():
    example = {"answers": [b"Rome . ", "Città"]}
    assert task_metrics.qa("x", example=example, is_target=True) == ["Rome . ", "Città"]
    assert task_metrics.qa("x", example=example) == "x"
    classes = ["different_meaning", "paraphrase"]
    found = [
        task_metrics.string_label_to_class_id(t, classes) for t in (*classes, "Paraphrase", "")
    ]
    assert found == [0, 1, -1, -1]


def test_what_cannot_be_scored_is_named():
    every = [squad, functools.partial(mlqa, lang="en"), span_f1, accuracy, answers_by_normalizer]
    for metric in every:
        with pytest.raises(ValueError, match="2 targets but 1 predictions; give one prediction"):
            metric([["a"], ["b"]], ["a"])
        with pytest.raises(ValueError, match="no examples: a mean over nothing"):
            metric([], [])
    for answers in ([], "text"):
        with pytest.raises(ValueError, match=r"targets\[1\]=.* at least one gold answer"):
            squad([["a"], answers], ["a", "b"])
    with pytest.raises(ValueError, match="lang='th' must be one of"):
        mlqa([["a"]], ["a"], lang="th")


ANSWERS = st.text(alphabet="ab the.", max_size=8)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(ANSWERS, min_size=1, max_size=3), ANSWERS), min_size=1))
def test_the_mean_of_the_examples_is_the_score_of_the_set(pairs):
    targets, predictions = zip(*pairs)
    for metric_fn in (squad, functools.partial(answers_by_normalizer, lang="de")):
        values = example_values(metric_fn, targets, predictions)
        for name, score in metric_fn(targets, predictions).items():
            mean = sum(one[name] for one in values) / len(values)
            assert mean == pytest.approx(score, **ROUNDING)
    labels = [text[:1] for text in predictions]
    values = example_values(accuracy, labels, predictions)
    right = [label == text for label, text in zip(labels, predictions)]
    assert [one["accuracy"] for one in values] == [100.0 * one for one in right]


def test_counts_of_examples_give_the_f1_of_the_set():
    targets = ["PER: a $$ LOC: b", "None", "ORG: c $$ ORG: c", "PER: d"]
    predictions = ["PER: a $$ PER: b", "LOC: x", "ORG: c", "None"]
    counts = example_values(span_f1, targets, predictions)
    assert [tuple(one.values()) for one in counts] == [(1, 2, 2), (0, 1, 0), (1, 1, 2), (0, 0, 1)]
    right, found, gold = (sum(column) for column in zip(*(one.values() for one in counts)))
    expected = span_f1(targets, predictions)["span_f1"]
    assert 2 * right / (found + gold) == pytest.approx(expected, rel=1e-12)


def test_metrics_of_others_have_no_values_of_examples():
    assert example_values(lambda t, p: {"x": 1.0}, ["a", "b"], ["a", "b"]) == [{}, {}]
