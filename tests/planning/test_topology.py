"""Names of topologies are checked before libtpu sees them; errors say what would be right."""

import sys

import pytest

from presence_t5x.planning.topology import (
    CHIPS,
    get_topology,
    larger_topology,
    prepare_environment,
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v4-128", r"'v4-128' is not of the form FAMILY:SIZExSIZE; use for example v2:.*cpu:8"),
        ("4x4x4", "is not of the form FAMILY:SIZExSIZE"),
        ("v4:4x4x", "is not of the form FAMILY:SIZExSIZE"),
        ("v5pp:4x4x4", "unknown family 'v5pp'; did you mean 'v5p'"),
        ("h100:8", "unknown family 'h100'.*known: v2, v3, v4, v5e, v5p, v6e, tpu7x and cpu"),
        ("v4:4x4", "v4 has 3 dimensions, counted in chips, e.g. v4:4x4x4"),
        ("v5e:4x4x4", "v5e has 2 dimensions"),
        ("v4:3x4x4", "the first two sizes must be even"),
        ("v5e:0x4", "the first two sizes must be even"),
        ("v5e:32x32", "has 1024 chips; a slice of v5e has at most 256"),
        ("cpu:2x2", "cpu takes one number of virtual devices from 1 to 1024, e.g. cpu:8"),
        ("cpu:0", "cpu takes one number of virtual devices"),
    ],
)  # fmt: skip
def test_impossible_names(name, message):
    with pytest.raises(ValueError, match=message):
        prepare_environment(name)


def test_virtual_cpus():
    prepare_environment("cpu:8")
    topology = get_topology("cpu:8")
    assert (topology.num_devices, topology.num_chips) == (8, 8)
    assert topology.chip is None and topology.hbm_bytes is None
    with pytest.raises(ValueError, match=r"'cpu:16' needs 16 CPU devices and this process has 8"):
        get_topology("cpu:16")


def test_without_libtpu_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(ValueError, match=r'pip install .*-e "\.\[tpu\]"'):
        get_topology("v4:2x2x1")


def test_larger_topologies_double_the_chips():
    assert larger_topology("v4:4x4x4") == "v4:4x4x8"
    assert larger_topology("v4:4x4x8") == "v4:4x8x8"
    assert larger_topology("v5litepod:8x16") == "v5e:16x16"
    assert larger_topology("v6e:16x16") is None
    assert larger_topology("cpu:8") == "cpu:16"


def test_examples_are_topologies():
    for name, chip in CHIPS.items():
        assert chip.example.startswith(f"{name}:")
        prepare_environment(chip.example)
