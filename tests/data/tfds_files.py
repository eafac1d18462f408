"""Small data sets in TFDS's own format, written by TFDS itself, without a download."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

Page = tuple[str, str]
TEXT = tfds.features.Text()


def write_tfds(
    data_dir: str | Path,
    name: str,
    features: Mapping[str, Any],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    num_shards: int = 1,
) -> Path:
    """Writes a data set as if TFDS had built it.

    Args:
      data_dir: what TFDS_DATA_DIR would be.
      name: with configuration, if it has one, and version, e.g. "glue/cola:1.0.0".
      features: as TFDS declares them.
      splits: examples of each.
      num_shards: files of each split; at most its number of examples.

    Returns:
      the directory of the version.
    """
    match = re.fullmatch(r"(\w+)(?:/([\w.]+))?:([\d.]+)", name)
    assert match is not None, name
    data_set, configuration, version = match.groups()

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def examples(found) -> Iterator[tuple[int, Mapping[str, Any]]]:
        yield from enumerate(found)

    members = {
        "name": data_set,
        "VERSION": tfds.core.Version(version),
        "url_infos": {},  # nothing is downloaded
        "_info": info,
        "_split_generators": lambda self, manager: {s: examples(e) for s, e in splits.items()},
        "_generate_examples": lambda self: None,
    }
    if configuration is not None:
        members["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=configuration)]
    tfds.disable_progress_bar()
    with tfds.core.registered.skip_registration():
        builder_class = type("Builder", (tfds.core.GeneratorBasedBuilder,), members)
        builder = builder_class(config=configuration, data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    )
    return Path(builder.data_dir)


def write_mc4(
    data_dir: str | Path, version: str, pages: Mapping[str, Sequence[Page]], num_shards: int = 1
) -> Path:
    """Writes `c4/multilingual` of (url, text) of each split, e.g. of "sw" and "sw-validation"."""
    names = ("text", "url", "content-type", "content-length", "timestamp")

    def example(url: str, text: str) -> dict[str, str]:
        rest = ("text/plain", str(len(text)), "2019-04-21T10:07:13Z")
        return dict(zip(names, (text, url, *rest)))

    splits = {split: [example(*page) for page in found] for split, found in pages.items()}
    name = f"c4/multilingual:{version}"
    return write_tfds(data_dir, name, dict.fromkeys(names, TEXT), splits, num_shards)


def write_tydiqa(data_dir: str | Path, version: str, splits: Mapping[str, Sequence[str]]) -> Path:
    """Writes `tydi_qa/goldp` of the ids of each split; every id becomes a question."""
    answers = tfds.features.Sequence({"text": TEXT, "answer_start": np.int32})
    features = {**dict.fromkeys(("id", "title", "context", "question"), TEXT), "answers": answers}

    def example(name: str) -> dict[str, Any]:
        found = {"text": ["x y"], "answer_start": [0]}
        texts = {"id": name, "title": "", "context": f"{name}.", "question": "who?"}
        return {**texts, "answers": found}

    examples = {split: [*map(example, ids)] for split, ids in splits.items()}
    return write_tfds(data_dir, f"tydi_qa/goldp:{version}", features, examples)
