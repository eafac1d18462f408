"""What the README shows runs as it stands, and its file tree names files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs(capsys):
    example = next(
        block
        for block in re.findall(r"```python\n(.*?)```", README, flags=re.S)
        if "presence_gradients(" in block
    )
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["aux"].weights.shape == (8,)
    assert abs(float(names["aux"].weights.sum()) - 1) < 1e-5
    assert capsys.readouterr().out.startswith("[")


def test_the_file_tree_is_true():
    tree = README.split("in which data flows\n\n```\n")[1].split("```")[0]
    named = set(re.findall(r"\b[a-z0-9_]+\.(?:py|sh)\b", tree))
    there = {path.name for pattern in ("*.py", "*.sh") for path in ROOT.rglob(pattern)}
    assert named <= there, sorted(named - there)
    modules = {path.name for path in (ROOT / "presence_t5x").glob("[a-z]*.py")}
    assert modules <= named, sorted(modules - named)


def test_run_configs_of_the_readme_exist():
    for file in re.findall(r"--gin_file=(\S+)", README):
        assert (ROOT / file.removeprefix("presence_t5x/")).is_file(), file  # as installed
