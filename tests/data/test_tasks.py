"""The registered tasks: names, rates against mT5's, preprocessors, splits."""

import functools
import math

import numpy as np
import pytest
import seqio
import tensorflow as tf

from presence_t5x import tasks
from presence_t5x.data import preprocessors
from presence_t5x.data.documents import id_hash
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.tasks import mc4

LENGTHS = {"inputs": 32, "targets": 8}
RAW_LENGTH = 34
# fmt: off
# Rates in % computed from the page counts of c4/multilingual:3.0.1 at exponent 0.3.
MT5_RATES = {
    "en": 5.59, "ru": 3.67, "es": 3.07, "de": 3.02, "fr": 2.87, "it": 2.41, "pt": 2.34, "pl": 2.14,
    "nl": 1.98, "tr": 1.92, "ja": 1.92, "vi": 1.86, "id": 1.79, "cs": 1.72, "zh": 1.67, "fa": 1.66,
    "ar": 1.65, "sv": 1.61, "ro": 1.58, "el": 1.54, "uk": 1.5, "hu": 1.48, "da": 1.38, "fi": 1.35,
    "no": 1.33, "bg": 1.29, "hi": 1.21, "sk": 1.19, "ko": 1.14, "th": 1.14, "ca": 1.12, "ms": 1.09,
    "iw": 1.07, "lt": 1.04, "sl": 0.95, "mr": 0.93, "bn": 0.92, "et": 0.9, "lv": 0.88, "az": 0.83,
    "gl": 0.79, "cy": 0.77, "sq": 0.77, "ta": 0.73, "sr": 0.72, "ne": 0.69, "lb": 0.68, "hy": 0.65,
    "kk": 0.65, "ka": 0.64, "mt": 0.64, "af": 0.63, "fil": 0.63, "is": 0.62, "mk": 0.62, "mn": 0.62,
    "ml": 0.62, "ur": 0.61, "be": 0.59, "la": 0.59, "eu": 0.57, "tg": 0.54, "te": 0.53, "fy": 0.52,
    "kn": 0.51, "ky": 0.5, "sw": 0.5, "so": 0.49, "my": 0.47, "uz": 0.47, "km": 0.46,
    "ru-Latn": 0.46, "sd": 0.46, "gu": 0.44, "hi-Latn": 0.44, "jv": 0.43, "zu": 0.42, "si": 0.42,
    "ja-Latn": 0.42, "eo": 0.41, "co": 0.41, "ga": 0.4, "el-Latn": 0.4, "zh-Latn": 0.37, "pa": 0.37,
    "ceb": 0.37, "mg": 0.36, "ps": 0.36, "sn": 0.36, "gd": 0.36, "ku": 0.35, "hmn": 0.35,
    "su": 0.34, "ht": 0.34, "ha": 0.33, "ny": 0.3, "am": 0.29, "bg-Latn": 0.29, "yi": 0.28,
    "lo": 0.28, "mi": 0.25, "sm": 0.25, "ig": 0.25, "haw": 0.24, "xh": 0.23, "st": 0.22, "yo": 0.2,
}
# fmt: on


@pytest.fixture(scope="module", autouse=True)
def registered():
    tasks.register_all()


def test_every_mc4_language_has_a_task_and_its_rate():
    mixture = seqio.MixtureRegistry.get("mc4")
    assert len(mixture.tasks) == len(MT5_RATES) == 107
    assert "mc4.zh_Latn" in seqio.TaskRegistry.names()
    for language, percent in MT5_RATES.items():
        task = seqio.TaskRegistry.get(f"mc4.{language.replace('-', '_')}")
        rate = 100 * mixture.get_rate(task) / mixture.total_rate
        # The published numbers are rounded to 0.01.
        assert math.isclose(rate, percent, abs_tol=0.0051), (language, rate)
        assert task.source.tfds_dataset.name == "c4/multilingual:3.1.0"
        expected = {"train": language, "validation": f"{language}-validation"}
        assert task.source.tfds_dataset._split_map == expected


def test_mc4_page_counts_sum_to_the_catalog_total():
    assert sum(mc4.NUM_TRAIN_PAGES.values()) == 6_656_295_826


def test_mc4_version_and_vocabulary_can_be_replaced():
    try:
        mixture = mc4.register_mc4(mc4.PAPER_VERSION, vocabulary_file())
        assert mixture.tasks[0].source.tfds_dataset.name == "c4/multilingual:3.0.1"
        features = mixture.tasks[0].output_features
        assert features["targets"].vocabulary.vocab_size == 4096
        assert mc4.register_mc4(mc4.PAPER_VERSION, vocabulary_file()) is mixture
    finally:
        mc4.register_mc4()


def test_mc4_steps_are_those_of_mt5():
    task = seqio.TaskRegistry.get("mc4.sw")
    names = [
        getattr(getattr(step, "func", step), "__name__", type(step).__name__)
        for step in task.preprocessors
    ]
    assert names == [
        "add_url_ids",
        "text_to_targets",
        "add_labels",
        "tokenize",
        "CacheDatasetPlaceholder",
        "segments",
        "span_corruption",
        "append_eos_after_trim",
    ]
    assert not task.output_features["inputs"].required and task.output_features["targets"].add_eos


def run_steps(documents, concatenate, seed=0):
    """Token documents through `segments` and `span_corruption` of a task."""
    vocabulary = load_vocabulary(vocabulary_file())
    features = {name: seqio.Feature(vocabulary) for name in LENGTHS}

    def generate():
        for number, tokens in enumerate(documents):
            yield {
                "targets": tokens,
                "id": f"d{number}",
                "language": "sw",
                "source": "",
                "noise": "",
            }

    signature = {name: tf.TensorSpec((), tf.string) for name in preprocessors.LABELS}
    signature["targets"] = tf.TensorSpec((None,), tf.int32)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    with seqio.utils.map_seed_manager(seed):
        dataset = preprocessors.segments(dataset, LENGTHS, features, concatenate=concatenate)
        raw = list(dataset.as_numpy_iterator())
        corrupted = preprocessors.span_corruption(dataset, features)
        return raw, list(corrupted.as_numpy_iterator())


def test_segments_of_single_documents():
    documents = [np.arange(5, 5 + size, dtype=np.int32) for size in (0, 1, 2, 34, 35, 70)]
    raw, corrupted = run_steps(documents, concatenate=False)
    assert [(row["id"].decode(), len(row["targets"])) for row in raw] == [
        ("d2", 2),
        ("d3", 34),
        ("d4", 34),  # its 35th token alone makes no row
        ("d5", 34),
        ("d5#1", 34),
        ("d5#2", 2),
    ]
    assert len(corrupted) == 6 and len(corrupted[1]["inputs"]) == LENGTHS["inputs"] - 1
    assert len(corrupted[1]["targets"]) == LENGTHS["targets"] - 1


def test_concatenated_groups_have_nothing_between_documents():
    documents = [np.arange(10 * i, 10 * i + 7, dtype=np.int32) + 5 for i in range(130)]
    raw, _ = run_steps(documents, concatenate=True)
    first_group = np.concatenate(documents[:128])
    num_rows = math.ceil(first_group.size / RAW_LENGTH)
    assert np.array_equal(np.concatenate([r["targets"] for r in raw[:num_rows]]), first_group)
    assert {len(row["targets"]) for row in raw[: num_rows - 1]} == {RAW_LENGTH}
    assert np.array_equal(raw[num_rows]["targets"], np.concatenate(documents[128:]))


def test_very_long_documents_give_one_random_chunk(monkeypatch):
    monkeypatch.setattr(preprocessors, "MAX_DOCUMENT_TOKENS", 100)
    starts = set()
    for seed in range(6):
        raw, _ = run_steps([np.arange(5, 255, dtype=np.int32)], concatenate=True, seed=seed)
        tokens = np.concatenate([row["targets"] for row in raw])
        assert tokens.tolist() == list(range(tokens[0], min(tokens[0] + 100, 255)))
        starts.add(int(tokens[0]))
    assert starts <= {5, 105, 205} and len(starts) > 1


def test_noise_is_seeded_per_example():
    documents = [np.arange(5, 5 + 34, dtype=np.int32)] * 8
    one, again, other = (run_steps(documents, False, seed)[1] for seed in (1, 1, 2))
    rows = [[row["inputs"].tolist() for row in run] for run in (one, again, other)]
    assert rows[0] == rows[1] != rows[2]
    assert len({tuple(row) for row in rows[0]}) > 4


def test_encyclopedia_tasks_keep_labels():
    names = seqio.TaskRegistry.names()
    assert {f"encyclopedia.{code}" for code in LANGUAGES} < set(names)
    task = seqio.TaskRegistry.get("encyclopedia")
    assert set(task.splits) == {"train", "validation", "noisy_validation"}
    for split, noisy in (("validation", False), ("noisy_validation", True)):
        examples = list(task.source.get_dataset(split, shuffle=False).take(24).as_numpy_iterator())
        assert [e["language"].decode() for e in examples[: len(LANGUAGES)]] == list(LANGUAGES)
        assert ({e["noise"] for e in examples} != {b"clean"}) == noisy


def test_local_text_holds_out_by_id(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"document {number}" for number in range(400)))
    task = tasks.register_local_text(str(path), "bytes")

    def ids(split):
        dataset = task.source.get_dataset(split, shuffle=False)
        return [example["id"].decode() for example in dataset.as_numpy_iterator()]

    train, validation = ids("train"), ids("validation")
    assert len(train) + len(validation) == 400 and not {*train} & {*validation}
    assert validation == [f"a.txt:{i}" for i in range(1, 800, 2) if id_hash(f"a.txt:{i}") % 20 == 0]
    assert 8 <= len(validation) <= 36  # 20 expected; 3 standard deviations are 13
    (tmp_path / "b.txt").write_text("one more")
    assert {*ids("validation")} <= {*validation}


def test_local_text_always_has_a_validation_document(tmp_path):
    numbers = [i for i in range(1, 60, 2) if id_hash(f"a.txt:{i}") % 20][:3]
    lines = [""] * 60
    for number in numbers:
        lines[number - 1] = "text"
    path = tmp_path / "a.txt"
    path.write_text("\n".join(lines))
    task = tasks.register_local_text(str(path), "bytes")
    count = functools.partial(task.source.get_dataset, shuffle=False)
    assert len(list(count("train"))) == 2 and len(list(count("validation"))) == 1
    path.write_text("alone")
    task = tasks.register_local_text(str(path), "bytes")
    with pytest.raises(ValueError, match=r"1 documents, . of them held out"):
        next(iter(task.source._dataset_fn.__self__.documents("train")))
