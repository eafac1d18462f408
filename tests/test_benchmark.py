"""The benchmark measures every variant against the unweighted step; no figure is asserted."""

import dataclasses

import pytest

from presence_t5x import benchmark
from presence_t5x.config import load_config


@pytest.fixture(scope="module")
def config():
    config = load_config(["configs/runs/benchmark.gin"])
    model = dataclasses.replace(
        config.model, vocab_size=32, emb_dim=8, num_heads=1, head_dim=8, mlp_dim=8,
        num_encoder_layers=1, num_decoder_layers=1,
    )  # fmt: skip
    lengths = {"inputs": 8, "targets": 4}
    data = dataclasses.replace(config.data, batch_size=16, task_feature_lengths=lengths)
    presence = dataclasses.replace(config.presence, num_microbatches=2)
    return dataclasses.replace(config, model=model, data=data, presence=presence)


def test_variants_are_compared_with_the_unweighted_step(config):
    names = ["microbatch, stored, batch"]
    timings = benchmark.measure(config, blocks=2, steps_per_block=1, variants=names)
    assert [timing.variant for timing in timings] == [benchmark.UNWEIGHTED, *names]
    assert timings[0].ratio == 1.0
    assert timings[1].ratio == timings[1].seconds_per_step / timings[0].seconds_per_step


def test_wrong_arguments(capsys):
    assert benchmark.main(["--block=3"]) == 2
    assert "unknown argument '--block=3'" in capsys.readouterr().err
