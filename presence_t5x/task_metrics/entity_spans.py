"""F1 of entities written as text: "PER: rick $$ LOC: new york", as mT5 writes WikiAnn."""

from collections import Counter
from collections.abc import Sequence

from presence_t5x.task_metrics.checks import check_lengths

DELIMITER = " $$ "
_TINY = 1e-13


def span_f1(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Returns {"span_f1": 0 to 1}, not times 100: micro F1 of (type, surface) pairs.

    Entities are compared as multisets within an example, where they stand plays no part. As in mT5
    a piece counts only if it has exactly one colon, gold and predicted alike: "None", malformed
    pieces and entities whose surface has a colon are left out. Examples without any entity score 0.

    Args:
      targets: entities joined by " $$ ", each "TYPE: surface".
      predictions: the same, as a model wrote them.

    Raises:
      ValueError: no example, or not as many predictions as targets.

    >>> round(span_f1(["PER: rick $$ PER: morty"], ["PER: rick $$ LOC: morty"])["span_f1"], 6)
    0.5
    """
    check_lengths(targets, predictions)
    total: Counter[str] = Counter()
    for target, prediction in zip(targets, predictions):
        total.update(span_counts(target, prediction))
    num_right = total["true_positives"]
    precision = num_right / (total["predicted"] + _TINY)
    recall = num_right / (total["gold"] + _TINY)
    return {"span_f1": 2 * precision * recall / (precision + recall + _TINY)}


def span_counts(target: str, prediction: str) -> dict[str, int]:
    """Returns what one example adds to the counts that the F1 of a set is made of.

    >>> span_counts("PER: rick $$ PER: morty", "PER: rick")
    {'true_positives': 1, 'predicted': 1, 'gold': 2}
    """
    gold, found = _read_spans(target), _read_spans(prediction)
    return {
        "true_positives": (gold & found).total(),
        "predicted": found.total(),
        "gold": gold.total(),
    }


def _read_spans(text: str) -> Counter[tuple[str, str]]:
    """The (type, surface) pairs of a text, with how often each stands there."""
    pieces = (piece.split(":") for piece in text.split(DELIMITER))
    return Counter((piece[0].strip(), piece[1].strip()) for piece in pieces if len(piece) == 2)
