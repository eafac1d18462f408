"""The fuzzer runs, finds nothing in a moment, and would find something."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="the fuzzer needs atheris: pip install atheris")

SCRIPT = Path(__file__).parent / "fuzz" / "fuzz_parsers.py"
TARGETS = (
    "gin",
    "hlo",
    "huggingface_config",
    "json",
    "lines",
    "manifest",
    "plan",
    "record",
    "share",
)


def fuzz(name, *arguments, script=SCRIPT, folder):
    return subprocess.run(
        [sys.executable, str(script), name, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_parsers_stand_two_thousand_inputs(name, tmp_path):
    result = fuzz(name, "-runs=2000", "-seed=1", folder=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert not list(tmp_path.glob("crash-*"))


@pytest.mark.slow
def test_it_finds_what_is_no_value_error(tmp_path):
    program = SCRIPT.read_text().replace('"json": parse_json,', '"json": lambda content: 1 / 0,')
    script = tmp_path / "broken.py"
    script.write_text(program)
    assert fuzz("json", "-runs=10", script=script, folder=tmp_path).returncode != 0
