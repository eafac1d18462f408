"""Who of the hosts is gone or stuck: said by name, within a set time, where JAX would wait.

A thread of every host tells the others (through JAX's coordination service) how far it is, and
looks at what they tell. A host that tells nothing is dead or stopped; one that is behind the others
and does not move is stuck. Either way no step can be finished any more: the process says who, and
ends. Host 0 holds that service: when it dies, JAX ends the others by itself, at once.
"""

import json
import os
import socket
import sys
import threading
import time
from typing import Any

import jax
from rich.console import Console

from presence_t5x.resilience.hosts import client

_PREFIX = "presence_t5x/progress"
_LOOKS = 5  # within the timeout


class HostWatch:
    """Watches the other hosts; with a single one it does nothing.

    Attributes:
      step: of this host, set by the loop.
    """

    def __init__(self, timeout_seconds: float, resume: str):
        """Starts to watch.

        Args:
          timeout_seconds: a host may be silent, or behind, for so long.
          resume: the line that tells how to go on.
        """
        self.step = 0
        self._timeout, self._resume = timeout_seconds, resume
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="host watch")
        if jax.process_count() > 1:
            self._thread.start()

    def close(self) -> None:
        """Stops watching: the run is over on this host."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()  # what it tells last would stand for the end
            self._tell(ended=True)

    def wait_for_a_name(self) -> None:
        """Gives the watch time to say who it was, after an exchange between hosts has failed."""
        if self._thread.is_alive():
            self._thread.join(2 * self._timeout)

    def _watch(self) -> None:
        peers: dict[str, Peer] = {}
        warned = time.monotonic()
        while not self._done.wait(self._timeout / _LOOKS):
            try:
                self._tell()
                told = {
                    key: json.loads(value) for key, value in client().key_value_dir_get(_PREFIX)
                }
            except Exception as error:  # the service lives in the first host's process
                self._end(f"host 0, which coordinates the others, does not answer ({_line(error)})")
            now = time.monotonic()
            for key, value in told.items():
                peers.setdefault(key, Peer()).hear(value, now)
            if reason := lost_host([*peers.values()], self._timeout, now):
                self._end(reason)
            if now - max(warned, *(peer.moved for peer in peers.values())) > self._timeout:
                warned = now
                print(
                    f"WARNING: for {self._timeout:g} s no host has finished a step; all of them "
                    f"answer, at step {self.step}",
                    file=sys.stderr,
                    flush=True,
                )

    def _tell(self, ended: bool = False) -> None:
        value = {
            "process": jax.process_index(),
            "host": socket.gethostname(),
            "step": self.step,
            "time": time.time(),
            "ended": ended,
        }
        key = f"{_PREFIX}/{jax.process_index()}"
        client().key_value_set(key, json.dumps(value), allow_overwrite=True)

    def _end(self, reason: str) -> None:
        Console(stderr=True).show_cursor()  # a progress bar hides it
        print(
            f"error: {reason}; this host stops at step {self.step}; {self._resume} (on all hosts)",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)


class Peer:
    """What a host has told, and when it told something new by this host's clock."""

    def __init__(self):
        self.told: dict[str, Any] = {}
        self.heard = self.moved = 0.0

    def hear(self, told: dict[str, Any], now: float) -> None:
        """Takes what a host tells; the same words again are silence."""
        if told == self.told:
            return
        if told["step"] != self.told.get("step"):
            self.moved = now
        self.told, self.heard = told, now

    @property
    def name(self) -> str:
        """Which process, on which machine."""
        return f"host {self.told['process']} ({self.told['host']})"


def lost_host(peers: list[Peer], timeout: float, now: float) -> str | None:
    """Returns what is wrong with which host, or None.

    >>> silent, other = Peer(), Peer()
    >>> silent.hear({"process": 1, "host": "b", "step": 7, "time": 0.0, "ended": False}, 0.0)
    >>> other.hear({"process": 0, "host": "a", "step": 8, "time": 9.0, "ended": False}, 9.0)
    >>> lost_host([silent, other], 5.0, 9.0)
    'host 1 (b) has told nothing for 9 s (dead or stopped), last at step 7'
    """
    for peer in peers:
        if peer.told["ended"]:
            continue
        at = f"last at step {peer.told['step']}"
        if now - peer.heard > timeout:
            return (
                f"{peer.name} has told nothing for {now - peer.heard:.0f} s (dead or stopped), {at}"
            )
    furthest = max(peer.told["step"] for peer in peers)
    for peer in peers:
        is_behind = 0 < peer.told["step"] < furthest  # before the first step hosts are not in step
        if is_behind and now - peer.moved > timeout and not peer.told["ended"]:
            return (
                f"{peer.name} is stuck: at step {peer.told['step']} for {now - peer.moved:.0f} s "
                f"while others are at {furthest}"
            )
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
