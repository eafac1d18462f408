"""Which documents form a unit: a corpus with a known share of noise, grouped in several ways."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from presence_t5x.data.documents import id_hash
from presence_t5x.studies.sample import kind_of
from presence_t5x.studies.separation import CLEAN

GROUPINGS = ("random", "language", "noise")
Members = Int[np.ndarray, "units size"]


class NoisyCorpus(NamedTuple):
    """Documents of which some are noise.

    Attributes:
      places: of each document among all texts, clean and noisy.
      languages: of each document.
      is_noise: whether the noisy text stands for it.
    """

    places: Int[np.ndarray, " documents"]
    languages: Sequence[str]
    is_noise: Bool[np.ndarray, " documents"]


def mix_noise(
    ids: Sequence[str],
    languages: Sequence[str],
    usable: Bool[np.ndarray, " texts"],
    rate: float,
    seed: int,
) -> NoisyCorpus:
    """Returns every document once, a share of them as noise of a kind drawn by the document's id.

    Args:
      ids: of the texts, as `sample.write_spoiled` makes them.
      languages: of the texts.
      usable: False for texts that cannot be scored; their documents are left out.
      rate: the share of noise.
      seed: of the choice.

    Raises:
      ValueError: no document is left.
    """
    places = {one: place for place, one in enumerate(ids) if usable[place]}
    kinds = [kind for kind in dict.fromkeys(map(kind_of, ids)) if kind != CLEAN]
    pairs: list[tuple[int, int]] = []
    for one, place in places.items():
        if kind_of(one) == CLEAN:
            name = one[len(CLEAN) :]
            noisy = places.get(kinds[id_hash(f"{seed}/kind/{name}") % len(kinds)] + name)
            if noisy is not None:
                pairs.append((place, noisy))
    if not pairs:
        raise ValueError("no document is long enough to make a row of the model")
    rng = np.random.default_rng([seed, round(rate * 1e6)])
    is_noise = np.zeros(len(pairs), bool)
    is_noise[rng.permutation(len(pairs))[: round(rate * len(pairs))]] = True
    chosen = [noisy if spoiled else clean for (clean, noisy), spoiled in zip(pairs, is_noise)]
    return NoisyCorpus(np.array(chosen), [languages[place] for place in chosen], is_noise)


def group_corpus(
    corpus: NoisyCorpus, grouping: str, size: int, *, repeats: int, seed: int
) -> Members:
    """Returns units of a corpus's documents, by their numbers in it.

    Args:
      grouping: "random", by "language", or "noise": clean and noisy documents apart.
      size: documents a unit.
      repeats: how often all documents are grouped, each time otherwise; once if alone.
      seed: of the orders.
    """
    labels: dict[str, Sequence[Any]] = {
        "random": [0] * len(corpus.places),
        "language": corpus.languages,
        "noise": corpus.is_noise.tolist(),
    }
    rng = np.random.default_rng([seed, GROUPINGS.index(grouping), size])
    times = 1 if size == 1 else repeats
    return np.concatenate([group(labels[grouping], size, rng) for _ in range(times)])


def group(labels: Sequence[Any], size: int, rng: np.random.Generator) -> Members:
    """Returns units of documents that share a label, each document once; all in random order.

    What is left of a label's documents is in no unit.

    Args:
      labels: of every document; a constant groups at random.
      size: documents a unit.

    >>> group(["a", "b", "a", "b", "a"], 2, np.random.default_rng(0)).shape
    (2, 2)
    """
    units = []
    for label in dict.fromkeys(labels):
        members = rng.permutation([i for i, own in enumerate(labels) if own == label])
        units.append(members[: len(members) // size * size].reshape(-1, size))
    return rng.permutation(np.concatenate(units))
