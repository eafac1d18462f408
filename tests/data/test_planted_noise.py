"""Permuted words in held-out rows: what moves, what stays, and when they are planted."""

import dataclasses

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_t5x.config_types import DataConfig
from presence_t5x.data.evaluation import evaluation_batches
from presence_t5x.data.planted_noise import permute_words
from presence_t5x.data.sources import resolve_vocabulary

STARTS = np.arange(20) < 8  # ids 0 to 7 begin a word


def words_of(tokens):
    words = []
    for token in tokens:
        if token < 8 or not words:
            words.append([])
        words[-1].append(int(token))
    return words


@given(st.integers(0, 7), st.lists(st.integers(0, 19), max_size=60), st.integers(0, 50))
def test_words_move_and_stay_whole(first, rest, seed):
    tokens = np.array([first, *rest])
    if (tokens < 8).mean() < 0.2:
        return  # hardly any word: see below
    permuted = permute_words(tokens, STARTS, np.random.default_rng(seed))
    assert sorted(words_of(permuted)) == sorted(words_of(tokens))
    again = permute_words(tokens, STARTS, np.random.default_rng(seed))
    assert np.array_equal(permuted, again)


def test_orders_are_uniform():
    tokens = np.array([0, 9, 1, 2, 10])
    orders = [
        tuple(permute_words(tokens, STARTS, np.random.default_rng(seed)).tolist())
        for seed in range(1200)
    ]
    assert set(orders) == {
        (0, 9, 1, 2, 10),
        (0, 9, 2, 10, 1),
        (1, 0, 9, 2, 10),
        (1, 2, 10, 0, 9),
        (2, 10, 0, 9, 1),
        (2, 10, 1, 0, 9),
    }
    # 200 expected of each, standard deviation 13.
    assert all(150 < orders.count(order) < 250 for order in set(orders))


def test_scripts_without_spaces_are_permuted_token_by_token():
    tokens = np.arange(8, 20)
    permuted = permute_words(tokens, STARTS, np.random.default_rng(0))
    assert sorted(permuted) == sorted(tokens) and not np.array_equal(permuted, tokens)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text").mkdir()
    paragraphs = (f"document {i} has words number {i} to {i + 9} in it" for i in range(400))
    (tmp_path / "text" / "a.txt").write_text("\n\n".join(paragraphs))
    return DataConfig(
        mixture_or_task_name="local_text",
        task_feature_lengths={"inputs": 64, "targets": 14},
        batch_size=8,
        local_text_files=str(tmp_path / "text"),
        vocabulary_file="bytes",
        prepared_dir=str(tmp_path / "data"),
    )


def raw_text(config, batch, row):
    """The row's tokens before corruption, as text."""
    names = ("encoder_input_tokens", "decoder_target_tokens")
    tokens = oracles.restore_tokens(*(batch.features[name][row] for name in names), 259)
    return resolve_vocabulary(config).decode(tokens)


def test_every_held_out_row_comes_clean_and_permuted(config):
    batches = evaluation_batches(config, rows_per_group=9, prepared_root="", plant_noise=True)
    clean, permuted = {}, {}
    for batch in batches:
        for row, name in enumerate(batch.example_ids):
            if name:
                texts = {"clean": clean, "permuted_words": permuted}[batch.noise[row]]
                texts[name] = raw_text(config, batch, row)
    assert clean.keys() == permuted.keys() and len(clean) == 9
    for name, text in clean.items():
        assert text.startswith("document ") and text != permuted[name]
        assert sorted(text.replace(" ", "")) == sorted(permuted[name].replace(" ", ""))
    again = evaluation_batches(config, rows_per_group=9, prepared_root="", plant_noise=True)
    for one, two in zip(batches, again):
        for name, array in one.features.items():
            assert np.array_equal(array, two.features[name])


def test_nothing_is_planted_unless_asked_or_where_noise_is_labelled(config):
    batches = evaluation_batches(config, rows_per_group=9, prepared_root="")
    assert {label for batch in batches for label in batch.noise} == {""}
    labelled = dataclasses.replace(
        config,
        mixture_or_task_name="encyclopedia.sw",
        local_text_files=None,
        vocabulary_file=None,
        task_feature_lengths={"inputs": 32, "targets": 8},
    )
    found = [
        evaluation_batches(labelled, rows_per_group=4, prepared_root="", plant_noise=plant)
        for plant in (False, True)
    ]
    assert [b.example_ids for b in found[0]] == [b.example_ids for b in found[1]]
