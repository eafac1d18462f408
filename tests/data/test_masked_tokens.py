"""Masked tokens: shares, what is never chosen, one key a row; a reference written row by row."""

import types

import numpy as np
import pytest

from presence_t5x.data.masked_tokens import encoder_ids, mask_rows, with_begin
from presence_t5x.data.seeded_rows import RaggedRows, mask_key

VOCABULARY = types.SimpleNamespace(vocab_size=1000, eos_id=1, unk_id=2, extra_ids=100)
IDS = encoder_ids(VOCABULARY)
MASK, BEGIN, EOS = 999, 998, 1
MASK_64 = 2**64 - 1


def splitmix(number):
    """SplitMix64's finaliser in Python's integers, from its definition."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK_64
    return number ^ (number >> 31)


def expected_row(tokens, key, density):
    """(inputs, which are chosen) of one row, in plain Python."""
    places = [i for i, token in enumerate(tokens) if token not in (BEGIN, EOS)]
    numbers = [splitmix((key + (i + 1) * 0x9E3779B97F4A7C15) & MASK_64) for i in range(len(places))]
    wanted = min(max(round(len(places) * density), 1), len(places))
    ranked = sorted(range(len(places)), key=lambda i: (numbers[i] >> 20, i))[:wanted]
    inputs, chosen = list(tokens), [False] * len(tokens)
    for i in ranked:
        kind = splitmix(~numbers[i] & MASK_64)
        share = (kind >> 11) / 2**53
        if share < 0.8:
            inputs[places[i]] = MASK
        elif share < 0.9:
            inputs[places[i]] = 3 + splitmix(~kind & MASK_64) % 897
        chosen[places[i]] = True
    return inputs, chosen


def mask(rows, keys, density=0.15):
    masked = mask_rows(RaggedRows.join(rows), keys, IDS, noise_density=density)
    cuts = np.cumsum([len(row) for row in rows])[:-1]
    return np.split(masked.inputs.tokens, cuts), np.split(masked.is_chosen, cuts)


def make_rows(number, rng, longest=200):
    sizes = rng.integers(1, longest, number)
    texts = [rng.integers(3, 900, size) for size in sizes]
    return [np.array([BEGIN, *text, EOS], np.int32) for text in texts]


def test_special_ids():
    assert (IDS.mask, IDS.begin, IDS.eos) == (MASK, BEGIN, EOS)
    assert IDS.ordinary.tolist() == [*range(3, 900)]
    with pytest.raises(ValueError, match=r"two are needed.*<extra_id_1> to begin"):
        encoder_ids(types.SimpleNamespace(vocab_size=1000, eos_id=1, extra_ids=1))
    with pytest.raises(ValueError, match="no id beside special ones and sentinels"):
        encoder_ids(types.SimpleNamespace(vocab_size=102, eos_id=1, extra_ids=100))


@pytest.mark.parametrize("density", [0.15, 0.5])
def test_rows_are_those_of_the_reference(density):
    rng = np.random.default_rng(0)
    rows = [*make_rows(60, rng), np.array([BEGIN, EOS], np.int32), np.array([5], np.int32)]
    rows.append(np.array([BEGIN, 7, 8, EOS, BEGIN, 9, EOS, 4, 5], np.int32))  # several documents
    keys = [mask_key(3, f"d{i}", 0) for i in range(len(rows))]
    inputs, chosen = mask(rows, keys, density)
    for row, key, got, marks in zip(rows, keys, inputs, chosen):
        assert (got.tolist(), marks.tolist()) == expected_row(row.tolist(), key, density)
        assert got.dtype == np.int32


def test_a_row_depends_on_its_key_alone():
    rng = np.random.default_rng(1)
    rows = make_rows(20, rng)
    keys = [mask_key(0, f"d{i}", 0) for i in range(20)]
    inputs, _ = mask(rows, keys)
    order = rng.permutation(20)
    shuffled, _ = mask([rows[i] for i in order], [keys[i] for i in order])
    for place, i in enumerate(order):
        assert np.array_equal(shuffled[place], inputs[i])
        assert np.array_equal(mask([rows[i]], [keys[i]])[0][0], inputs[i])
    others, _ = mask(rows, [mask_key(0, f"d{i}", 1) for i in range(20)])
    assert sum(np.array_equal(a, b) for a, b in zip(inputs, others)) < 4  # short ones may agree


def test_shares_over_10_000_examples():
    """15 % of the tokens; 80 % of them hidden, 10 % random, 10 % as they were: within 1 %."""
    rng = np.random.default_rng(2)
    rows = [np.array([BEGIN, *rng.integers(3, 900, 100), EOS], np.int32) for _ in range(10_000)]
    keys = [mask_key(0, f"d{i}", 0) for i in range(10_000)]
    inputs, chosen = map(np.stack, mask(rows, keys))
    raw = np.stack(rows)
    assert (chosen.sum(axis=1) == 15).all()
    assert not chosen[:, [0, -1]].any() and np.array_equal(inputs[~chosen], raw[~chosen])
    hidden = (inputs == MASK)[chosen].mean()
    # A random token is the old one once in 897 times.
    kept = (inputs == raw)[chosen].mean()
    assert abs(hidden - 0.8) < 0.008 and abs(kept - 0.1 - 0.1 / 897) < 0.001 * 4
    replaced = chosen & (inputs != MASK) & (inputs != raw)
    assert abs(replaced.sum() / chosen.sum() - 0.1) < 0.004
    # 15,000 draws of 897 ids: 16.7 each, standard deviation 4.1.
    counts = np.bincount(inputs[replaced], minlength=1000)
    assert counts[3:900].min() > 0 and counts[3:900].max() < 17 + 7 * 4.1
    assert not counts[:3].any() and not counts[900:].any()
    # Every place is as likely: 1,500 expected, standard deviation 36.
    places = chosen[:, 1:-1].sum(axis=0)
    assert abs(places - 1500).max() < 5 * 36
    # Whether a token is chosen says nothing of what becomes of it: by place, 1,200 of 1,500.
    by_place = (inputs == MASK)[:, 1:-1].sum(axis=0) / places
    assert abs(by_place - 0.8).max() < 5 * (0.16 / 1500) ** 0.5


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (3, 1), (10, 2), (17, 3), (512, 77)])
def test_how_many_are_chosen(size, expected):
    row = np.array([BEGIN, *range(10, 10 + size), EOS], np.int32)
    _, (chosen,) = mask([row], [5])
    assert chosen.sum() == expected


def test_a_row_begins_with_one_begin_token():
    assert with_begin(np.array([5, 6], np.int32), IDS).tolist() == [BEGIN, 5, 6]
    assert with_begin(np.array([BEGIN, 6], np.int32), IDS).tolist() == [BEGIN, 6]
