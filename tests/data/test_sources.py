"""From a DataConfig to batches: registration, first write, reuse, and every early error."""

import dataclasses
import re

import numpy as np
import pytest

from presence_t5x.config_types import DataConfig
from presence_t5x.data.batches import PreparedBatches
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.prepared import open_stores
from presence_t5x.data.sources import check_data, open_batches, resolve_vocabulary
from presence_t5x.data.streaming import StreamingBatches

LENGTHS = {"inputs": 32, "targets": 8}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text(
        "\n\n".join(f"document {i} " + "word " * (i % 9) for i in range(200))
    )
    return DataConfig(
        mixture_or_task_name="local_text",
        task_feature_lengths=LENGTHS,
        batch_size=4,
        local_text_files=str(tmp_path / "text"),
        vocabulary_file="bytes",
    )


def open_store(config, root):
    (store,) = open_stores(config, resolve_vocabulary(config), prepared_root=root)
    return store


def test_local_files_end_to_end(config, tmp_path):
    calls = []
    root = tmp_path / "data"
    batches = open_batches(config, prepared_root=root, progress=calls.append)
    assert isinstance(batches, PreparedBatches)
    batch = batches.batch_at(0)
    assert batch.features["encoder_input_tokens"].shape == (4, 32)
    assert {*batch.sources} == {"a.txt"}
    store = open_store(config, root)
    train, validation = (store.documents_with(split=name) for name in ("train", "validation"))
    assert train.size + validation.size == 200 and 0 < validation.size < 40
    assert calls[-1][:2] == (200, store.num_tokens)
    vocabulary = resolve_vocabulary(config)
    assert vocabulary.decode(store[0].tokens.tolist()).startswith("document")
    calls.clear()
    again = open_batches(config, prepared_root=root, progress=calls.append)
    assert not calls
    found = again.batch_at(0).features["encoder_input_tokens"]
    assert np.array_equal(found, batch.features["encoder_input_tokens"])


def test_both_readers_see_the_same_documents(config, tmp_path):
    store = open_store(config, tmp_path / "data")
    streaming = open_batches(
        dataclasses.replace(config, reader="streaming"), prepared_root=tmp_path / "data"
    )
    assert isinstance(streaming, StreamingBatches)
    known = {store[int(index)].id for index in store.documents_with(split="train")}
    seen = {name.split("#")[0] for _ in range(30) for name in next(streaming).example_ids}
    assert len(seen) > 50 and seen <= known


def test_prepared_dir_goes_first(config, tmp_path):
    config = dataclasses.replace(config, prepared_dir=str(tmp_path / "mine"))
    open_batches(config, prepared_root=tmp_path / "data")
    assert (tmp_path / "mine" / "local_text" / "manifest.json").is_file()
    assert not (tmp_path / "data").exists()


def test_another_vocabulary_or_source_is_an_error_that_names_it(config, tmp_path):
    open_store(config, tmp_path / "data")
    other = dataclasses.replace(config, vocabulary_file=vocabulary_file())
    message = (
        r"prepared with other settings: kind \(store 'bytes', wanted 'sentencepiece'\).* sha256"
    )
    with pytest.raises(ValueError, match=message):
        open_store(other, tmp_path / "data")
    (tmp_path / "text" / "b.txt").write_text("more")
    with pytest.raises(ValueError, match=r"other settings: files \(store .*delete it"):
        open_store(config, tmp_path / "data")


def test_broken_files_write_nothing(config, tmp_path):
    (tmp_path / "text" / "z.jsonl").write_text('{"text": "fine"}\n{"txt": 1}')
    with pytest.raises(ValueError, match=r"z.jsonl:2: no field 'text'"):
        open_store(config, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".local_text.lock"]


def test_mixture_store_keeps_tasks_and_rates(tmp_path):
    import seqio

    from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig
    from presence_t5x.tasks.encyclopedia import register_encyclopedia_task

    name = "two_languages"
    config = DataConfig(mixture_or_task_name=name, task_feature_lengths=LENGTHS, batch_size=64)
    for code in ("en", "zh"):
        small = EncyclopediaConfig(
            num_train_documents=30, num_validation_documents=30, languages=(code,)
        )
        register_encyclopedia_task(f"small.{code}", small)
    seqio.MixtureRegistry.add(name, [("small.en", 1.0), ("small.zh", 3.0)])
    try:
        store = open_store(config, tmp_path)
        assert [(task.name, task.rate) for task in store.tasks] == [
            ("small.en", 1.0),
            ("small.zh", 3.0),
        ]
        batches = PreparedBatches(
            make_groups([store], "validation"), config, resolve_vocabulary(config)
        )
        languages = [lang for step in range(16) for lang in batches.batch_at(step).languages]
        assert languages.count("zh") == 768 and languages.count("en") == 256
    finally:
        seqio.MixtureRegistry.remove(name)
        for code in ("en", "zh"):
            seqio.TaskRegistry.remove(f"small.{code}")


def test_check_data_accepts_the_encyclopedia():
    config = DataConfig(mixture_or_task_name="encyclopedia", task_feature_lengths=LENGTHS)
    assert check_data(config, 4096).vocab_size == 4096


EARLY_ERRORS = [
    ({"mixture_or_task_name": "encyclopedai"}, 400, "did you mean 'encyclopedia'"),
    ({"mixture_or_task_name": "mc4.ws"}, 400, "no registered seqio task .* did you mean 'mc4.sw'"),
    ({}, 358, "vocab_size=358 of the model is smaller .* 359 ids; set vocab_size >= 359"),
    ({"task_feature_lengths": {"inputs": 32, "targets": 7}}, 400, "need targets >= 8"),
    ({"task_feature_lengths": {"inputs": 2048, "targets": 900}}, 400, "has 100 sentinels"),
    ({"local_text_files": "/no/*.txt"}, 400, "matches no file"),
    ({"local_text_files": None}, 400, "'local_text' needs local_text_files .* and vocabulary_file"),
    ({"vocabulary_file": "/no/file"}, 400, "'/no/file' cannot be read"),
    ({"reader": "streaming", "noise_density": 0.3}, 400, "fixed by the task's preprocessors"),
]


@pytest.mark.parametrize(("changes", "vocab_size", "message"), EARLY_ERRORS)
def test_early_errors(config, changes, vocab_size, message):
    if "mixture_or_task_name" in changes:
        changes = changes | {"local_text_files": None, "vocabulary_file": None}
    with pytest.raises(ValueError, match=message):
        check_data(dataclasses.replace(config, **changes), vocab_size)


def test_settings_of_local_text_are_refused_elsewhere(config):
    other = dataclasses.replace(config, mixture_or_task_name="encyclopedia")
    with pytest.raises(ValueError, match=r"local_text_files=.* belongs to the task 'local_text'"):
        check_data(other, 4096)


def test_missing_tfds_data_is_named_without_any_download(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = DataConfig(mixture_or_task_name="mc4.sw", task_feature_lengths=LENGTHS)
    path = re.escape(str(tmp_path / "c4" / "multilingual" / "3.1.0"))
    with pytest.raises(ValueError, match=f"which is not at {path}; prepare it there"):
        check_data(config, 250_112)


def test_unknown_split(config, tmp_path):
    with pytest.raises(ValueError, match=r"split 'test' has no document in .*local_text"):
        open_batches(config, "test", prepared_root=tmp_path)


def test_prepared_stores_bring_their_vocabulary(config, tmp_path):
    for name, spec in (("a", "bytes"), ("b", "bytes"), ("c", vocabulary_file())):
        one = dataclasses.replace(config, vocabulary_file=spec, prepared_dir=str(tmp_path / name))
        open_batches(one, prepared_root="")
    prepared = dataclasses.replace(
        config,
        mixture_or_task_name="prepared",
        local_text_files=None,
        vocabulary_file=None,
        prepared_stores=(f"{tmp_path}/a/*", f"{tmp_path}/b/local_text"),
    )
    assert check_data(prepared, 400).vocab_size == 359
    batches = open_batches(prepared, prepared_root="")
    assert [row["group"] for row in batches.epochs()] == ["local_text"] * 2
    own = dataclasses.replace(prepared, prepared_stores=f"{tmp_path}/c/*")
    assert check_data(own, 4096).vocab_size == 4096
    other = dataclasses.replace(prepared, prepared_stores=f"{tmp_path}/*/*")
    with pytest.raises(ValueError, match=r"c/local_text was written with another vocabulary"):
        check_data(other, 4096)
    other = dataclasses.replace(prepared, prepared_stores=f"{tmp_path}/d/*")
    with pytest.raises(ValueError, match=r"matches no token store .* presence_t5x.prepare"):
        check_data(other, 4096)
    with pytest.raises(
        ValueError, match=r"'encyclopedia' and prepared_stores=.* do not go together"
    ):
        check_data(dataclasses.replace(prepared, mixture_or_task_name="encyclopedia"), 4096)
