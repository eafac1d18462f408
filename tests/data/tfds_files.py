"""Small data sets in TFDS's own format, written by TFDS itself, without a download."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

Page = tuple[str, str]


def write_mc4(
    data_dir: str | Path, version: str, pages: Mapping[str, Sequence[Page]], num_shards: int = 1
) -> Path:
    """Writes `c4/multilingual` as if TFDS had built it.

    Args:
      data_dir: what TFDS_DATA_DIR would be.
      version: e.g. "3.1.0".
      pages: (url, text) of each split, e.g. of "sw" and "sw-validation".
      num_shards: files of each split; at most its number of pages.

    Returns:
      the directory of the version.
    """
    tfds.disable_progress_bar()
    with tfds.core.registered.skip_registration():

        class C4(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(version)
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="multilingual")]  # noqa: RUF012
            url_infos = {}  # nothing is downloaded  # noqa: RUF012

            def _info(self):
                names = ("text", "url", "content-type", "content-length", "timestamp")
                texts = {name: tfds.features.Text() for name in names}
                features = tfds.features.FeaturesDict(texts)
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(found) for split, found in pages.items()}

            def _generate_examples(self, found):
                for number, (url, text) in enumerate(found):
                    yield (
                        number,
                        {
                            "text": text,
                            "url": url,
                            "content-type": "text/plain",
                            "content-length": str(len(text)),
                            "timestamp": "2019-04-21T10:07:13Z",
                        },
                    )

        builder = C4(config="multilingual", data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    )
    return Path(builder.data_dir)


def write_tydiqa(data_dir: str | Path, version: str, splits: Mapping[str, Sequence[str]]) -> None:
    """Writes `tydi_qa/goldp` as if TFDS had built it; every id becomes a question.

    Args:
      data_dir: what TFDS_DATA_DIR would be.
      version: e.g. "2.1.0".
      splits: ids of each split, e.g. of "validation-fi".
    """
    tfds.disable_progress_bar()
    with tfds.core.registered.skip_registration():

        class TydiQA(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(version)
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="goldp")]  # noqa: RUF012
            url_infos = {}  # nothing is downloaded  # noqa: RUF012

            def _info(self):
                text = tfds.features.Text()
                answers = {"text": text, "answer_start": np.int32}
                features = dict.fromkeys(("id", "title", "context", "question"), text)
                features |= {"answers": tfds.features.Sequence(answers)}
                features = tfds.features.FeaturesDict(features)
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(ids) for split, ids in splits.items()}

            def _generate_examples(self, ids):
                for number, name in enumerate(ids):
                    texts = {"id": name, "title": "", "context": f"{name}.", "question": "who?"}
                    yield number, {**texts, "answers": {"text": ["x y"], "answer_start": [0]}}

        builder = TydiQA(config="goldp", data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
