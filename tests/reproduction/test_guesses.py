"""What the most frequent answer scores, against hand-counted cases."""

import pytest

from presence_t5x.reproduction.guesses import constant_answer, constant_score
from presence_t5x.reproduction.plan_parts import METRICS


def test_of_classes_it_is_the_majority_class():
    gold = [["0"]] * 5 + [["1"]] * 3 + [["2"]] * 2
    assert constant_score(gold, "accuracy") == pytest.approx(50.0)


def test_of_questions_it_is_scored_like_any_answer():
    gold = [["the Nile"], ["Nile", "river Nile"], ["Rome"], ["a river"]]
    assert constant_answer(gold) == "the Nile"  # the first of equals
    # "nile" is all of the first two questions' answers and nothing of the others.
    assert constant_score(gold, "f1") == pytest.approx(50.0)
    assert constant_score(gold, "em") == pytest.approx(50.0)


def test_of_entities_it_is_never_that_there_are_none():
    gold = [["None"], ["None"], ["LOC: Bern"], ["LOC: Bern $$ PER: Ann"]]
    assert constant_answer(gold) == "LOC: Bern"
    # Four times Bern: right twice, of three gold entities.
    assert constant_score(gold, "span_f1") == pytest.approx(100 * 2 * 2 / (4 + 3))
    assert constant_score([["None"], ["None"]], "span_f1") == 0.0


def test_every_metric_of_a_plan_has_a_guess():
    for metric in METRICS:
        assert constant_score([["LOC: Bern"], ["LOC: Bern"]], metric) == pytest.approx(100.0)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match=r"metric='bleu' must be one of \['accuracy', 'em', 'f1'"):
        constant_score([["0"]], "bleu")
