"""Text files of every everyday kind: `source` is the way in, the other modules are its parts.

`listing` finds files, `slices` cuts them, `lines` reads and decompresses, `formats` and
`parquet_rows` make documents, `c4_names` knows the published shards of C4 and mC4.
"""

from presence_t5x.data.text_files.listing import TextFile, find_text_files
from presence_t5x.data.text_files.slices import FileSlice
from presence_t5x.data.text_files.source import FilesSource, check_text_files, read_documents

__all__ = [
    "FileSlice",
    "FilesSource",
    "TextFile",
    "check_text_files",
    "find_text_files",
    "read_documents",
]
