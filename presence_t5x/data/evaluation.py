"""Which held-out rows a run is judged on: a fixed sample of every language and noise label."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from presence_t5x._validate import check_int
from presence_t5x.config_types import DataConfig
from presence_t5x.data.documents import id_hash
from presence_t5x.data.planted_noise import PERMUTED_WORDS, permute_words
from presence_t5x.data.prepared import SPLITS, open_stores
from presence_t5x.data.providers import find_provider, tasks_of
from presence_t5x.data.raw_rows import PairRow, TextRow, read_pair_row, read_text_row
from presence_t5x.data.row_features import Batch, RowFeatures
from presence_t5x.data.rows import EVALUATION, make_generator
from presence_t5x.data.sources import resolve_vocabulary
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.text_plans import TextPlan
from presence_t5x.data.token_store import TokenStore
from presence_t5x.data.tokenizers import Tokenizer

CLEAN = "clean"
_VALIDATION, _NOISY_VALIDATION = SPLITS[1:]


def evaluation_batches(
    data_config: DataConfig,
    *,
    rows_per_group: int,
    prepared_root: str | os.PathLike,
    plant_noise: bool = False,
) -> list[Batch]:
    """Returns the held-out batches of a run, the same on every call; [] without held-out rows.

    Prepared data gives up to `rows_per_group` rows of every (language, noise label), where noise is
    planted from the labelled held-out split. A streamed mixture gives up to that many rows of every
    member task, in an order that no seed changes.

    Args:
      data_config: of the run.
      rows_per_group: at most.
      prepared_root: where stores live unless `data_config.prepared_dir` says.
      plant_noise: text without noise labels gives every row twice, the second time with its words
        permuted, labelled "clean" and "permuted_words".
    """
    if data_config.reader == "streaming":
        return _streamed(data_config, rows_per_group)
    root = Path(data_config.prepared_dir or prepared_root)
    vocabulary = resolve_vocabulary(data_config)
    stores = open_stores(data_config, vocabulary, prepared_root=root)
    splits = {label for store in stores for label in store.labels("split")}
    noises = sorted({label for store in stores for label in store.labels("noise")})
    num_pairs = sum(store.num_pairs for store in stores)
    features = RowFeatures(
        data_config,
        vocabulary,
        has_text=num_pairs < sum(map(len, stores)),
        has_pairs=num_pairs > 0,
    )
    plant = plant_noise and noises == [""]
    starts = Tokenizer.from_vocabulary(vocabulary).word_starts()
    batches = []
    for language in sorted({label for store in stores for label in store.labels("language")}):
        for noise in noises:
            labels = {
                "split": _NOISY_VALIDATION if _NOISY_VALIDATION in splits else _VALIDATION,
                "language": language,
                "noise": noise,
            }
            rows = sample_rows(stores, features.plan, max_rows=rows_per_group, labels=labels)
            kinds = plant_permuted_words(rows, starts) if plant else [rows]
            for kind in kinds:
                batches += make_batches(kind, features, data_config.batch_size)
    return batches


def sample_rows(
    stores: Sequence[TokenStore],
    plan: TextPlan,
    *,
    max_rows: int,
    labels: Mapping[str, str],
    seed: int = 0,
) -> list[TextRow | PairRow]:
    """Returns the same rows on every call, for ever, whatever the training order.

    A row is a pair or the first segment of one document, so it has one language and one noise
    label. Which documents are taken depends on (stores, labels, seed).

    Args:
      stores: the tokens.
      plan: how text is cut.
      max_rows: at most this many documents; those of fewer than 2 tokens are left out.
      labels: of the documents, by `LABEL_NAMES`.
      seed: of the choice.
    """
    check_int("max_rows", max_rows, minimum=1)
    candidates = []
    for number, store in enumerate(stores):
        documents = store.documents_with(**labels)
        documents = documents[store.token_counts[documents] >= 2]
        candidates += [(number, document) for document in documents.tolist()]
    order = make_generator(seed, EVALUATION).permutation(len(candidates))
    rows = []
    for number, document in sorted(candidates[i] for i in order[:max_rows]):
        store = stores[number]
        if store.input_counts is not None and store.input_counts[document]:
            rows.append(read_pair_row(store, [document]))
            continue
        num_tokens = int(store.token_counts[document]) + plan.frame.size
        piece = (document, 0, min(num_tokens, plan.raw_length))
        rows.append(read_text_row(store, [piece], frame=plan.frame))
    return rows


def plant_permuted_words(
    rows: Sequence[TextRow | PairRow], word_starts: Bool[np.ndarray, " ids"]
) -> tuple[list[TextRow | PairRow], list[TextRow]]:
    """Returns the rows labelled "clean", and those of text with permuted words, seeded by id."""
    permuted = []
    for row in rows:
        if isinstance(row, PairRow):
            continue
        rng = make_generator(0, EVALUATION, 2, id_hash(row.example_id))
        tokens = permute_words(row.tokens, word_starts, rng)
        permuted.append(row._replace(tokens=tokens, noise=PERMUTED_WORDS))
    return [row._replace(noise=CLEAN) for row in rows], permuted


def make_batches(
    rows: Sequence[TextRow | PairRow], features: RowFeatures, batch_size: int, seed: int = 0
) -> list[Batch]:
    """Returns batches of rows; the masks of text depend on its id and the seed only.

    Missing rows of the last batch are all zeros.
    """
    seeded = [(row, id_hash(f"evaluation/{seed}/{row.example_id}")) for row in rows]
    return [
        features.batch(seeded[i : i + batch_size], batch_size)
        for i in range(0, len(seeded), batch_size)
    ]


def _streamed(data_config: DataConfig, max_rows: int) -> list[Batch]:
    """Returns rows of every member task's validation split, not packed: packed ones lose labels."""
    batches = []
    for task in tasks_of(find_provider(data_config)):
        if _VALIDATION in task.splits:
            name = task.name
            one = dataclasses.replace(data_config, mixture_or_task_name=name, pack=False, seed=0)
            batches += StreamingBatches(one, _VALIDATION, num_rows=max_rows)
    return batches
