"""What can be known of gin files before gin reads them: text, brackets, and what includes what.

gin itself follows an include that leads back to its own file, or brackets without end, until Python
gives up, and does not say where. This module does not import gin.
"""

import io
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

from presence_t5x._validate import did_you_mean

_MOST_NESTED = 50  # brackets within brackets
_INCLUDE = "include"


def check_gin_file(file: str, roots: Sequence[Path], within: tuple[Path, ...] = ()) -> Path:
    """Returns the path of a gin file, after checking it and all that it includes.

    Args:
      file: as it is named on the command line or in an include.
      roots: folders that it may lie in, the first one that has it wins.
      within: the files that lead to it.

    Raises:
      ValueError: a file that is missing, is no text, includes itself or is not well bracketed;
        names file and line.
    """
    path = _existing_file(file, roots, within)
    if path in within:
        circle = " -> ".join(map(str, (*within[within.index(path) :], path)))
        raise ValueError(f"gin files include each other in a circle: {circle}; remove one include")
    for included in check_gin_text(_read(path), str(path)):
        check_gin_file(included, roots, (*within, path))
    return path


def check_gin_text(text: str, origin: str) -> list[str]:
    """Returns the files that a text includes.

    Args:
      text: statements of gin.
      origin: what to call it in messages.

    Raises:
      ValueError: brackets that do not close, or too many within each other; names the line.

    >>> check_gin_text('include "a.gin"\\nTAU_1 = 1.0  # include "b.gin"', "x.gin")
    ['a.gin']
    """
    depth, included, statement = 0, [], []
    for token in _tokens(text, origin):
        if token.type == tokenize.OP and token.string in "([{":
            depth += 1
            if depth > _MOST_NESTED:
                raise ValueError(
                    f"{origin}, line {token.start[0]}: more than {_MOST_NESTED} brackets within "
                    "each other; remove some"
                )
        elif token.type == tokenize.OP and token.string in ")]}":
            depth -= 1
        if token.type == tokenize.NEWLINE:
            statement = []
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
            statement.append(token)
        is_include = len(statement) == 2 and statement[0].string == _INCLUDE
        if is_include and statement[1].type == tokenize.STRING:
            included.append(statement[1].string.strip("\"'"))
    return included


def _tokens(text: str, origin: str) -> Iterator[tokenize.TokenInfo]:
    """Yields what gin's own parser, which uses the same tokens, will see."""
    try:
        yield from tokenize.generate_tokens(io.StringIO(text).readline)
    except (tokenize.TokenError, SyntaxError) as error:
        reason, *place = error.args
        where = place[0] if place else ()
        line = f", line {where[0] if len(where) < 4 else where[1]}" if where else ""
        raise ValueError(
            f"{origin}{line}: {reason}; close every bracket and quote, and start settings in the "
            "first column"
        ) from error


def _read(path: Path) -> str:
    content = path.read_bytes()
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: NUL byte; a gin file is text, check what it is")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start}); a gin file is text, check "
            "what it is"
        ) from error


def _existing_file(file: str, roots: Sequence[Path], within: tuple[Path, ...]) -> Path:
    """The path of a gin file, or an error with the nearest packaged ones."""
    for root in roots:
        if (root / file).is_file():
            return (root / file).resolve()
    known = sorted(
        str(path.relative_to(root)) for root in roots for path in (root / "configs").rglob("*.gin")
    )
    place = f"{within[-1]}: include {file!r}" if within else f"gin_file={file!r}"
    what = "is a folder" if any((root / file).is_dir() for root in roots) else "does not exist"
    raise ValueError(f"{place} {what}{did_you_mean(file, known)}")
