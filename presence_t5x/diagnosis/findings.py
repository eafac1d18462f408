"""What a check has to say."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from presence_t5x.command_line import one_line

Verdict = Literal["ok", "warning", "fault"]
VERDICTS: tuple[Verdict, ...] = ("ok", "warning", "fault")  # from good to bad


class Finding(NamedTuple):
    """One line of a diagnosis.

    Attributes:
      check: what was looked at, in a word or two.
      what: was found, on one line.
      fix: what to do; empty where nothing is.
    """

    check: str
    verdict: Verdict
    what: str
    fix: str = ""


def from_error(check: str, error: BaseException) -> Finding:
    """Returns the fault that an error of this package tells of: it says last what to do.

    >>> from_error("data", ValueError("a.txt is empty; add text"))
    Finding(check='data', verdict='fault', what='a.txt is empty', fix='add text')
    """
    what, semicolon, fix = one_line(error).rpartition("; ")
    return Finding(check, "fault", *((what, fix) if semicolon else (fix, "see the message")))


def worst(findings: Iterable[Finding]) -> Verdict:
    """Returns the worst verdict; "ok" of nothing."""
    return VERDICTS[max((VERDICTS.index(found.verdict) for found in findings), default=0)]


def look(check: str, fun: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Returns what a check finds; a check that cannot be made is a fault, and others follow."""
    try:
        return list(fun())
    except (ValueError, OSError) as error:
        return [from_error(check, error)]
    except Exception as error:  # of drivers and libraries, of any kind: told, not raised
        what = f"cannot be looked at ({type(error).__name__}: {one_line(error)[:300]})"
        return [Finding(check, "fault", what, "repair what the message names, then ask again")]
