"""Hosts that do not run the same thing: found at the start, with the difference.

One host with another commit, setting, package or copy of the data would train on, and ruin the run
without a word.
"""

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Mapping
from typing import Any

from presence_t5x.config import flatten_settings
from presence_t5x.provenance import source_commit
from presence_t5x.resilience import hosts

_PACKAGES = [
    "presence-t5x",
    "jax",
    "jaxlib",
    "libtpu",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "tensorflow",
    "seqio",
    "sentencepiece",
    "array_record",
]
_MOST_DIFFERENCES = 5


def program_fingerprint(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a run's numbers depend on beside its data, by name."""
    versions = {name: _version(name) for name in _PACKAGES}
    return flatten_settings(
        {
            "commit": source_commit(),
            "python": sys.version.split()[0],
            "packages": versions,
            "settings": dict(settings),
        }
    )


def data_fingerprint(batches: Any) -> dict[str, Any]:
    """Returns the SHA-256 of the manifest of every store of a run, by group; none of a stream."""
    manifests = getattr(batches, "manifests", dict)()
    return {
        name: hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()
        for name, found in manifests.items()
    }


def check_same_on_all_hosts(what: str, fingerprint: Mapping[str, Any]) -> None:
    """Raises ValueError, on every host, unless all hosts have the same; names what differs.

    Args:
      what: is compared; each is compared once.
      fingerprint: of this host.
    """
    texts = hosts.exchange(f"fingerprint of {what}", json.dumps(fingerprint, default=str))
    first, *others = map(json.loads, texts)
    differences = [
        f"{name} is {found.get(name)!r} on host {number}, {first.get(name)!r} on host 0"
        for number, found in enumerate(others, start=1)
        for name in sorted(first.keys() | found.keys())
        if first.get(name) != found.get(name)
    ]
    if differences:
        more = len(differences) - _MOST_DIFFERENCES
        raise ValueError(
            f"the hosts do not have the same {what}: {'; '.join(differences[:_MOST_DIFFERENCES])}"
            f"{f'; and {more} more' if more > 0 else ''}. Make them equal, then start all again"
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
