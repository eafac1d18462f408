"""What is known of units that ran: `unit.json` in each one's directory.

It holds the command, the fingerprint, when it ran, how long, of which commit, and whether it is
done.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from presence_t5x.files import write_text_atomically
from presence_t5x.reproduction.units import Unit

RECORD, STALE = "unit.json", "stale"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What `unit.json` holds.

    Attributes:
      started: when the last call of its command began, as `TIME_FORMAT` has it.
      seconds: of the successful call; None is not done.
      commit: of this package; "+" behind it: with changes.
    """

    fingerprint: str
    command: Sequence[str]
    started: str
    seconds: float | None = None
    commit: str | None = None

    def __post_init__(self):
        datetime.strptime(self.started, TIME_FORMAT)  # says what is wrong

    def is_older(self, others: Iterable["Record"]) -> bool:
        """Returns whether any of them began later."""
        return any(other._time() > self._time() for other in others)

    def _time(self) -> datetime:
        return datetime.strptime(self.started, TIME_FORMAT)


def read_record(directory: Path) -> Record | None:
    """Returns a unit's record; None if it never ran.

    Raises:
      ValueError: it is damaged.
    """
    path = directory / RECORD
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove its directory to run the unit again"
        ) from error


def write_record(record: Record, directory: Path) -> None:
    """Writes a unit's record."""
    text = json.dumps(dataclasses.asdict(record), indent=2) + "\n"
    write_text_atomically(text, directory / RECORD)


def done_seconds(units: Sequence[Unit], output: Path) -> dict[str, float]:
    """Returns the names of the units that are done, with their seconds.

    What began before something that it needs is not: that was run again since.

    Raises:
      ValueError: directories that were written for other settings.
    """
    done: dict[str, float] = {}
    foreign: list[str] = []
    records: dict[str, Record] = {}
    for unit in units:
        record = read_record(output / unit.name)
        if record is None:
            continue
        records[unit.name] = record
        if record.fingerprint != unit.fingerprint:
            foreign.append(unit.name)
        elif (
            record.seconds is not None
            and all(need in done for need in unit.needs)
            and not record.is_older(records[need] for need in unit.needs)
        ):
            done[unit.name] = record.seconds
    if foreign:
        others = f" and {len(foreign) - 1} others" if len(foreign) > 1 else ""
        raise ValueError(
            f"{output / foreign[0]}{others} hold results of other settings (another plan, --quick, "
            "other gin files); choose another --output_dir, or remove them"
        )
    return done


def set_stale_aside(unit: Unit, output: Path) -> Path | None:
    """Moves away what a unit made of needs that were run again since.

    A training in a directory that holds its last step does nothing, and would keep it.

    Args:
      unit: one that is not done, while all that it needs is.
      output: the plan's directory.

    Returns:
      Where it is now, below `stale`; None if there was none.
    """
    directory = output / unit.name
    record = read_record(directory)
    needs = [found for need in unit.needs if (found := read_record(output / need))]
    if record is None or (record.seconds is None and not record.is_older(needs)):
        return None
    number = 1
    while (target := output / STALE / f"{unit.name}.{number}").exists():
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    return directory.rename(target)
