"""What the manifest of a token store must say before anything is done with it.

Its numbers become offsets and its names become paths: whoever edits them must not lead a reader
astray.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_REMEDY = "delete the store directory to write it again"
_NUMBER, _TEXT, _LIST, _DICT = (
    (int, "a number >= 0"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)
_KINDS = {
    "num_documents": _NUMBER,
    "num_tokens": _NUMBER,
    "content_sha256": _TEXT,
    "vocabulary": _DICT,
    "parameters": _DICT,
    "labels": _DICT,
    "problems": _DICT,
    "tasks": _LIST,
    "parts": _LIST,
    "index": _DICT,
}
_PART = {"name": _TEXT, "num_documents": _NUMBER, "num_bytes": _NUMBER, "sha256": _TEXT}
_RATE = ((int, float), "a number >= 0")
_TASK = {
    "name": _TEXT,
    "rate": _RATE,
    "first_document": _NUMBER,
    "num_documents": _NUMBER,
}
_TOKEN_COUNTS = "token_counts"
_INDEX = {"num_bytes": _NUMBER, "sha256": _TEXT}


def check_manifest(manifest: Mapping[str, Any], path: Path, label_names: tuple[str, ...]) -> None:
    """Raises ValueError unless a manifest holds together; names the file and what is wrong.

    Args:
      manifest: of the version that is read.
      path: of the manifest.
      label_names: of every document.
    """
    try:
        _check_kinds("", manifest, _KINDS)
        for place, entries, kinds in (
            ("parts", manifest["parts"], _PART),
            ("tasks", manifest["tasks"], _TASK),
            ("index", manifest["index"].values(), _INDEX),
        ):
            for entry in entries:
                _check_kinds(f"{place}: ", entry, kinds)
        _check_kinds("vocabulary: ", manifest["vocabulary"], {"sha256": _TEXT})
        for name in (_TOKEN_COUNTS, *label_names):
            if name not in manifest["index"]:
                raise ValueError(f"index: {name} is missing")
        for name in (*(part["name"] for part in manifest["parts"]), *manifest["index"]):
            if Path(name).name != name:
                raise ValueError(f"{name!r} is no name of a file beside it")
        _check_labels(manifest["labels"], label_names)
        _check_numbers(manifest)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; {_REMEDY}") from error


def check_index_array(name: str, array: np.ndarray, manifest: Mapping[str, Any]) -> None:
    """Raises ValueError unless an index array fits its manifest.

    Args:
      name: of the array: a label, or a count of tokens.
      array: one number a document.
    """
    number = manifest["num_documents"]
    if array.shape != (number,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"damaged: {array.dtype} numbers of shape {array.shape}, not {number} integers, "
            "one for each of its documents"
        )
    most = len(manifest["labels"][name]) if name in manifest["labels"] else np.inf
    low, high = (int(array.min()), int(array.max())) if number else (0, 0)
    if low < 0 or high >= most:
        raise ValueError(
            f"damaged: numbers from {low} to {high}, none may be negative or beyond the labels of "
            f"the manifest"
        )


def _check_kinds(place: str, found: Any, kinds: Mapping[str, tuple[Any, str]]) -> None:
    if not isinstance(found, Mapping):
        raise ValueError(f"{place}an object was expected, not {type(found).__name__}")
    for name, (kind, described) in kinds.items():
        value = found.get(name)
        is_good = isinstance(value, kind) and not isinstance(value, bool)
        if not is_good or (isinstance(value, (int, float)) and not value >= 0):
            shown = f"{value!r:.80}" if name in found else "missing"
            raise ValueError(f"{place}{name} is {shown}, not {described}")


def _check_labels(labels: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        values = labels.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"labels: {name} is no list of texts")


def _check_numbers(manifest: Mapping[str, Any]) -> None:
    number = manifest["num_documents"]
    found = sum(part["num_documents"] for part in manifest["parts"])
    if found != number:
        raise ValueError(f"num_documents={number}, but its parts have {found} documents")
    sizes = [task["num_documents"] for task in manifest["tasks"]]
    starts = [0, *itertools.accumulate(sizes)]
    if (
        starts[-1] != number
        or [task["first_document"] for task in manifest["tasks"]] != starts[:-1]
    ):
        raise ValueError(f"its tasks do not follow one another over its {number} documents")
