"""Which files a pattern means, what ids call them, and how they are opened.

A pattern is a file, a directory (with all below it), a glob (`**` crosses directories), or an
fsspec URL of any of them (`gs://`, `s3://`, `memory://`). Hidden files are left alone, as the
shell does. Names are relative to the fixed part of the pattern, so that ids do not depend on the
machine.
"""

import glob as glob_module
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from presence_t5x._validate import check_text

LINE_ENDINGS = (".txt", ".jsonl", ".json")
COMPRESSIONS = ("", ".gz", ".zst")
_SUFFIXES = (*(e + c for e in LINE_ENDINGS for c in COMPRESSIONS), ".parquet")
KNOWN_KINDS = f"{', '.join(LINE_ENDINGS)} (each also .gz or .zst), .parquet"
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}


class TextFile(NamedTuple):
    """A file to read, the name that ids use, and its size (0: unknown)."""

    path: str
    name: str
    num_bytes: int = 0


class Listing(NamedTuple):
    """The files of a pattern, sorted by path, and the names of those of an unknown kind."""

    files: list[TextFile]
    skipped: tuple[str, ...]


def split_suffix(path: str) -> tuple[str, str]:
    """Returns the ending and the compression of a known file, in lower case.

    >>> split_suffix("a/B.TXT.gz"), split_suffix("c.parquet")
    (('.txt', '.gz'), ('.parquet', ''))
    """
    stem, suffix = os.path.splitext(path.lower())
    return (os.path.splitext(stem)[1], suffix) if suffix in COMPRESSIONS else (suffix, "")


def find_text_files(pattern: str) -> list[TextFile]:
    """Returns the files of a pattern, sorted; a glob must mean none of another kind.

    Raises:
      ValueError: as `list_files`, or a glob matches a file with an unknown ending.
    """
    listing = list_files(pattern)
    if listing.skipped and glob_module.has_magic(pattern):
        raise ValueError(
            f"{listing.skipped[0]}: unknown kind of file; rename it to one of {KNOWN_KINDS} or "
            f"narrow local_text_files={pattern!r}"
        )
    return listing.files


def list_files(pattern: str) -> Listing:
    """Returns what there is to read and what is left out.

    Raises:
      ValueError: nothing matches, nothing that matches is of a known kind, a directory cannot be
        listed, or a package for the URL is missing.
    """
    check_text("local_text_files", pattern)
    pattern = pattern.removeprefix("file://")
    found = sorted(_list_remote(pattern) if "://" in pattern else _list_local(pattern))
    if not found:
        raise ValueError(
            f"local_text_files={pattern!r} matches no file; give a glob or a directory of "
            f"{KNOWN_KINDS} files (quote the glob in a shell)"
        )
    files = [file for file in found if file.path.lower().endswith(_SUFFIXES)]
    skipped = tuple(file.name for file in found if not file.path.lower().endswith(_SUFFIXES))
    if not files:
        raise ValueError(
            f"{skipped[0]}: unknown kind of file; rename it to one of {KNOWN_KINDS} "
            f"(local_text_files={pattern!r} matches {len(skipped)} files and none is of these)"
        )
    return Listing(files, skipped)


def _list_local(pattern: str) -> Iterator[TextFile]:
    if os.path.isdir(pattern):
        root, paths = pattern, _files_below(pattern)
    elif os.path.lexists(pattern):  # a name may hold [ or *
        root, paths = os.path.dirname(pattern), [pattern]
    else:
        root = _fixed_directory(pattern)
        if ".." in pattern.removeprefix(root).split("/"):
            raise ValueError(
                f"local_text_files={pattern!r} climbs out of {root!r} by '..' behind a wildcard; "
                "write the folder that is meant before the wildcard"
            )
        paths = glob_module.glob(pattern, recursive=True)
    for path in paths:
        if not os.path.isdir(path):
            name = os.path.relpath(path, root or ".")
            # A name of bytes that are no UTF-8 would make ids that cannot be written.
            yield TextFile(path, name.encode("utf-8", "backslashreplace").decode(), _size(path))


def _files_below(folder: str, ancestors: tuple[str, ...] = ()) -> Iterator[str]:
    """All files, through links too, but for a link to a directory that it lies in."""
    real = os.path.realpath(folder)
    if real in ancestors:
        return
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed ({error}); check its permissions") from error
    for entry in visible:
        if entry.is_dir():
            yield from _files_below(entry.path, (*ancestors, real))
        else:
            yield entry.path


def _size(path: str) -> int:
    """The size of a file, 0 if it cannot be seen: reading it will say why."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _fixed_directory(pattern: str) -> str:
    """The directory part before the first wildcard."""
    parts = pattern.split("/")[:-1]
    wild = next((i for i, part in enumerate(parts) if glob_module.has_magic(part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else "")


def _list_remote(url: str) -> Iterator[TextFile]:
    file_system, pattern = _file_system(url)
    try:
        is_directory = file_system.isdir(pattern)
        find = file_system.find if is_directory else file_system.glob
        found = find(pattern, detail=True)
    except Exception as error:  # of classes that only the packages behind fsspec know
        raise ValueError(
            f"{url}: cannot be listed ({error}); check the address and your access to it"
        ) from error
    root = pattern if is_directory else _fixed_directory(pattern)
    for path, info in found.items():
        name = posixpath.relpath(path, root or ".")
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if info["type"] == "file" and not is_hidden:
            yield TextFile(file_system.unstrip_protocol(path), name, info.get("size") or 0)


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path in it."""
    import fsspec  # of no use to local files, and slow to import

    protocol = url.split("://")[0]
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else "install the package it names"
        raise ValueError(f"{url}: {error}; {remedy} to read {protocol}:// addresses") from error
    except ValueError as error:
        raise ValueError(f"{url}: {error}; give a path or an address that fsspec knows") from error


def open_bytes(path: str) -> BinaryIO:
    """Opens a local file or a URL for reading."""
    if "://" not in path:
        if not stat.S_ISREG(
            os.stat(path).st_mode
        ):  # a pipe would wait for ever, a device never end
            raise OSError("it is no regular file but a pipe, a device or a folder; remove it")
        return open(path, "rb")
    file_system, inner = _file_system(path)
    return file_system.open(inner, "rb")


def content_checksum(path: str) -> str:
    """Returns the SHA-256 of a local file, what the store of a URL says of its version, or "".

    Empty is a file that cannot be read.
    """
    try:
        if "://" in path:
            file_system, inner = _file_system(path)
            return str(file_system.ukey(inner))
        with open_bytes(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except OSError:
        return ""
