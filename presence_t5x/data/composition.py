"""Which rows of a step's batch share a unit: those of one language or source, as far as they go.

A batch's rows are decided in `rows`; here only their places within it change, as a function of
their labels alone, so that hosts, which read few of the rows, agree on all places.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from presence_t5x.data.raw_rows import MIXED_LABEL
from presence_t5x.data.rows import Row
from presence_t5x.data.token_store import TokenStore


def compose_units(
    labels: Sequence[str], units: Int[np.ndarray, "units rows_each"]
) -> Int[np.ndarray, " rows"]:
    """Returns for every place in a batch which of its rows stands there.

    As many units as possible hold rows of one label alone; what is left over of a label lies in at
    most two of the others. Labels go in order of the alphabet, rows of one label in their own.

    Args:
      labels: of all rows of a batch.
      units: which places form each unit; every place once.

    >>> compose_units(["b", "a", "b", "a"], np.array([[0, 2], [1, 3]])).tolist()
    [1, 0, 3, 2]
    """
    size, values = units.shape[1], np.asarray(labels)
    by_label = [np.flatnonzero(values == label) for label in np.unique(values)]
    filling = [rows[: len(rows) - len(rows) % size] for rows in by_label]
    left_over = [rows[len(rows) - len(rows) % size :] for rows in by_label]
    placed = np.empty(len(values), np.int64)
    placed[units.reshape(-1)] = np.concatenate([*filling, *left_over])
    return placed


def row_label(store: TokenStore, row: Row, name: str) -> str:
    """Returns the language or source of a row, "mixed" where its documents have several."""
    found = {store.label_of(piece.document, name) for piece in row.pieces}
    return found.pop() if len(found) == 1 else MIXED_LABEL
