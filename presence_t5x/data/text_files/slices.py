"""Pieces of files: where a big file may be cut so that its slices together read as the whole.

Boundaries depend on the file, `slice_bytes` and `max_document_bytes` alone. JSON lines are cut
after a line, paragraphs after a blank line, Parquet between row groups; compressed files are whole.
"""

import dataclasses
from typing import BinaryIO

from presence_t5x.data.documents import Part
from presence_t5x.data.text_files.c4_names import published_shard
from presence_t5x.data.text_files.lines import (
    ReadingStoppedError,
    is_blank,
    is_utf16,
    line_bytes,
    numbered_lines,
    read_blocks,
)
from presence_t5x.data.text_files.listing import TextFile, open_bytes, split_suffix
from presence_t5x.data.text_files.parquet_rows import cut_row_groups


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSlice(Part):
    """A file or a piece of it.

    Attributes:
      path: to open.
      start: byte offset, or number of the first row group.
      stop: byte offset, or number of a row group, where it ends; 0 is the end of the file.
      first_line: number of the line at `start`; in Parquet, of the row.
      is_whole_file: it is the only slice of its file.
      skipped: files of an unknown kind; the first slice of a source reports them.
    """

    path: str
    start: int = 0
    stop: int = 0
    first_line: int = 1
    is_whole_file: bool = True
    skipped: tuple[str, ...] = ()


def cut_file(
    file: TextFile, slice_bytes: int, max_document_bytes: int, task: str
) -> list[FileSlice]:
    """Returns the slices of a file in order, at least one.

    A file that cannot be read is one slice: reading it reports why.

    Args:
      file: to cut.
      slice_bytes: a slice is longer only if its last line or paragraph is.
      max_document_bytes: longer lines are taken for text, blank or not.
      task: of files that are no published shard.
    """
    shard = published_shard(file.path)
    whole = FileSlice(
        name=file.name,
        task=shard.task if shard else task,
        file=file.name,
        split=shard.split if shard else None,
        num_bytes=file.num_bytes,
        path=file.path,
    )
    ending, compression = split_suffix(file.path)
    if ending != ".parquet":
        whole = dataclasses.replace(whole, stop=file.num_bytes)
    if compression or file.num_bytes <= slice_bytes:
        return [whole]
    try:
        if ending == ".parquet":
            return _cut_parquet(whole, slice_bytes)
        return _cut_lines(whole, slice_bytes, max_document_bytes, paragraphs=ending == ".txt")
    except (ReadingStoppedError, OSError):
        return [whole]


def _cut_parquet(whole: FileSlice, slice_bytes: int) -> list[FileSlice]:
    groups = cut_row_groups(whole.path, slice_bytes)
    if len(groups) < 2:
        return [whole]
    return [
        dataclasses.replace(
            whole,
            name=f"{whole.name}@{group.start}",
            start=group.start,
            stop=group.stop,
            first_line=group.first_row,
            num_bytes=group.num_bytes,
            is_whole_file=False,
        )
        for group in groups
    ]


def _cut_lines(
    whole: FileSlice, slice_bytes: int, max_bytes: int, *, paragraphs: bool
) -> list[FileSlice]:
    """Slices of at least `slice_bytes`, each to the next place where the file may be cut."""
    cuts = [0]
    first_lines = [1]
    with open_bytes(whole.path) as stream:
        if is_utf16(stream.read(2)):  # one problem, not one in every slice
            return [whole]
        while cuts[-1] < whole.num_bytes:
            cut = whole.num_bytes
            if cuts[-1] + slice_bytes < whole.num_bytes:
                cut = _next_cut(stream, cuts[-1] + slice_bytes, max_bytes, paragraphs)
            cut = min(cut, whole.num_bytes)
            first_lines.append(first_lines[-1] + _count_lines(stream, cuts[-1], cut))
            cuts.append(cut)
    return (
        [
            dataclasses.replace(
                whole,
                name=f"{whole.name}@{start}",
                start=start,
                stop=stop,
                first_line=first_line,
                num_bytes=stop - start,
                is_whole_file=False,
            )
            for start, stop, first_line in zip(cuts, cuts[1:], first_lines)
        ]
        if len(cuts) > 2
        else [whole]
    )


def _next_cut(stream: BinaryIO, target: int, max_bytes: int, paragraphs: bool) -> int:
    """The first start of a line, for paragraphs after a blank line, at `target` or later."""
    offset = target - 1
    stream.seek(offset)
    # The first of these lines is the end of one that starts earlier: it only looks blank.
    for i, (_, line) in enumerate(numbered_lines(read_blocks(stream), 0, max_bytes)):
        offset += line_bytes(line) + 1
        if not paragraphs or (i and is_blank(line)):
            break
    return offset


def _count_lines(stream: BinaryIO, start: int, stop: int) -> int:
    stream.seek(start)
    return sum(block.count(b"\n") for block in read_blocks(stream, stop - start))
