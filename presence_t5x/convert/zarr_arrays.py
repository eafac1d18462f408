"""Single arrays in the forms that T5X and Orbax keep them in: zarr, in folders or in OCDBT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import psutil
import tensorstore

from presence_t5x.files import DamagedFileError

_CHUNK_BYTES = 64 * 2**20


def read_zarr(kvstore: Mapping[str, Any], origin: str, *, driver: str = "zarr") -> np.ndarray:
    """Returns an array.

    Args:
      kvstore: where it is, as tensorstore says it.
      origin: what to call it in messages.

    Raises:
      DamagedFileError: a piece is missing or truncated.
    """
    spec = {"driver": driver, "kvstore": dict(kvstore)}
    spec["fill_missing_data_reads"] = False  # or a lost piece would read as zeros
    try:
        store = tensorstore.open(spec).result()
        num_bytes = store.size * store.dtype.numpy_dtype.itemsize
        if num_bytes > psutil.virtual_memory().total:
            raise ValueError(
                f"it says that it has {num_bytes / 2**30:,.0f} GiB, more than this machine has "
                "memory"
            )
        array = store.read().result()
    except ValueError as error:
        raise DamagedFileError(f"{origin} cannot be read ({first_line(error)})") from error
    # Version 2 of T5X's older layout kept the bits of bfloat16 as integers.
    return array.view(ml_dtypes.bfloat16) if array.dtype == np.uint16 else array


def write_zarr(folder: Path, array: np.ndarray, *, compressor: str = "gzip") -> dict[str, Any]:
    """Writes an array as a folder; returns its metadata, as T5X's indices keep them.

    Args:
      compressor: "gzip", as T5X, or "zstd", as Orbax, which is much faster.
    """
    metadata = {
        "compressor": {"id": compressor},
        "shape": list(array.shape),
        "chunks": _chunks(array),
    }
    spec = {
        "driver": "zarr",
        "dtype": array.dtype.name,
        "kvstore": {"driver": "file", "path": str(folder.absolute())},
        "metadata": metadata,
    }
    tensorstore.open(spec, create=True).result().write(array).result()
    return metadata


def first_line(error: Exception) -> str:
    """Returns what an error of another library says, on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " ..."


def _chunks(array: np.ndarray) -> list[int]:
    """Returns the shape of pieces of at most 64 MiB, as T5X writes them: whole rows if possible."""
    if not array.shape:
        return []
    row_bytes = array.nbytes // max(1, array.shape[0])
    rows = max(1, min(array.shape[0], _CHUNK_BYTES // max(1, row_bytes)))
    return [rows, *array.shape[1:]]
