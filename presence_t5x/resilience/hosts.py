"""What hosts tell each other; with one of them it is what it knows itself."""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src import distributed  # JAX has no public way to its key-value store
from jax.experimental import multihost_utils

Result = TypeVar("Result")
_PREFIX = "presence_t5x"
_SECONDS_10, _DAYS_7 = 10_000, 7 * 24 * 3600 * 1000  # in milliseconds


def any_host(name: str, fact: bool) -> bool:
    """Tells whether a fact holds on any host; every host must ask, once under a name.

    Needs no devices: after a failure hosts may be at different collectives.
    """
    return any(text == "yes" for text in exchange(name, "yes" if fact else "no"))


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


def exchange(name: str, text: str) -> list[str]:
    """Returns the texts of all hosts, in their order; needs no devices.

    Args:
      name: of this exchange, used once.
      text: of this host.
    """
    if jax.process_count() == 1:
        return [text]
    client().key_value_set(f"{_PREFIX}/{name}/{jax.process_index()}", text)
    return [
        client().blocking_key_value_get(f"{_PREFIX}/{name}/{host}", _DAYS_7)
        for host in range(jax.process_count())
    ]


def first_host_first(name: str, fun: Callable[[], Result]) -> Result:
    """Runs a function on every host, on the others once the first one is done.

    So that what it writes to a shared disk is written once.

    Raises:
      ValueError: what it raised here, or on the first host.
    """
    if jax.process_count() == 1:
        return fun()
    key = f"{_PREFIX}/{name}"
    if jax.process_index() == 0:
        try:
            result = fun()
        except Exception as error:
            client().key_value_set(key, f"{error}")
            raise
        client().key_value_set(key, "")
        return result
    if said := client().blocking_key_value_get(key, _DAYS_7):
        raise ValueError(f"host 0 said: {said}")
    return fun()


def leave(status: int) -> int:
    """Ends this host after an error that it has told; returns the status where it is alone.

    Hosts that fail alike leave together. One that fails alone does not wait for the others, as a
    normal exit would: they miss it, and name it (`HostWatch`).
    """
    if jax.process_count() == 1:
        return status
    with contextlib.suppress(Exception):
        client().wait_at_barrier(f"{_PREFIX}/leave", _SECONDS_10)
    if jax.process_index() == 0:
        time.sleep(1)  # it holds the service without which JAX ends the others, with another status
    os._exit(status)


def client() -> Any:
    """Returns the client of JAX's coordination service."""
    return distributed.global_state.client
