"""Progress of a reproduction on the terminal."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rich import progress
from rich.console import Console

from presence_t5x.reproduction.units import Unit


class TimeLeft:
    """Estimates from the units of a kind that are done what the others take."""

    def __init__(self, units: Sequence[Unit], done: Mapping[str, float], jobs: int):
        """Args: all units; those that are done, with their seconds; how many run at once."""
        self._units, self._done, self._jobs = units, dict(done), jobs

    def finish(self, unit: Unit, seconds: float) -> None:
        """Counts a unit as done."""
        self._done[unit.name] = seconds

    def seconds(self, running: Mapping[str, float]) -> float | None:
        """Returns the seconds left; None while a kind that is left has no unit that is done.

        Args:
          running: the share of each running unit that is done.
        """
        known: dict[str, list[float]] = defaultdict(list)
        for unit in self._units:
            if unit.name in self._done:
                known[unit.kind].append(self._done[unit.name])
        left = 0.0
        for unit in self._units:
            if unit.name in self._done:
                continue
            if not known[unit.kind]:
                return None
            mean = sum(known[unit.kind]) / len(known[unit.kind])
            left += mean * (1 - running.get(unit.name, 0.0))
        return left / self._jobs


class ProgressDisplay:
    """A bar where there is a terminal, else a line for each unit."""

    def __init__(
        self, console: Console, units: Sequence[Unit], done: Mapping[str, float], jobs: int
    ):
        """Args: where to; all units; those that are done, with their seconds; how many at once."""
        self._console, self._units = console, units
        self._left = TimeLeft(units, done, jobs)
        self._num_done, self._running = len(done), {}
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed:.0f}/{task.total} units"),
            progress.BarColumn(),
            progress.TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=len(units), completed=self._num_done)
        if console.is_terminal:
            self._bar.start()

    def start(self, unit: Unit) -> None:
        """Shows that a unit runs."""
        self._running[unit.name] = 0.0
        self.advance({})

    def tell(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def advance(self, shares: Mapping[str, float]) -> None:
        """Shows the shares that are done of what runs."""
        self._running |= {name: shares[name] for name in shares if name in self._running}
        names = ", ".join(f"{name} {share:.0%}" for name, share in self._running.items())
        text = f"{self._time_left()}  {names}"
        self._bar.update(self._task, description=text, completed=self._num_done)

    def finish(self, unit: Unit, seconds: float) -> None:
        """Says that a unit is done."""
        self._running.pop(unit.name, None)
        self._left.finish(unit, seconds)
        self._num_done += 1
        self.tell(
            f"{self._num_done}/{len(self._units)}  {unit.name}  {seconds:,.0f} s  "
            f"{self._time_left()}"
        )

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._console.is_terminal:
            self._bar.stop()

    def _time_left(self) -> str:
        seconds = self._left.seconds(self._running)
        if seconds is None:
            return "time left not known yet"
        minutes = int(seconds // 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{int(seconds % 60):02d} left"
