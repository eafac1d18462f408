"""Which rows of a batch each process reads: those that its devices hold.

Processes whose devices share their rows, because a tensor group lies across them, read the same.
"""

from collections import defaultdict
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from presence_t5x.partitioning import num_row_parts


class HostRows(NamedTuple):
    """The part of every batch that a process reads.

    Attributes:
      index: of the part.
      count: of equal parts of a batch.
      is_first: of the processes that read this part it is the one that writes about it.
    """

    index: int = 0
    count: int = 1
    is_first: bool = True


def host_rows(mesh: Mesh | None) -> HostRows:
    """Returns what this process reads; all rows where there is no mesh."""
    if mesh is None:
        return HostRows()
    return share_rows(row_holders(mesh))[jax.process_index()]


def row_holders(mesh: Mesh) -> Int[np.ndarray, "parts devices"]:
    """Returns the processes of the devices that hold each part of a batch's rows.

    Args:
      mesh: whose first axes are those over which rows are cut.
    """
    processes = [device.process_index for device in mesh.devices.flat]
    return np.asarray(processes).reshape(num_row_parts(mesh), -1)


def share_rows(holders: Int[np.ndarray, "parts devices"]) -> dict[int, HostRows]:
    """Returns what every process reads.

    Args:
      holders: the processes of the devices that hold each part of the rows.

    Raises:
      ValueError: processes share some of their rows, and not all, with others.

    >>> share_rows(np.array([[0, 1], [2, 3]]))[3]
    HostRows(index=1, count=2, is_first=False)
    """
    parts: dict[int, set[int]] = defaultdict(set)
    for part, processes in enumerate(holders.tolist()):
        for process in processes:
            parts[process].add(part)
    sets = sorted({tuple(sorted(found)) for found in parts.values()})
    if sum(map(len, sets)) > len(holders) or len({len(found) for found in sets}) > 1:
        raise ValueError(_uneven(holders))
    shares, seen = {}, set()
    for process in sorted(parts):
        index = sets.index(tuple(sorted(parts[process])))
        shares[process] = HostRows(index, len(sets), index not in seen)
        seen.add(index)
    return shares


def _uneven(holders: Int[np.ndarray, "parts devices"]) -> str:
    """Says what cannot be read by parts, and which tensor groups can be."""
    group, total = holders.shape[1], holders.size
    sizes = np.unique(np.unique(holders, return_counts=True)[1]).tolist()
    devices = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    message = (
        f"num_tensor_partitions={group}: groups of {group} devices, which share rows, lie across "
        f"hosts of {devices} devices so that a host would share only some of its rows with another"
    )
    if len(sizes) > 1:
        return f"{message}; use hosts of equally many devices"
    size = sizes[0]
    fits = [n for n in range(1, total + 1) if total % n == 0 and (size % n == 0 or n % size == 0)]
    return f"{message}; use a divisor or a multiple of {size}: one of {fits}"
