"""Documents of another kind altogether: pseudo-code, arithmetic and log lines.

Each generator draws lines of words joined by spaces; `generate_lines` repeats one of them until
there are enough words. They share neither vocabulary nor grammar with the encyclopedia, except
digits. No line contains an angle bracket, so none can spell a sentinel.
"""

from collections.abc import Callable, Sequence

import numpy as np

_VARIABLES = (*"abcdefghijkmnpqrstuvwxyz", "buf", "ptr", "idx", "tmp", "acc", "ctx")
_FUNCTIONS = ("push", "pop", "hash", "fold", "scan", "emit", "bind", "swap", "seek", "flush")
_OPERATORS = ("+", "-", "*", "/", "%", "&", "|", "^")
_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_MODULES = ("net.rx", "net.tx", "disk0", "kernel", "sched", "cache", "auth", "cron", "dns", "tls")
_EVENTS = ("timeout", "retry", "reset", "evicted", "denied", "opened", "closed", "resumed", "lost")


def _pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    """One item, uniformly."""
    return items[int(rng.integers(len(items)))]


def _code_line(rng: np.random.Generator) -> str:
    """One statement of a language that does not exist."""
    target, left, right = (_pick(rng, _VARIABLES) for _ in range(3))
    number, operator = int(rng.integers(256)), _pick(rng, _OPERATORS)
    function = _pick(rng, _FUNCTIONS)
    forms = (
        f"let {target} = {left} {operator} {right} ;",
        f"{target} = {function} ( {left} , {number} ) ;",
        f"if ( {left} == {number} ) {{ {function} ( {right} ) ; }}",
        f"for {target} in {left} .. {number} {{ {right} {operator}= {target} ; }}",
        f"return {function} ( {left} [ {number} ] ) ;",
    )
    return forms[int(rng.integers(len(forms)))]


def _arithmetic_line(rng: np.random.Generator) -> str:
    """One correct equation of two or three small numbers."""
    first, second, third = rng.integers(1, 1000, 3).tolist()
    forms = (
        f"{first} + {second} = {first + second} ;",
        f"{first} - {second} = {first - second} ;",
        f"{first} * {second} = {first * second} ;",
        f"( {first} + {second} ) * {third} = {(first + second) * third} ;",
    )
    return forms[int(rng.integers(len(forms)))]


def _log_line(rng: np.random.Generator) -> str:
    """One line of a system log."""
    hour, minute, second = rng.integers((24, 60, 60)).tolist()
    octets = ".".join(str(octet) for octet in rng.integers(0, 256, 4).tolist())
    return (
        f"{hour:02d}:{minute:02d}:{second:02d} [{_pick(rng, _LEVELS)}] "
        f"{_pick(rng, _MODULES)}: {_pick(rng, _EVENTS)} src={octets} "
        f"code=0x{int(rng.integers(65536)):04x} ms={int(rng.integers(5000))}"
    )


_GENERATORS: tuple[Callable[[np.random.Generator], str], ...] = (
    _code_line,
    _arithmetic_line,
    _log_line,
)


def generate_lines(rng: np.random.Generator, minimum_words: int) -> list[list[str]]:
    """Draws one document of one of the three kinds.

    Args:
      rng: source of randomness.
      minimum_words: lines are added until there are as many words.

    Returns:
      The words of each line.

    >>> lines = generate_lines(np.random.default_rng(0), 30)
    >>> sum(map(len, lines)) >= 30
    True
    """
    make_line = _GENERATORS[int(rng.integers(len(_GENERATORS)))]
    lines: list[list[str]] = []
    num_words = 0
    while num_words < minimum_words:
        lines.append(make_line(rng).split(" "))
        num_words += len(lines[-1])
    return lines
