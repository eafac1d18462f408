"""Held-out groups, and rankings of noise against clean text, from rows whose answers are known."""

import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest

from presence_t5x import PresenceConfig, held_out
from presence_t5x.gradients import example_scores
from presence_t5x.partitioning import data_mesh


class Batch(NamedTuple):
    features: dict
    example_ids: list
    languages: list
    noise: list


@pytest.fixture(scope="module")
def batches():
    """Two batches of eight rows, the last two rows padding."""
    labels = [("en", "clean"), ("en", "shuffled"), ("ru", "clean"), ("ru", "shuffled")] * 2
    made = []
    for seed, padding in ((0, []), (1, [6, 7])):
        features = problems.make_batch(seed, 8, padding_rows=padding)
        ids = [f"{seed}-{i}" for i in range(8)]
        languages, noise = ([label[k] for label in labels] for k in (0, 1))
        made.append(Batch(features, ids, languages, noise))
    return made


def per_row(params, batches):
    """Each real row's (id, language, noise, loss, tokens, score) by its own gradient."""
    rows = []
    for batch in batches:
        for i in range(8):
            one = {name: value[i : i + 1] for name, value in batch.features.items()}
            tokens = float(one["mask"].sum())
            if not tokens:
                continue
            loss, gradient = jax.value_and_grad(
                lambda p, one=one: problems.loss_fun(p, one, None)[0].sum()
            )(params)
            score = sum(
                float(jnp.sum((leaf / tokens) ** 2))
                for a, b in problems.SCORED_PATHS
                for leaf in jax.tree.leaves(gradient[a][b])
            )
            labels = (batch.example_ids[i], batch.languages[i], batch.noise[i])
            rows.append((*labels, float(loss), tokens, score))
    return rows


def test_rows_groups_and_separations(batches):
    params = problems.init_params()
    run = held_out.score_rows(problems.loss_fun_with_metrics, PresenceConfig())
    rows = held_out.run_rows(run, params, batches)
    expected = per_row(params, batches)
    assert rows.example_ids == [row[0] for row in expected]
    np.testing.assert_allclose(rows.losses, [row[3] for row in expected], rtol=1e-5)
    np.testing.assert_allclose(rows.scores, [row[5] for row in expected], rtol=1e-4)
    groups = {(row["language"], row["noise"]): row for row in held_out.mean_losses(rows)}
    for key, group in groups.items():
        members = [row for row in expected if (row[1], row[2]) == key]
        assert group["num_rows"] == len(members)
        mean = sum(row[3] for row in members) / sum(row[4] for row in members)
        assert group["loss"] == pytest.approx(mean, rel=1e-5)
    for found in held_out.separations(rows):
        noisy, clean = (
            [row for row in expected if (row[1], row[2]) == (found["language"], label)]
            for label in ("shuffled", "clean")
        )
        wins = [(a[5] > b[5]) + 0.5 * (a[5] == b[5]) for a in noisy for b in clean]
        assert found["auroc_score"] == pytest.approx(np.mean(wins))
        wins = [a[3] / a[4] > b[3] / b[4] for a in noisy for b in clean]
        assert found["auroc_loss"] == pytest.approx(np.mean(wins))
    table = held_out.score_table(rows, step=5)
    assert table[3]["loss"] == pytest.approx(expected[3][3] / expected[3][4], rel=1e-5)


def test_losses_alone(batches):
    run = held_out.loss_rows(problems.loss_fun_with_metrics, PresenceConfig())
    rows = held_out.run_rows(run, problems.init_params(), batches)
    assert np.isnan(rows.scores).all() and len(rows.losses) == 14


@pytest.mark.parametrize("make", [held_out.loss_rows, held_out.score_rows])
def test_a_device_runs_its_own_rows_and_no_more_than_a_microbatch_at_a_time(make):
    """32 rows on 8 devices, in 2 microbatches: 2 rows of logits, and the results of one device."""
    config, params = PresenceConfig(num_microbatches=2), problems.init_params()
    features = problems.make_batch(0, 32, padding_rows=[3, 31])
    found = {}
    for num_devices in (1, 8):
        mesh = None if num_devices == 1 else data_mesh(jax.devices()[:num_devices])
        run = make(problems.loss_fun_with_metrics, config, mesh)
        found[num_devices] = run(params, features)
        program = run.lower(params, features).compile().as_text()
        logits = rf"\[([\d,]+),{problems.LENGTH},{problems.VOCABULARY}\]"
        rows = {math.prod(map(int, size.split(","))) for size in re.findall(logits, program)}
        at_a_time = 32 // num_devices // config.num_microbatches
        assert max(rows) == (at_a_time if make is held_out.loss_rows else min(8, at_a_time))
    for one, other in zip(found[1], found[8]):
        np.testing.assert_allclose(other, one, rtol=1e-5)


@pytest.mark.parametrize("row_order", ["strided", "contiguous"])
def test_example_scores_do_not_depend_on_how_rows_are_chunked(row_order):
    params, batch = problems.init_params(), problems.make_batch(2, 8)
    results = [
        example_scores(
            problems.loss_fun,
            params,
            batch,
            config=PresenceConfig(num_microbatches=chunks, normalizer="ema", row_order=row_order),
        )
        for chunks in (1, 4)
    ]
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-5)
