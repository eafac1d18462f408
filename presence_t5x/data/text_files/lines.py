"""Numbered lines of a byte stream of any size, plain or compressed, in bounded memory.

A line longer than a bound is counted and never held. What stops the reading (damage, an end in
the middle, a network) is one exception that knows the line, raised after all lines before it.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import zstandard

_BLOCK_BYTES = 1 << 20
# Compressed bytes given to a decompressor at a time, so that the most they can stand for stays
# small: 4 MiB in gzip (1 : 1032), 8 MiB in Zstandard (128 KiB in 4 bytes).
_GZIP_FEED_BYTES, _ZSTANDARD_FEED_BYTES = 4096, 256
# `zstd --long=31` is common for big dumps; the decoder holds as much as the file asks for.
_ZSTANDARD_MAX_WINDOW = 1 << 31
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ReadingStoppedError(Exception):
    """The rest of a file cannot be read.

    Attributes:
      kind: of the problem: "unreadable", "truncated" or "encoding".
      message: what is wrong and what to do.
      line: that was being read; 0 is the whole file.
    """

    def __init__(self, kind: str, message: str, line: int = 0):
        """Remembers what a problem needs, but for the file."""
        super().__init__(kind, message, line)
        self.kind, self.message, self.line = kind, message, line


class OverlongLine(NamedTuple):
    """A line that was not kept."""

    num_bytes: int


Line = bytes | OverlongLine


def line_bytes(line: Line) -> int:
    """Returns the length of a line without its newline."""
    return line.num_bytes if isinstance(line, OverlongLine) else len(line)


def is_blank(line: Line) -> bool:
    r"""Returns whether a line separates paragraphs: nothing but white space, as Unicode has it.

    >>> is_blank(b" \r"), is_blank("\u3000".encode()), is_blank(b"a"), is_blank(b"\xff")
    (True, True, False, False)
    """
    if isinstance(line, OverlongLine):
        return False
    if not line or line.isspace():
        return True
    # White space beyond ASCII is rare: most lines are decided by their first byte.
    return not 0x20 < line[0] < 0x80 and not line.decode("utf-8", "replace").strip()


def is_utf16(start: bytes) -> bool:
    """Returns whether the first bytes of a file are a mark of UTF-16."""
    return start.startswith(_UTF16_MARKS)


def read_blocks(stream: BinaryIO, num_bytes: int = 0) -> Iterator[bytes]:
    """Yields `num_bytes` from where the stream is, or what there is when 0, in big blocks.

    Raises:
      ReadingStoppedError: reading fails, or the stream ends before `num_bytes`.
    """
    num_read = 0
    while not num_bytes or num_read < num_bytes:
        size = min(_BLOCK_BYTES, num_bytes - num_read) if num_bytes else _BLOCK_BYTES
        try:
            block = stream.read(size)
        except Exception as error:  # file systems behind URLs raise classes of their own
            raise unreadable(error) from error
        if not block and num_bytes:
            raise ReadingStoppedError(
                "truncated",
                f"cannot be read to its end ({num_bytes - num_read} bytes fewer than when it was "
                "looked at first); do not change files while they are prepared",
            )
        if not block:
            return
        num_read += len(block)
        yield block


def unreadable(error: Exception) -> ReadingStoppedError:
    """Returns the stop for a file that cannot be opened or read."""
    return ReadingStoppedError(
        "unreadable", f"cannot be read ({error}); check the file and its permissions"
    )


def decompress_blocks(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yields the content of all members or frames, in blocks of bounded size.

    Args:
      blocks: of the compressed file.
      compression: ".gz", ".zst", or "" which changes nothing.

    Raises:
      ReadingStoppedError: damage, or an end within a member; the content before it came first.
    """
    if not compression:
        yield from blocks
        return
    make, feed_bytes = _DECOMPRESSORS[compression]
    pieces: list[bytes] = []
    num_bytes, has_content = 0, False
    try:
        for piece in _decompressed_pieces(blocks, make, feed_bytes):
            has_content = True
            pieces.append(piece)
            num_bytes += len(piece)
            if num_bytes >= _BLOCK_BYTES:
                yield b"".join(pieces)
                pieces, num_bytes = [], 0
    except (zlib.error, zstandard.ZstdError, ReadingStoppedError) as error:
        yield b"".join(pieces)
        if isinstance(error, ReadingStoppedError):
            raise
        if not has_content:
            raise ReadingStoppedError(
                "unreadable",
                f"cannot be read, this is no {compression} data ({error}); rename or copy it again",
            ) from error
        raise ReadingStoppedError(
            "truncated",
            f"cannot be read to its end, the {compression} data is damaged ({error}); copy it "
            "again: what was read of it may be garbled, too",
        ) from error
    yield b"".join(pieces)


def _decompressed_pieces(
    blocks: Iterable[bytes], make: Callable[[], Any], feed_bytes: int
) -> Iterator[bytes]:
    """Feeds one decompressor a member; zeros after a member are padding."""
    decompressor = None
    for block in blocks:
        for start in range(0, len(block), feed_bytes):
            rest = block[start : start + feed_bytes]
            while rest:
                if decompressor is None:
                    rest = rest.lstrip(b"\0")
                    decompressor = make() if rest else None
                    continue
                if piece := decompressor.decompress(rest):
                    yield piece
                rest = decompressor.unused_data
                decompressor = None if decompressor.eof else decompressor
    if decompressor is not None:
        raise ReadingStoppedError(
            "truncated", "cannot be read to its end, the compressed data is cut off; copy it again"
        )


def _make_zstandard() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_ZSTANDARD_MAX_WINDOW).decompressobj()


_DECOMPRESSORS = {
    ".gz": (lambda: zlib.decompressobj(wbits=31), _GZIP_FEED_BYTES),
    ".zst": (_make_zstandard, _ZSTANDARD_FEED_BYTES),
}


def drop_byte_order_mark(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the blocks of a file from its start without the mark of UTF-8.

    Raises:
      ReadingStoppedError: the mark is that of UTF-16.
    """
    is_start = True
    for block in blocks:
        if is_start and is_utf16(block):
            raise ReadingStoppedError(
                "encoding",
                "not UTF-8 but UTF-16 (by its first two bytes); convert the file, e.g. with "
                "iconv -f UTF-16 -t UTF-8",
            )
        yield block.removeprefix(_UTF8_MARK) if is_start else block
        is_start = is_start and not block


class _PendingLine:
    """The line that goes on in the next block."""

    def __init__(self, max_bytes: int):
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self.num_bytes = 0

    def add(self, piece: bytes) -> None:
        self.num_bytes += len(piece)
        if self.num_bytes > self._max_bytes:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def take(self) -> Line:
        is_overlong = self.num_bytes > self._max_bytes
        line = OverlongLine(self.num_bytes) if is_overlong else b"".join(self._pieces)
        self._pieces, self.num_bytes = [], 0
        return line


def numbered_lines(
    blocks: Iterable[bytes], first_line: int, max_bytes: int
) -> Iterator[tuple[int, Line]]:
    r"""Yields lines without "\n", with their numbers; the newline of the last one may be missing.

    Args:
      blocks: of the content, cut anywhere.
      first_line: number of the first line.
      max_bytes: a longer line (its newline apart) becomes an `OverlongLine`.

    Raises:
      ReadingStoppedError: of `blocks`, with the line that was being read; that one is not yielded.

    >>> list(numbered_lines([b"a\nb", b"c\nlong"], 1, 3))
    [(1, b'a'), (2, b'bc'), (3, OverlongLine(num_bytes=4))]
    """
    pending = _PendingLine(max_bytes)
    number = first_line
    try:
        for block in blocks:
            lines = block.split(b"\n")
            pending.add(lines[0])
            if len(lines) == 1:
                continue
            yield number, pending.take()
            for number, line in enumerate(lines[1:-1], number + 1):  # noqa: B020
                yield number, line if len(line) <= max_bytes else OverlongLine(len(line))
            number += 1
            pending.add(lines[-1])
    except ReadingStoppedError as error:
        has_begun = number > first_line or pending.num_bytes or error.kind == "truncated"
        raise ReadingStoppedError(error.kind, error.message, number if has_begun else 0) from error
    if pending.num_bytes:
        yield number, pending.take()
