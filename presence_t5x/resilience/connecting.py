"""Several hosts, one run: `jax.distributed`, told by flags or environment or found on a cluster.

Every host runs the same command. On TPU pods, GKE and SLURM JAX finds the others by itself;
elsewhere each is told where the first one listens, how many there are, and which it is.
"""

import argparse
import os
import socket
import sys
from typing import NamedTuple

import jax

_INIT_SECONDS = 300


class Hosts(NamedTuple):
    """What a host was told; all None leaves it to the cluster."""

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `jax.distributed.initialize`; the environment is their default."""
    for name, kind, what in (
        ("coordinator_address", str, "HOST:PORT where process 0 listens"),
        ("num_processes", int, "how many hosts run this command"),
        ("process_id", int, "which of them this is, from 0"),
    ):
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=os.environ.get(f"JAX_{name.upper()}"),
            help=f"{what} (or JAX_{name.upper()}; found by itself on TPU pods, GKE and SLURM)",
        )


def hosts_of(options: argparse.Namespace) -> Hosts:
    """Returns what the arguments tell.

    Raises:
      ValueError: only some of them, or a process that cannot be.
    """
    hosts = Hosts(options.coordinator_address, options.num_processes, options.process_id)
    missing = [f"--{name}" for name, value in hosts._asdict().items() if value is None]
    if 0 < len(missing) < len(hosts):
        raise ValueError(f"{' and '.join(missing)} is missing: hosts are told all three or none")
    count, process = hosts.num_processes or 1, hosts.process_id or 0
    if not 0 <= process < count:
        raise ValueError(
            f"--process_id={process} must lie in 0 .. {count - 1}, for --num_processes={count}"
        )
    return hosts


def connect(hosts: Hosts, timeout_seconds: int) -> None:
    """Connects this host to the others, if there are any, before JAX is asked for devices.

    Args:
      hosts: from `hosts_of`.
      timeout_seconds: after which `HostWatch` names a host that is silent. JAX's own heartbeat,
        which ends the process without a name, gets twice as long.

    Raises:
      ValueError: the others could not be reached.
    """
    told = {} if hosts.coordinator_address is None else hosts._asdict()
    try:
        jax.distributed.initialize(
            **told,
            cluster_detection_method="deactivate" if told else None,
            initialization_timeout=_INIT_SECONDS,
            heartbeat_timeout_seconds=2 * timeout_seconds,
        )
    except (ValueError, RuntimeError) as error:
        alone = ("coordinator_address should be defined", "must be called before any JAX calls")
        if not told and any(text in str(error) for text in alone):
            return
        raise ValueError(
            f"the hosts did not find each other ({' '.join(str(error).split())[:200]}); see that "
            "every host runs the same command and reaches the coordinator's port"
        ) from error
    # On CPU, collectives that run ahead of each other meet in another order on another host, and
    # Gloo ends the process ("EnforceNotMet").
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if jax.process_count() > 1:
        print(
            f"host {jax.process_index()} of {jax.process_count()} ({socket.gethostname()}), "
            f"{jax.local_device_count()} of {jax.device_count()} devices; host 0 coordinates: "
            "where it dies JAX ends all others at once",
            file=sys.stderr,
            flush=True,
        )
