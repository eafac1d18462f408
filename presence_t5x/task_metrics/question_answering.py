"""Exact match and token F1 of answers, as the SQuAD script has them (Rajpurkar et al. 2016).

A question may have several gold answers: the best of them counts, for exact match and F1 apart. F1
is that of the two multisets of tokens and 0 if they share none, so an answer that normalises to
nothing ("the") has exact match 100 and F1 0 even if it is right. Values are means times 100.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence

from presence_t5x.task_metrics.checks import check_lengths
from presence_t5x.task_metrics.normalization import (
    NORMALIZERS,
    knows_language,
    normalize_mlqa,
    normalize_squad,
)


def squad(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns {"em", "f1"} by SQuAD's normalisation: mT5's metric of SQuAD, XQuAD and TyDi QA.

    Args:
      targets: the gold answers of every question.
      predictions: one answer a question.

    Raises:
      ValueError: as `answer_scores`.

    >>> squad([["abc abd", "$$$$"]], ["abd"])
    {'em': 0.0, 'f1': 66.66666666666666}
    """
    return answer_scores(targets, predictions, normalize_squad)


def mlqa(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], lang: str
) -> dict[str, float]:
    """Returns {"em", "f1"} by MLQA's normalisation of a language: mT5's metric of MLQA.

    Args:
      targets: the gold answers of every question.
      predictions: one answer a question.
      lang: ar, de, en, es, hi, vi or zh.

    Raises:
      ValueError: another language, or as `answer_scores`.

    >>> mlqa([["this unas a string"]], ["this a string"], lang="es")
    {'em': 100.0, 'f1': 100.0}
    """
    return answer_scores(targets, predictions, functools.partial(normalize_mlqa, lang=lang))


def answers_by_normalizer(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], lang: str = ""
) -> dict[str, float]:
    """Returns the scores by every normaliser that takes the language, e.g. "script/f1".

    Args:
      targets: the gold answers of every question.
      predictions: one answer a question.
      lang: code of the language of the answers; "" is unknown.

    Raises:
      ValueError: as `answer_scores`.

    >>> answers_by_normalizer([["北京 市"]], ["北京"], "ja")["script/f1"]
    80.0
    """
    found = {}
    for name, normalize in NORMALIZERS.items():
        if knows_language(name, lang):
            scores = answer_scores(targets, predictions, functools.partial(normalize, lang=lang))
            found |= {f"{name}/{metric}": value for metric, value in scores.items()}
    return found


def answer_scores(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], normalize: Callable[[str], str]
) -> dict[str, float]:
    """Returns {"em": percent, "f1": percent} of answers after a normalisation.

    Args:
      targets: the gold answers of every question.
      predictions: one answer a question.
      normalize: a text to tokens joined by spaces.

    Raises:
      ValueError: no question, one without gold answer, or not as many predictions as questions.
    """
    check_lengths(targets, predictions)
    exact = overlap = 0.0
    for number, (answers, prediction) in enumerate(zip(targets, predictions)):
        if isinstance(answers, str) or not answers:
            raise ValueError(
                f"targets[{number}]={answers!r} must be a list of at least one gold answer; leave "
                "the question out"
            )
        found = normalize(prediction)
        gold = [normalize(answer) for answer in answers]
        exact += found in gold
        overlap += max(_token_f1(answer, found) for answer in gold)
    return {"em": 100 * exact / len(targets), "f1": 100 * overlap / len(targets)}


def _token_f1(gold: str, found: str) -> float:
    """F1 of two multisets of tokens, 0 to 1."""
    gold_tokens, found_tokens = gold.split(), found.split()
    num_same = (Counter(gold_tokens) & Counter(found_tokens)).total()
    if not num_same:
        return 0.0
    precision, recall = num_same / len(found_tokens), num_same / len(gold_tokens)
    return 2 * precision * recall / (precision + recall)
