"""Tasks `encyclopedia` (all languages in turn) and `encyclopedia.<lang>`: generated text, no
download.

Splits: train (30 % of the documents with planted, labelled noise), validation (clean) and
noisy_validation (the same held-out documents, half of them with noise, to judge scores by). Every
document keeps its labels. `encyclopedia_clean` has no noise in training.
"""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from presence_t5x.data.documents import Document
from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig, generate_documents
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.preprocessors import add_labels, text_to_targets
from presence_t5x.data.quiet_tensorflow import seqio, tf
from presence_t5x.data.text_tasks import add_text_task, documents_dataset
from presence_t5x.data.vocabularies import load_vocabulary

NAME = "encyclopedia"
NOISY_VALIDATION_RATE = 0.5
SPLITS = ("train", "validation", "noisy_validation")


def split_documents(
    config: EncyclopediaConfig, split: str, seed: int | None = None
) -> Iterable[Document]:
    """Yields the documents of a split, in order, or in the order of a seed."""
    if split == "noisy_validation":
        config = dataclasses.replace(config, validation_noise_rate=NOISY_VALIDATION_RATE)
        split = "validation"
    documents = generate_documents(config, split=split)
    order = range(len(documents))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(documents)).tolist()
    for index in order:
        found = documents[index]
        yield Document(found.text, found.id, found.language, found.source, found.noise)


def _dataset(
    split: str, shuffle_files: bool = False, seed: int | None = None, *, config: EncyclopediaConfig
) -> tf.data.Dataset:
    order_seed = (seed or 0) if shuffle_files else None
    return documents_dataset(lambda: split_documents(config, split, order_seed))


def register_encyclopedia_task(name: str, config: EncyclopediaConfig) -> seqio.Task:
    """Registers a task over a corpus of these settings, in place of one of the same name."""
    source = seqio.FunctionDataSource(functools.partial(_dataset, config=config), splits=SPLITS)
    source.content = repr(config)  # a prepared store is only reused for the same corpus
    return add_text_task(
        name,
        source,
        load_vocabulary(vocabulary_file()),
        to_text=[text_to_targets, add_labels],
        concatenate=False,
    )


def register_encyclopedia() -> None:
    """Registers `encyclopedia`, `encyclopedia_clean` and `encyclopedia.<lang>`, once."""
    configs = {NAME: EncyclopediaConfig(), f"{NAME}_clean": EncyclopediaConfig(noise_rate=0.0)}
    configs |= {f"{NAME}.{code}": EncyclopediaConfig(languages=(code,)) for code in LANGUAGES}
    for name, config in configs.items():
        if name not in seqio.TaskRegistry.names():
            register_encyclopedia_task(name, config)
