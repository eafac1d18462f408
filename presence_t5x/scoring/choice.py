"""Which documents a filter keeps (PRESENCE-Sequential: Thakkar et al. 2023, section 3)."""

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from presence_t5x._validate import LARGEST_INT64, check_bool, check_choice, check_float, check_int

ORDERS = ("lowest", "highest", "random")
MEASURES = ("documents", "tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What is kept of documents with scores.

    Attributes:
      order: "lowest" keeps the documents that influence least (Sequential), "highest" those that
        do most (Sequential-reverse), "random" any.
      amount: of `measure`, at most; or, with `is_share`, the share of what there is.
      is_share: `amount` is between 0 and 1.
      measure: what is counted.
      per_language: the amount is that of every language, not of all together.
      seed: of "random", and of ties.
    """

    order: Literal["lowest", "highest", "random"]
    amount: float
    is_share: bool = False
    measure: Literal["documents", "tokens"] = "documents"
    per_language: bool = False
    seed: int = 0

    def __post_init__(self):
        check_choice("order", self.order, ORDERS)
        check_choice("measure", self.measure, MEASURES)
        check_float("amount", self.amount, minimum=0.0, maximum=1.0 if self.is_share else math.inf)
        check_bool("per_language", self.per_language)
        check_int("seed", self.seed, minimum=0, maximum=LARGEST_INT64)


def choose(
    rule: Rule,
    scores: Float[np.ndarray, " documents"],
    num_tokens: Int[np.ndarray, " documents"],
    languages: Int[np.ndarray, " documents"],
) -> Bool[np.ndarray, " documents"]:
    """Returns which documents are kept: the first in order that together are at most the amount.

    Documents without a score (NaN) are never kept. Equal scores are in random order, by the seed.

    Args:
      languages: a number for each language.

    >>> rule = Rule(order="lowest", amount=4, measure="tokens")
    >>> choose(rule, np.array([3.0, 1.0, 2.0]), np.array([2, 3, 1]), np.zeros(3, int))
    array([False,  True,  True])
    """
    shuffled = np.random.default_rng(rule.seed).permutation(len(scores))
    known = shuffled[np.isfinite(scores[shuffled])]
    sign = {"lowest": 1.0, "highest": -1.0, "random": 0.0}[rule.order]
    order = known[np.argsort(sign * scores[known], kind="stable")]
    sizes = num_tokens if rule.measure == "tokens" else np.ones(len(scores), np.int64)
    kept = np.zeros(len(scores), bool)
    for group in np.unique(languages[order]) if rule.per_language else [None]:
        ranked = order if group is None else order[languages[order] == group]
        totals = np.cumsum(sizes[ranked], dtype=np.int64)
        limit = rule.amount * (totals[-1] if rule.is_share and len(totals) else 1)
        kept[ranked[totals <= limit + 1e-6]] = True
    return kept
