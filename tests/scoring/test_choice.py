"""Which documents a filter keeps, against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from presence_t5x.scoring.choice import MEASURES, Rule, choose


def naive(rule, scores, num_tokens, languages):
    """Takes documents one by one in order while they fit; only for scores without ties."""
    kept = np.zeros(len(scores), bool)
    for language in set(languages.tolist()) if rule.per_language else {None}:
        members = [
            i
            for i in range(len(scores))
            if np.isfinite(scores[i]) and (language is None or languages[i] == language)
        ]
        members.sort(key=lambda i: scores[i], reverse=rule.order == "highest")
        sizes = [int(num_tokens[i]) if rule.measure == "tokens" else 1 for i in members]
        budget = rule.amount * sum(sizes) if rule.is_share else rule.amount
        total = 0
        for i, size in zip(members, sizes):
            total += size
            if total > budget + 1e-6:
                break
            kept[i] = True
    return kept


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2), st.booleans()), max_size=20),
    st.sampled_from(["lowest", "highest"]),
    st.sampled_from(MEASURES),
    st.booleans(),
    st.one_of(st.integers(0, 30), st.floats(0, 1)),
    st.integers(0, 3),
)
@settings(deadline=None)
def test_the_first_in_order_that_fit(documents, order, measure, per_language, amount, seed):
    rule = Rule(
        order=order,
        amount=amount,
        is_share=isinstance(amount, float),
        measure=measure,
        per_language=per_language,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(documents)).astype(float)
    scores[[i for i, (_, _, known) in enumerate(documents) if not known]] = np.nan
    num_tokens = np.array([size for size, _, _ in documents], np.int32)
    languages = np.array([language for _, language, _ in documents], np.int32)
    found = choose(rule, scores, num_tokens, languages)
    np.testing.assert_array_equal(found, naive(rule, scores, num_tokens, languages))


def test_random_is_a_matter_of_the_seed_and_not_of_the_scores():
    sizes, languages = np.ones(100, int), np.zeros(100, int)

    def kept(seed, scores):
        return choose(Rule(order="random", amount=40, seed=seed), scores, sizes, languages)

    rising, falling = np.arange(100.0), np.arange(100.0)[::-1]
    np.testing.assert_array_equal(kept(1, rising), kept(1, falling))
    assert kept(1, rising).sum() == 40
    assert (kept(1, rising) != kept(2, rising)).any()


def test_ties_are_broken_by_the_seed_alone():
    scores = np.zeros(100)
    first, second = (
        choose(Rule(order="lowest", amount=50, seed=seed), scores, np.ones(100, int), np.zeros(100))
        for seed in (1, 2)
    )
    assert first.sum() == second.sum() == 50
    assert not first[:50].all() and (first != second).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "least"}, "order"),
        ({"measure": "words"}, "measure"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.5, "is_share": True}, "amount"),
    ],
)
def test_wrong_rules(settings, message):
    with pytest.raises(ValueError, match=message):
        Rule(**{"order": "lowest", "amount": 1, **settings})
