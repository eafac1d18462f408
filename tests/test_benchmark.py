"""The command line of the benchmark: one JSON object, a plot, and one-line errors."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from presence_t5x import benchmark
from presence_t5x.benchmarking import variants

SMALL = [
    "--gin.BATCH_SIZE=8",
    "--gin.NUM_MICROBATCHES=1",
    '--gin.TASK_FEATURE_LENGTHS={"inputs": 8, "targets": 4}',
    "--gin.T5Config.vocab_size=32",
    "--gin.T5Config.emb_dim=8",
    "--gin.T5Config.num_heads=1",
    "--gin.T5Config.head_dim=8",
    "--gin.T5Config.mlp_dim=8",
    "--gin.T5Config.num_encoder_layers=1",
    "--gin.T5Config.num_decoder_layers=1",
    "--blocks=1",
    "--steps_per_block=1",
]


@pytest.fixture
def one_device(monkeypatch):
    """Compiles for one of the eight devices, which takes a third of the time."""
    monkeypatch.setattr(variants, "make_mesh", lambda config: None)


def test_json_and_plot(one_device, tmp_path, capsys):
    plot = tmp_path / "new" / "steps.svg"
    arguments = ["--variants=stored", "--peers=none", "--json", f"--plot={plot}"]
    assert benchmark.main([*SMALL, *arguments]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert [row["name"] for row in found["results"]] == ["unweighted", "stored"]
    assert found["blocks"] == 1
    assert found["config"]["data"]["batch_size"] == 8
    assert output.err.startswith("compiling 1 of 2: unweighted\n")
    assert "microbatch, stored, batch" in plot.read_text()
    ElementTree.parse(plot)


def test_a_sweep_compares_within_each_cell(one_device, capsys):
    assert benchmark.main([*SMALL, "--variants=streaming", "--sweep=8x1,3", "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert output.err == "cell 1 of 1: 8 rows in 1 microbatches\n"
    assert found["variants"] == {"streaming": "microbatch, streaming, ema"}
    assert found["tokens_per_row"] == 12
    (cell,) = found["cells"]
    assert (cell["batch_size"], cell["num_microbatches"]) == (8, 1)
    for figures, ratio in (("seconds_per_step", "time_ratio"), ("temp_bytes", "memory_ratio")):
        plain, weighted = cell[figures]["unweighted"], cell[figures]["streaming"]
        assert cell[ratio] == {"streaming": weighted / plain}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--block=3", "unrecognized arguments: --block=3"),
        ("--blocks=0", "argument --blocks: '0' must be a whole number of at least 1"),
        ("--steps_per_block=few", "'few' must be a whole number of at least 1"),
        ("--variants=stored,exampel", "variant 'exampel' is unknown"),
        ("--peers=hugging", "'hugging' is no peer"),
        ("--plot=steps.png", "argument --plot: 'steps.png' must end in .svg"),
        ("--plot=/proc/no/steps.svg", "--plot"),
        ("--gin.BATCH_SIZE=12", "batch_size=12 must be a multiple of 8 devices"),
        ("--gin.BATCHSIZE=12", "unknown macro 'BATCHSIZE'"),
        ("--sweep=8", "--sweep=8: batch sizes and numbers of microbatches are two lists"),
        ("--sweep=12x1", "batch_size=12 must be a multiple of 8 devices"),
    ],
)
def test_wrong_arguments_end_in_one_line(argument, message, capsys):
    assert benchmark.main([*SMALL, argument]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_what_is_found_while_measuring_ends_in_one_line(monkeypatch, capsys):
    def compare(*args, **options):
        raise ValueError("a peer refuses")

    monkeypatch.setattr(benchmark, "compare", compare)
    assert benchmark.main([*SMALL, "--variants=stored", "--peers=none"]) == 2
    assert capsys.readouterr().err == "error: a peer refuses\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers=vmap"], "--peers=vmap: peers take no part in a sweep"),
        (["--variants=scoring"], "--variants=scoring: a sweep compares stored,streaming,shard,"),
        (["--variants=example_whole"], "a sweep compares stored,streaming,shard,example,example_"),
        (["--variants=unweighted"], "with the unweighted step; name some of these"),
    ],
)
def test_what_a_sweep_does_not_take(arguments, message, capsys):
    assert benchmark.main([*SMALL, "--sweep=8x1", *arguments]) == 2
    assert message in capsys.readouterr().err
