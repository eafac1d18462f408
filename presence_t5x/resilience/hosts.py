"""What hosts tell each other; with one of them it is what it knows itself."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def any_host(fact: bool) -> bool:
    """Tells whether a fact holds on any host; every host must ask."""
    if jax.process_count() == 1:
        return fact
    return bool(np.any(multihost_utils.process_allgather(np.asarray(fact))))


def first_host_decides(fact: bool) -> bool:
    """Returns what the first host says; every host must ask."""
    if jax.process_count() == 1:
        return fact
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(fact)))


def gather_bytes(content: bytes) -> list[bytes]:
    """Returns the bytes of every host, in their order; every host must ask."""
    if jax.process_count() == 1:
        return [content]
    sizes = multihost_utils.process_allgather(np.asarray(len(content)))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]) for row, size in zip(rows, sizes)]


def wait_for_all(what: str) -> None:
    """Returns once every host has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
