"""Comparison of a tiny run's steps: what is compared with what; no time is asserted."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from presence_t5x.benchmarking import variants
from presence_t5x.benchmarking.comparison import compare
from presence_t5x.benchmarking.contenders import random_batch, tokens_per_step
from presence_t5x.benchmarking.sweep import parse_grid
from presence_t5x.benchmarking.variants import (
    UNWEIGHTED,
    VARIANTS,
    check_variants,
    make_variant,
    with_baselines,
)
from presence_t5x.losses import cross_entropy_with_z_loss
from presence_t5x.models.families import init_params
from presence_t5x.models.t5 import T5
from presence_t5x.objective import make_mesh

SAME_LOSS = 1e-5  # relative, in float32
OTHERS = sorted(VARIANTS.keys() - {UNWEIGHTED, "scoring", "stored", "example"})


@pytest.fixture(scope="module")
def comparison(config):
    return compare(
        config, variants=with_baselines(["streaming", "scoring"]), peers=["vmap"], blocks=2,
        steps_per_block=1,
    )  # fmt: skip


def test_ratios_are_those_of_the_medians(comparison, config):
    rows = {row.name: row for row in comparison.measurements}
    assert list(rows) == [UNWEIGHTED, "streaming", "scoring", "vmap"]
    plain, weighted, scoring, peer = rows.values()
    assert plain.over_baseline == 1.0
    assert weighted.over_baseline == weighted.seconds_per_step / plain.seconds_per_step
    assert peer.over_baseline == peer.seconds_per_step / plain.seconds_per_step
    assert scoring.speed_over_peers == {"vmap": peer.seconds_per_step / scoring.seconds_per_step}
    assert weighted.speed_over_peers == {}  # a training step is not compared with scoring
    assert weighted.tokens_per_second == tokens_per_step(config) / weighted.seconds_per_step
    assert tokens_per_step(config) == 16 * (8 + 4)
    low, high = plain.seconds_quartiles
    assert low <= plain.seconds_per_step <= high


def test_memory_is_told_and_json_holds_everything(comparison):
    found = json.loads(json.dumps(comparison.to_json()))
    assert found["tokens_per_step"] == 192
    assert found["config"]["model"]["vocab_size"] == 32
    assert [row["name"] for row in found["results"]] == [UNWEIGHTED, "streaming", "scoring", "vmap"]
    assert all(row["temp_bytes"] > 0 for row in found["results"])
    assert found["not_installed"] == []
    assert "jax" in found["environment"]["versions"]


@pytest.fixture(scope="module")
def first_loss(config):
    """The mean token loss of the initial parameters."""
    batch = random_batch(config)
    params = init_params(config.model, jax.random.key(config.random_seed))
    tokens = [batch[f"{name}_tokens"] for name in ("encoder_input", "decoder_input")]
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    logits = T5(config.model).apply({"params": params}, *tokens, targets, enable_dropout=False)
    sums, num_tokens, _ = cross_entropy_with_z_loss(logits, targets, weights, config.z_loss)
    return float(sums.sum() / num_tokens.sum())


@pytest.mark.parametrize(
    "name",
    ["stored", "example", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def test_every_variant_trains_on_the_same_batch(config, first_loss, name):
    contender = make_variant(config, name, random_batch(config))
    losses = [contender.value_of(contender.step()) for _ in range(5)]
    np.testing.assert_allclose(losses[0], first_loss, rtol=SAME_LOSS)
    assert losses[-1] < losses[0]


def test_one_microbatch_has_its_own_baseline():
    assert with_baselines(["example_whole"]) == [UNWEIGHTED, "unweighted_whole", "example_whole"]


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"variant 'stord' is unknown; .* did you mean 'stored'"):
        with_baselines(["stord"])


def test_rows_that_devices_do_not_divide_are_refused_before_compiling(config, monkeypatch):
    data = dataclasses.replace(config.data, batch_size=8)
    presence = dataclasses.replace(config.presence, num_microbatches=8)
    config = dataclasses.replace(config, data=data, presence=presence)
    check_variants(config, [UNWEIGHTED])
    monkeypatch.setattr(variants, "make_mesh", make_mesh)  # over all eight devices
    with pytest.raises(ValueError, match="batch_size=8 must be a multiple of 8 devices"):
        check_variants(config, [UNWEIGHTED])


@pytest.mark.parametrize("text", ["8", "8x", "8,0x1", "8xtwo", "8x1x2"])
def test_a_grid_is_two_lists_of_numbers(text):
    with pytest.raises(ValueError, match=f"--sweep={text}: batch sizes and numbers of"):
        parse_grid(text)


def test_a_grid_needs_a_cell():
    with pytest.raises(ValueError, match="none of these batches can be cut"):
        parse_grid("7,9x2,4")
