"""What the README shows runs as it stands, and its file tree names files that exist."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from presence_t5x import plan
from presence_t5x.config import load_config, parse_arguments
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.run_directory import with_vocabulary
from presence_t5x.vocabulary_table import check_table_holds

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


def runs_of(document):
    """Yields every run that a document's commands describe, T5X's own left out."""
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / document).read_text(), flags=re.S):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            files, bindings, words = parse_arguments(shlex.split(line, comments=True))
            if files and "t5x.train" not in words:
                load = plan.load_plan_config if "presence_t5x.plan" in words else load_config
                yield line, load(files, bindings)


def check_bytes(data, rows):
    """Stands for `data.sources.check_data` of a run on files that only the reader has."""
    vocabulary = load_vocabulary("bytes")
    check_table_holds(data.mixture_or_task_name, vocabulary.vocab_size, rows)
    return vocabulary


@pytest.mark.parametrize("document", ["README.md", "docs/pods.md"])
def test_commands_name_runs_that_fit_each_other(document):
    """Settings are valid, tables fit, a directory is one run's, and a start is of its family."""
    runs = {}
    for line, run in runs_of(document):
        if run.data.vocabulary_file == "bytes":
            with_vocabulary(run, SimpleNamespace(check_data=check_bytes))
        assert runs.setdefault(run.model_dir, run) == run, f"two runs in one MODEL_DIR: {line}"
        start = runs.get(run.initial_checkpoint)
        assert start is None or type(start.model) is type(run.model), line
    assert len(runs) >= 2
