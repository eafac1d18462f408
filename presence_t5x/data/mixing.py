"""What is mixed at which rate: the documents of token stores grouped by task, language or source.

A group's rate is given by name, or its number of documents to some power (0.3 is mT5's for
languages, Xue et al. 2021, section 3.2), or what the stores recorded. Only ratios of rates matter.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from presence_t5x._validate import did_you_mean
from presence_t5x.data.token_store import TokenStore


class RowGroup(NamedTuple):
    """Documents of one store that are drawn at one rate and counted in epochs of their own.

    They are all pairs of inputs and targets, or all text.
    """

    name: str
    rate: float
    store: TokenStore
    documents: range | Int[np.ndarray, " documents"]
    is_pairs: bool = False

    def token_counts(self, start: int, stop: int) -> Int[np.ndarray, " items"]:
        """Returns the token counts of the group's documents start, start + 1, ..., stop - 1."""
        return take_documents(self.store.token_counts, self.documents[start:stop])

    def pair_counts(self) -> Int[np.ndarray, "documents 2"]:
        """Returns the numbers of tokens of the inputs and of the targets of all its pairs."""
        assert self.is_pairs and self.store.input_counts is not None
        inputs = take_documents(self.store.input_counts, self.documents)
        return np.stack([inputs, self.token_counts(0, len(self.documents)) - inputs], axis=1)

    def num_tokens(self) -> int:
        """Returns the tokens of all its documents."""
        return int(self.token_counts(0, len(self.documents)).sum(dtype=np.int64))


def take_documents(
    counts: Int[np.ndarray, " documents"], chosen: range | Int[np.ndarray, " chosen"]
) -> Int[np.ndarray, " chosen"]:
    """Returns the counts of some documents; of a range without an index of its own."""
    if isinstance(chosen, range):
        return np.asarray(counts[chosen.start : chosen.stop])
    return counts[chosen]


def make_groups(
    stores: Sequence[TokenStore],
    split: str,
    *,
    mix_by: str = "task",
    exponent: float | None = None,
    rates: Mapping[str, float] | None = None,
) -> list[RowGroup]:
    """Returns the groups of a mixture, in the order of the stores and of their labels.

    A label found in several stores makes a group in each, and one that pairs and text share makes
    two; its rate is divided among them by their numbers of documents, so that every document is as
    likely as if they were one store.

    Args:
      stores: at least one.
      split: only its documents are taken.
      mix_by: "task", "language" or "source".
      exponent: rate = documents ** exponent; None with `mix_by="task"` keeps the recorded rates,
        else it is 1, which draws every document equally often.
      rates: by name; they go before everything else and must name every group. 0 leaves it out.

    Raises:
      ValueError: no document in the split, or `rates` that do not fit the names.
    """
    members = [
        (name, recorded, store, documents, is_pairs)
        for store in stores
        for name, recorded, found in _members(store, split, mix_by)
        for documents, is_pairs in _by_kind(store, found)
        if len(documents)
    ]
    if not members:
        raise ValueError(
            f"split {split!r} has no document in {', '.join(str(s.directory) for s in stores)}"
        )
    sizes = Counter()
    for name, _, _, documents, _ in members:
        sizes[name] += len(documents)
    if rates is not None:
        _check_names(rates, sizes, mix_by)
    groups = []
    for name, recorded, store, documents, is_pairs in members:
        if rates is not None:
            rate = float(rates[name])
        elif exponent is None and recorded is not None:
            rate = recorded
        else:
            rate = float(sizes[name]) ** (1.0 if exponent is None else exponent)
        rate *= len(documents) / sizes[name]
        if rate > 0:
            groups.append(RowGroup(name, rate, store, documents, is_pairs))
    return groups


def _members(store: TokenStore, split: str, mix_by: str):
    """Yields (name, recorded rate or None, documents) of one store."""
    if mix_by == "task":
        for task in store.tasks:
            within = range(task.first_document, task.first_document + task.num_documents)
            yield task.name, task.rate, store.documents_of(split, within)
        return
    for name in store.labels(mix_by):
        yield name, None, store.documents_with(split=split, **{mix_by: name})


def _by_kind(store: TokenStore, documents):
    """Yields (documents, whether they are pairs): all of them, or those of each kind."""
    if store.input_counts is None or not len(documents):
        yield documents, False
        return
    are_pairs = take_documents(store.input_counts, documents) > 0
    if are_pairs.all() or not are_pairs.any():
        yield documents, bool(are_pairs[0])
        return
    documents = np.asarray(documents)
    yield documents[~are_pairs], False
    yield documents[are_pairs], True


def _check_names(rates: Mapping[str, float], sizes: Mapping[str, int], mix_by: str) -> None:
    """Refuses names that no group has, groups without a rate, and all rates 0."""
    for name in rates:
        if name not in sizes:
            raise ValueError(
                f"mixing_rates names the {mix_by} {name!r}, which no document has"
                f"{did_you_mean(name, sizes) or f'; there are {sorted(sizes)}'}"
            )
    missing = sorted(set(sizes) - set(rates))
    if missing:
        raise ValueError(
            f"mixing_rates has no rate for the {mix_by} {missing}; give every one a rate (0 leaves "
            "it out)"
        )
    if not any(rate > 0 for rate in rates.values()):
        raise ValueError(f"mixing_rates={dict(rates)!r} must hold a rate above 0")
