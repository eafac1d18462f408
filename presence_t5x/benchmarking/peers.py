"""What others have for the same work, where it is installed; nothing is imported before use.

Every peer is one function of (configuration, batch) to a `Contender`; the modules that hold them
import their libraries inside.
"""

from collections.abc import Callable
from typing import NamedTuple

from presence_t5x._validate import did_you_mean
from presence_t5x.benchmarking.contenders import SCORING, TRAINING, Batch, Contender
from presence_t5x.benchmarking.peers_huggingface import (
    check_llama,
    check_mt5,
    check_mt5_scoring,
    llama_training,
    mt5_scoring,
    mt5_training,
)
from presence_t5x.benchmarking.peers_scoring import (
    jax_privacy_scoring,
    one_by_one_scoring,
    vmap_scoring,
)
from presence_t5x.benchmarking.peers_t5x import (
    check_t5x,
    t5x_presence_training,
    t5x_training,
)
from presence_t5x.config_types import DecoderOnlyConfig, ModelConfig, RunConfig, T5Config
from presence_t5x.optional_modules import install_extra, reason_of_absence


class Peer(NamedTuple):
    """Another library's step.

    Attributes:
      short: its name in the heading of a column.
      modules: what it imports, all of it.
      install: how to get them.
      check: raises ValueError for a configuration that would not be compared alike.
      models: whose peer it is.
    """

    title: str
    short: str
    kind: str
    make: Callable[[RunConfig, Batch], Contender]
    modules: tuple[str, ...] = ()
    install: str = ""
    check: Callable[[RunConfig], None] = lambda config: None
    models: type[ModelConfig] = T5Config


class Absent(NamedTuple):
    """A peer that cannot run here."""

    peer: str
    title: str
    reason: str
    install: str


_T5X_MODULES = ("t5x.trainer", "t5x.adafactor", "t5x.examples.t5.network")
_T5X_INSTALL = (
    "git clone google-research/t5x (commit cc342d4), google/airio and google-research/jestimator, "
    f"all on PYTHONPATH; {install_extra('t5x')}"
)
PEERS = {
    "t5x": Peer(
        "T5X trainer", "T5X", TRAINING, t5x_training, _T5X_MODULES, _T5X_INSTALL, check_t5x
    ),
    "t5x_presence": Peer(
        "PRESENCE on T5X",
        "plug-in",
        TRAINING,
        t5x_presence_training,
        _T5X_MODULES,
        _T5X_INSTALL,
        check_t5x,
    ),
    "hf": Peer(
        "Hugging Face mT5, PyTorch",
        "HF",
        TRAINING,
        mt5_training,
        ("torch", "transformers"),
        "pip install torch transformers",
        check_mt5,
    ),
    "hf_llama": Peer(
        "Hugging Face Llama, PyTorch",
        "HF",
        TRAINING,
        llama_training,
        ("torch", "transformers"),
        "pip install torch transformers",
        check_llama,
        DecoderOnlyConfig,
    ),
    "vmap": Peer("vmap(grad)", "vmap", SCORING, vmap_scoring, models=ModelConfig),
    "one_by_one": Peer(
        "whole gradients, one by one",
        "one by one",
        SCORING,
        one_by_one_scoring,
        models=ModelConfig,
    ),
    "hf_one_by_one": Peer(
        "Hugging Face mT5, row by row",
        "HF by row",
        SCORING,
        mt5_scoring,
        ("torch", "transformers"),
        "pip install torch transformers",
        check_mt5_scoring,
    ),
    "jax_privacy": Peer(
        "jax_privacy",
        "jax_privacy",
        SCORING,
        jax_privacy_scoring,
        ("jax_privacy",),
        "pip install jax_privacy",
    ),
}


def find_peers(wanted: str, config: RunConfig) -> tuple[list[str], list[Absent]]:
    """Returns the peers that can run and those that are not installed.

    Args:
      wanted: "none", "all" (what is installed and has such a model), or names joined by commas.
      config: what they would run.

    Raises:
      ValueError: an unknown name, a named peer that is not installed, or a configuration that a
        peer would not run alike.
    """
    every = [name for name, peer in PEERS.items() if isinstance(config.model, peer.models)]
    names = {"none": [], "all": every}.get(wanted, wanted.split(","))
    for name in names:
        if name not in PEERS:
            known = ["none", "all", *PEERS]
            raise ValueError(
                f"--peers={wanted}: {name!r} is no peer; use none, all, or some of "
                f"{','.join(PEERS)}{did_you_mean(name, known)}"
            )
        if name not in every:
            raise ValueError(
                f"--peers={wanted}: {PEERS[name].title} has no {type(config.model).__name__}; use "
                f"none, all, or some of {','.join(every)}"
            )
    absent = [missing for missing in map(find_absence, names) if missing is not None]
    if absent and wanted != "all":
        raise ValueError(
            f"--peers={wanted}: {absent[0].title} is not installed ({absent[0].reason}); "
            f"{absent[0].install}"
        )
    present = [name for name in names if name not in {missing.peer for missing in absent}]
    for name in present:
        PEERS[name].check(config)
    return present, absent


def find_absence(name: str) -> Absent | None:
    """Returns why a peer cannot be imported and how to get it, None if it can."""
    peer = PEERS[name]
    reason = reason_of_absence(peer.modules)
    return None if reason is None else Absent(name, peer.title, reason, peer.install)
