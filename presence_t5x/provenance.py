"""Which state of this source code is running."""

import functools
import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).parent


@functools.cache
def source_commit() -> str | None:
    """Returns the git commit of this package, "+" behind it if files differ from it.

    None where the package is not part of a git repository of its own: an installed wheel, even
    inside of someone else's repository.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git("rev-parse", "HEAD").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + "+" if changed else commit


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_PACKAGE), *arguments],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout
