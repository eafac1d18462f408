"""The progress of preparing data: documents/s, MB/s, time left."""

import time

from rich import progress
from rich.console import Console

from presence_t5x.data.part_writer import Progress
from presence_t5x.data.token_store import PROBLEMS_NAME, TokenStore

_PLAIN_PERIOD_SECONDS = 10.0


class ProgressDisplay:
    """A live bar on a terminal, a line every ten seconds elsewhere; nothing before the first."""

    def __init__(self, console: Console, num_text_bytes: float | None):
        """Args: where to; how much text there will be, about (None is unknown)."""
        self._console = console
        self._total = num_text_bytes
        self._start = self._last_line = time.monotonic()
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed:,.0f} documents"),
            progress.BarColumn(bar_width=None),
            progress.TextColumn("{task.fields[numbers]}"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("prepare", total=None, numbers="")

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(self, *error) -> None:
        if self._console.is_terminal:
            if error[0] is None:
                completed = self._bar.tasks[0].completed
                self._bar.update(self._task, total=completed)
            self._bar.stop()

    def show(self, done: Progress) -> None:
        """Shows the totals so far."""
        now = time.monotonic()
        numbers = self._numbers(done, max(now - self._start, 1e-9))
        if self._console.is_terminal:
            self._bar.start()
            total = None
            if self._total and done.num_text_bytes:
                total = done.num_documents * max(self._total / done.num_text_bytes, 1.0)
            self._bar.update(self._task, completed=done.num_documents, total=total, numbers=numbers)
        elif now - self._last_line >= _PLAIN_PERIOD_SECONDS:
            self._last_line = now
            self._console.print(f"{done.num_documents:,} documents  {numbers}", markup=False)

    def _numbers(self, done: Progress, seconds: float) -> str:
        text = (
            f"{done.num_documents / seconds:,.0f} documents/s  "
            f"{done.num_text_bytes / seconds / 1e6:,.1f} MB/s"
        )
        if self._total and done.num_text_bytes:
            left = max(self._total / done.num_text_bytes - 1.0, 0.0) * seconds
            text += f"  about {left:,.0f} s left"
        return text


def print_problems(console: Console, store: TokenStore) -> None:
    """Prints how many problems of each kind a store's input had; some were left out, some kept."""
    if problems := store.manifest["problems"]:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in problems.items())
        console.print(f"problems: {kinds}; see {store.directory / PROBLEMS_NAME}", markup=False)
