"""mC4 in TFDS's own format, both versions: what is read, how it resumes, and what is said if it is
missing."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds
from data.tfds_files import write_mc4

from presence_t5x import tasks
from presence_t5x.config import load_config
from presence_t5x.config_types import DataConfig
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.preprocessors import DOCUMENTS_PER_GROUP
from presence_t5x.data.providers import find_provider
from presence_t5x.data.sources import check_data, open_batches
from presence_t5x.data.streaming import StreamingBatches
from presence_t5x.data.vocabularies import load_vocabulary

# TFDS reads its own metadata with a function that protobuf has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

LENGTHS = {"inputs": 32, "targets": 8}
RAW_LENGTH = 34
NUM_PAGES = {"sw": 300, "sw-validation": 12, "zh-Latn": 41, "zh-Latn-validation": 4}
CONFIG = DataConfig(
    mixture_or_task_name="mc4.sw",
    task_feature_lengths=LENGTHS,
    batch_size=4,
    reader="streaming",
    vocabulary_file=vocabulary_file(),
    seed=3,
)


def pages_of(version, split):
    """(url, text) of a split; every page begins with its number, which no other text contains."""
    return [
        (f"https://{split}/{number}", f"{version} {number + 1000} " + "katika mji " * (number % 23))
        for number in range(NUM_PAGES[split])
    ]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for version in ("3.1.0", "3.0.1"):
        pages = {split: pages_of(version, split) for split in NUM_PAGES}
        write_mc4(folder, version, pages, num_shards=4)
    return folder


@pytest.fixture(autouse=True)
def use_tfds_dir(data_dir):
    def forget():
        # seqio remembers a task's directory, ours which tasks are registered.
        if "mc4" in seqio.MixtureRegistry.names():
            seqio.MixtureRegistry.remove("mc4")

    forget()
    seqio.set_tfds_data_dir_override(str(data_dir))
    yield
    seqio.set_tfds_data_dir_override(None)
    forget()


def config_for(name, version="3.1.0", **changes):
    return dataclasses.replace(CONFIG, mixture_or_task_name=name, mc4_version=version, **changes)


def raw_tokens(inputs, targets, vocab_size):
    """A row before corruption: the spans of the targets, put where the inputs have sentinels."""
    spans = {}
    for token in targets[targets > 1].tolist():
        if token >= vocab_size - 100:
            span = spans.setdefault(token, [])
        else:
            span.append(token)
    return [raw for token in inputs[inputs > 1].tolist() for raw in spans.get(token, [token])]


def pages_in(stream, pages):
    """The pages (token lists by url) that a stream of tokens consists of, in order."""
    found, position = [], 0
    while position < len(stream):
        rest = stream[position:]
        fitting = [url for url, tokens in pages.items() if rest[: len(tokens)] == tokens]
        if len(stream) % RAW_LENGTH == 0:  # a last token alone makes no row
            fitting += [url for url, tokens in pages.items() if rest == tokens[:-1]]
        found.append(max(fitting, key=lambda url: len(pages[url])))
        position += len(pages[found[-1]])
    return found


def test_files_are_those_of_tfds(data_dir):
    names = {path.name for path in (data_dir / "c4" / "multilingual" / "3.0.1").iterdir()}
    assert {"features.json", "dataset_info.json", "c4-sw.tfrecord-00003-of-00004"} <= names
    assert len(names) == 4 * len(NUM_PAGES) + 2


@pytest.mark.parametrize("version", ["3.1.0", "3.0.1"])
@pytest.mark.parametrize(("name", "split"), [("mc4.sw", "sw"), ("mc4.zh_Latn", "zh-Latn")])
def test_rows_are_whole_pages_joined(version, name, split, monkeypatch):
    # It would look into a bucket, and download or build what it does not find.
    monkeypatch.setattr(tfds, "load", None)
    task = find_provider(config_for(name, version))
    assert type(task.source.tfds_dataset.builder).__name__ == "ReadOnlyBuilder"
    vocabulary = load_vocabulary(vocabulary_file())
    for mc4_split, tfds_split in (("train", split), ("validation", f"{split}-validation")):
        pages = {
            url: [int(token) for token in vocabulary.encode(text)]
            for url, text in pages_of(version, tfds_split)
        }
        groups = {}
        dataset = task.get_dataset(LENGTHS, mc4_split, shuffle=True, seed=0, num_epochs=1)
        for row in dataset.as_numpy_iterator():
            assert (row["language"], row["source"]) == (split.encode(), b"mc4")
            url, _, number = row["id"].decode().partition("#")
            raw = raw_tokens(row["inputs"], row["targets"], vocabulary.vocab_size)
            groups.setdefault(url, {})[int(number or 0)] = raw
        seen = []
        for url, rows in groups.items():
            assert sorted(rows) == list(range(len(rows)))
            assert all(len(rows[number]) == RAW_LENGTH for number in range(len(rows) - 1))
            stream = [token for number in range(len(rows)) for token in rows[number]]
            found = pages_in(stream, pages)
            assert found[0] == url
            assert len(found) in (DOCUMENTS_PER_GROUP, len(pages) % DOCUMENTS_PER_GROUP)
            seen += found
        assert sorted(seen) == sorted(pages)


@pytest.fixture
def small_mixture():
    tasks.register_mc4("3.1.0", vocabulary_file())
    seqio.MixtureRegistry.add("mc4_small", [("mc4.sw", 1), ("mc4.zh_Latn", 3)])
    yield "mc4_small"
    seqio.MixtureRegistry.remove("mc4_small")


def take(batches, count):
    return [next(batches) for _ in range(count)]


def assert_equal(first, second):
    for one, two in zip(first, second, strict=True):
        assert one[1:] == two[1:] and one.features.keys() == two.features.keys()
        assert all(np.array_equal(a, two.features[name]) for name, a in one.features.items())


@pytest.mark.parametrize(
    ("version", "name", "pack"), [("3.1.0", "mc4.zh_Latn", True), ("3.0.1", "mc4.sw", False)]
)
def test_a_stream_resumes_identically(version, name, pack):
    """Rows are shuffled among 1000, so that several passes are read before the first batch."""
    config = config_for(name, version, pack=pack)
    whole = open_batches(config, prepared_root="unused")
    assert isinstance(whole, StreamingBatches) and whole.checkpoints_iterator
    take(whole, 3)
    state = whole.get_state()
    assert b"files" in state
    rest = take(whole, 100)
    resumed = open_batches(config, prepared_root="unused")
    resumed.set_state(state)
    assert_equal(take(resumed, 100), rest)


def test_a_mixture_resumes_identically_at_its_rates(small_mixture):
    config = dataclasses.replace(config_for(small_mixture), vocabulary_file=None, batch_size=20)
    whole = StreamingBatches(config)
    seen = take(whole, 10)
    state = whole.get_state()
    rest = take(whole, 40)
    resumed = StreamingBatches(config)
    resumed.set_state(state)
    assert_equal(take(resumed, 40), rest)
    languages = [language for batch in seen + rest for language in batch.languages]
    assert {*languages} == {"sw", "zh-Latn"}
    # 1000 draws at 3/4: the standard deviation is 0.0137.
    assert abs(np.mean([language == "zh-Latn" for language in languages]) - 0.75) < 0.055


def test_hosts_read_different_files():
    """A row's id is its group's first page."""
    seen = []
    for index in range(2):
        config = dataclasses.replace(CONFIG, batch_size=40)
        batches = open_batches(config, prepared_root="unused", process_index=index, process_count=2)
        names = [name.split("#")[0] for batch in take(batches, 30) for name in batch.example_ids]
        seen.append({*names})
    assert seen[0] and seen[1] and not seen[0] & seen[1]


def test_checks_pass_on_what_is_there():
    for version in ("3.1.0", "3.0.1"):
        assert check_data(config_for("mc4.sw", version), 4096).vocab_size == 4096


MISSING = [
    ("3.1.0", [], "TFDS builds 3.1.0 with Apache Beam .*: pip install apache-beam mlc"),
    ("3.1.0", ["3.0.1"], r"\. Found 3\.0\.1 there: set MC4_VERSION\. TFDS builds 3\.1\.0 with"),
    ("3.0.1", [], "TFDS builds 3.1.0 alone, 3.0.1 can only be read where it is prepared already"),
    ("3.0.1", ["2.3.1", "3.1.0"], r"\. Found 2\.3\.1, 3\.1\.0 there: set MC4_VERSION\. TFDS b"),
    ("3.0.1", ["incomplete.3.1.0"], r"where it is\. TFDS .* python -m presence_t5x\.prepare$"),
]


@pytest.mark.parametrize(("version", "present", "message"), MISSING)
def test_a_missing_version_is_named_with_what_to_do(version, present, message, tmp_path):
    seqio.set_tfds_data_dir_override(str(tmp_path))
    folder = tmp_path / "c4" / "multilingual"
    for found in present:
        (folder / found).mkdir(parents=True)
    with pytest.raises(ValueError, match=message) as caught:
        check_data(config_for("mc4.sw", version), 4096)
    place = f"'c4/multilingual:{version}', which is not at {folder / version}; prepare it there"
    assert place in str(caught.value)


@pytest.mark.parametrize("version", ["3.1", "3.1.0.0", "v3.1.0", "3.1.x", "", "*.*.*", 3.1])
def test_a_version_is_three_numbers(version):
    with pytest.raises(ValueError, match=r"mc4_version=.* must be"):
        config_for("mc4.sw", version)


def test_the_macro_sets_the_version():
    file = "configs/runs/pretrain_mt5_base_presence.gin"
    assert load_config([file], ["MODEL_DIR='x'"]).data.mc4_version == "3.1.0"
    config = load_config([file], ["MODEL_DIR='x'", "MC4_VERSION='3.0.1'"])
    assert config.data.mc4_version == "3.0.1"
    assert find_provider(config.data).tasks[0].source.tfds_dataset.name == "c4/multilingual:3.0.1"


def test_other_settings_of_mc4():
    assert find_provider(config_for("mc4")).name == "mc4"
    with pytest.raises(ValueError, match=r"no registered seqio task .* did you mean 'mc4.sw'"):
        find_provider(config_for("mc4.ws"))
    with pytest.raises(ValueError, match="local_text_files='a' belongs to the task 'local_text'"):
        find_provider(config_for("mc4.sw", local_text_files="a"))


def test_the_environment_names_the_directory(data_dir):
    program = (
        "from presence_t5x.config_types import DataConfig\n"
        "from presence_t5x.data.sources import check_data, open_batches\n"
        f"config = {CONFIG!r}\n"
        "check_data(config, 4096)\n"
        "print(next(open_batches(config, prepared_root='unused')).example_ids[0])\n"
    )
    environment = {**os.environ, "TFDS_DATA_DIR": str(data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("https://sw/")
