"""The tiny run that tests of the benchmark share."""

import pytest

from presence_t5x.benchmarking import variants
from presence_t5x.config import load_config


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Steps are compiled for one of the eight devices, which takes a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "make_mesh", lambda config: None)
        yield


@pytest.fixture(scope="session")
def config():
    return load_config(
        ["configs/runs/benchmark.gin"],
        [
            "BATCH_SIZE=16",
            "NUM_MICROBATCHES=2",
            'TASK_FEATURE_LENGTHS={"inputs": 8, "targets": 4}',
            "LOSS_NORMALIZING_FACTOR=64.0",
            "T5Config.vocab_size=32",
            "T5Config.emb_dim=8",
            "T5Config.num_heads=8",
            "T5Config.head_dim=2",
            "T5Config.mlp_dim=8",
            "T5Config.num_encoder_layers=1",
            "T5Config.num_decoder_layers=1",
        ],
    )
