"""The commit of the package itself, never of a repository that it happens to lie in."""

import importlib.util
import shutil
import subprocess

import pytest

from presence_t5x import provenance


@pytest.fixture
def commit_of(tmp_path):
    """A copy of the module in a folder, and what it says there."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    file = tmp_path / "package" / "provenance.py"
    file.parent.mkdir()
    shutil.copy(provenance.__file__, file)

    def ask():
        spec = importlib.util.spec_from_file_location("copied_provenance", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.source_commit()

    return file, ask


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_files_differ(commit_of, tmp_path):
    file, ask = commit_of
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert ask() == commit
    (tmp_path / "notes").write_text("elsewhere")
    assert ask() == commit
    file.write_text(file.read_text() + "\n")
    assert ask() == f"{commit}+"


def test_no_commit_outside_of_git_or_in_a_repository_of_others(commit_of, tmp_path):
    _, ask = commit_of
    assert ask() is None
    git(tmp_path, "init")
    (tmp_path / "theirs").write_text("x")
    git(tmp_path, "add", "theirs")
    git(tmp_path, "commit", "-m", "theirs")
    assert ask() is None
