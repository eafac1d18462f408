"""mT5's fine-tuning tasks: members, rates, sources, splits, and their data through TFDS's mocks."""

import collections
import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds
from data.tfds_files import write_tydiqa

from presence_t5x import tasks
from presence_t5x.config import load_config
from presence_t5x.config_types import DataConfig
from presence_t5x.data import vocabularies
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.finetuning.evaluation_sets import evaluation_sets
from presence_t5x.data.prepared import open_stores
from presence_t5x.data.providers import find_provider
from presence_t5x.data.sources import check_data, resolve_vocabulary
from presence_t5x.tasks import xtreme

# TFDS reads its own metadata with a function that protobuf has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

LENGTHS = {"inputs": 64, "targets": 16}
HELD_OUT = ["validation", "test"]


def codes(text):
    return text.split()


XNLI = codes("ar bg de el en es fr hi ru sw th tr ur vi zh")
TRANSLATED_SQUAD = codes("ar de el es hi ru th tr vi zh")
MLQA = codes("ar de en es hi vi zh")
TYDIQA = codes("ar bn en fi id ko ru sw te")
PAWSX = codes("de en es fr ja ko zh")
NER = codes(
    "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw "
    "ta te th tl tr ur vi yo zh"
)


def without_english(languages):
    return [code for code in languages if code != "en"]


def names(prefix, languages):
    return [f"{prefix}.{code}" for code in languages]


XNLI_EVAL = names("mt5_xnli_dev_test", ["all_langs", *XNLI])
XQUAD_EVAL = names("mt5_xquad_test", ["all_langs", *TRANSLATED_SQUAD, "en"])
PAWSX_EVAL = names("mt5_pawsx_dev_test", [*PAWSX, "all_langs"])
TYDIQA_EVAL = names("mt5_tydiqa_dev", TYDIQA)
MLQA_EVAL = names("mt5_mlqa_dev_test", MLQA)
NER_EVAL = names("mt5_ner_eval", NER)
SQUAD = "mt5_squad_train_dev"
# What is trained on, and what is only judged.
MIXTURES = {
    "mt5_xnli_zeroshot": (["mt5_xnli_train"], XNLI_EVAL),
    "mt5_xnli_translate_train": (
        ["mt5_xnli_train", *names("mt5_xnli_translate_train", without_english(XNLI))],
        XNLI_EVAL,
    ),
    "mt5_xquad_zeroshot": ([SQUAD], XQUAD_EVAL),
    "mt5_xquad_translate_train": (
        [SQUAD, *names("mt5_xquad_translate_train_dev", TRANSLATED_SQUAD)],
        XQUAD_EVAL,
    ),
    "mt5_mlqa_zeroshot": ([SQUAD], MLQA_EVAL),
    "mt5_mlqa_translate_train": (
        [SQUAD, *names("mt5_xquad_translate_train_dev", without_english(MLQA))],
        MLQA_EVAL,
    ),
    "mt5_tydiqa": (["mt5_tydiqa_train_dev"], TYDIQA_EVAL),
    "mt5_tydiqa_zeroshot": (["mt5_tydiqa_train.en"], TYDIQA_EVAL),
    "mt5_tydiqa_translate_train": (
        ["mt5_tydiqa_train.en", *names("mt5_tydiqa_translate_train", without_english(TYDIQA))],
        TYDIQA_EVAL,
    ),
    "mt5_ner_zeroshot": (["mt5_ner_train.en"], NER_EVAL),
    "mt5_ner_multilingual": (names("mt5_ner_train", NER), NER_EVAL),
    "mt5_pawsx_zeroshot": (["mt5_paws"], PAWSX_EVAL),
    "mt5_pawsx_translate_train": (
        ["mt5_paws", *names("mt5_pawsx_translate_train", without_english(PAWSX))],
        PAWSX_EVAL,
    ),
    "mt5_pawsx_translate_train_original": (
        names("mt5_pawsx_translate_train_original", PAWSX),
        PAWSX_EVAL,
    ),
}


@pytest.fixture(autouse=True)
def mt5_registered():
    """As if nothing had been asked for yet, with a vocabulary that is here."""
    xtreme.register_xtreme("bytes")
    yield
    xtreme.register_xtreme()


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_have_the_members_of_mt5_at_rate_one(name):
    mixture = seqio.MixtureRegistry.get(name)
    trained, judged = MIXTURES[name]
    assert sorted(task.name for task in mixture.tasks) == sorted([*trained, *judged])
    assert {mixture.get_rate(task) for task in mixture.tasks} == {1.0}
    with_train = [task.name for task in mixture.tasks if "train" in task.splits]
    assert sorted(with_train) == sorted(trained)


def is_of_mt5(name):
    """And of XTREME: T5's tasks are tested elsewhere."""
    return name.startswith("mt5_") and not any(part in name for part in ("glue_", "dpr_"))


def test_no_task_but_those_of_the_mixtures():
    members = {name for both in MIXTURES.values() for found in both for name in found}
    registered = {name for name in seqio.TaskRegistry.names() if is_of_mt5(name)}
    assert registered == members and len(members) == 182
    mixtures = {name for name in seqio.MixtureRegistry.names() if is_of_mt5(name)}
    assert mixtures == set(MIXTURES)


TRAIN = {"train": "train"}
SOURCES = {
    "mt5_xnli_train": ("multi_nli:1.1.0", TRAIN),
    "mt5_xnli_dev_test.sw": ("xnli:1.1.0", HELD_OUT),
    "mt5_xnli_dev_test.all_langs": ("xnli:1.1.0", HELD_OUT),
    "mt5_xnli_translate_train.sw": ("xtreme_xnli:1.1.0", TRAIN),
    SQUAD: ("squad/v1.1:3.0.0", ["train", "validation"]),
    "mt5_xquad_translate_train_dev.th": (
        "xquad/th:3.0.0",
        {"train": "translate-train", "validation": "translate-dev"},
    ),
    "mt5_xquad_test.en": ("xquad/en:3.0.0", ["test"]),
    "mt5_mlqa_dev_test.vi": ("mlqa/vi:1.0.0", HELD_OUT),
    "mt5_tydiqa_train_dev": ("tydi_qa/goldp:3.0.0", ["train", "validation"]),
    "mt5_tydiqa_train.en": ("tydi_qa/goldp:3.0.0", TRAIN),
    "mt5_tydiqa_dev.ko": ("tydi_qa/goldp:3.0.0", {"validation": "validation-ko"}),
    "mt5_tydiqa_translate_train.ko": (
        "tydi_qa/goldp:3.0.0",
        {"train": "translate-train-ko"},
    ),
    "mt5_ner_train.yo": ("wikiann/yo:1.0.0", TRAIN),
    "mt5_ner_eval.yo": ("wikiann/yo:1.0.0", HELD_OUT),
    "mt5_paws": ("paws_x_wiki/en:1.0.0", TRAIN),
    "mt5_pawsx_dev_test.ja": ("paws_x_wiki/ja:1.0.0", HELD_OUT),
    "mt5_pawsx_translate_train.ja": ("xtreme_pawsx/ja:1.0.0", TRAIN),
    "mt5_pawsx_translate_train_original.ja": ("paws_x_wiki/ja:1.0.0", TRAIN),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_and_splits(name):
    tfds_name, splits = SOURCES[name]
    loader = seqio.TaskRegistry.get(name).source.tfds_dataset
    assert loader.name == tfds_name
    assert loader._split_map == (splits if isinstance(splits, dict) else {s: s for s in splits})


def test_unions_hold_every_language_in_order():
    for name, tfds_name, languages in (
        ("mt5_xquad_test.all_langs", "xquad/{}:3.0.0", [*TRANSLATED_SQUAD, "en"]),
        ("mt5_pawsx_dev_test.all_langs", "paws_x_wiki/{}:1.0.0", PAWSX),
    ):
        members = seqio.TaskRegistry.get(name).source.members
        assert [m.tfds_dataset.name for m in members] == [tfds_name.format(c) for c in languages]


def as_xnli(builder, split, read_config=None, **unused):
    """What TFDS would give: its own mock invents languages that no example can be found by."""
    features = builder.info.features
    languages = [*features["premise"].keys()]

    def generate():
        for number in range(2):
            yield {
                "premise": {code: f"{code} premise {number}" for code in languages},
                "hypothesis": {
                    "language": languages,
                    "translation": [f"{code} hypothesis" for code in languages],
                },
                "label": number,
            }

    signature = tf.nest.map_structure(
        lambda info: tf.TensorSpec(info.shape, info.dtype), features.get_tensor_info()
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def examples_of(task, split):
    """All examples in order; a mock does not know how many there are, so seqio caches none."""
    dataset = task.get_dataset(LENGTHS, split, shuffle=False, try_in_mem_cache=False)
    return list(dataset.as_numpy_iterator())


# A task of every kind: its split, prefix of the text, language, examples of two of the source.
MOCKED = {
    "mt5_xnli_train": ("train", "xnli: premise: ", "en", 2),
    "mt5_xnli_dev_test.sw": ("test", "xnli: premise: sw premise", "sw", 2),
    "mt5_xnli_dev_test.all_langs": ("validation", "xnli: premise: ", None, 30),
    "mt5_xnli_translate_train.zh": ("train", "xnli: premise: zh premise", "zh", 2),
    SQUAD: ("validation", "question: ", "en", 2),
    "mt5_xquad_translate_train_dev.th": ("train", "question: ", "th", 2),
    "mt5_xquad_test.ar": ("test", "question: ", "ar", 2),
    "mt5_xquad_test.all_langs": ("test", "question: ", None, 22),
    "mt5_mlqa_dev_test.vi": ("test", "question: ", "vi", 2),
    "mt5_tydiqa_train_dev": ("train", "question: ", "", 2),
    "mt5_tydiqa_train.en": ("train", "question: ", "en", 0),  # its mocked ids name no language
    "mt5_tydiqa_dev.te": ("validation", "question: ", "te", 2),
    "mt5_tydiqa_translate_train.te": ("train", "question: ", "te", 2),
    "mt5_ner_train.yo": ("train", "tag: ", "yo", 2),
    "mt5_ner_eval.yo": ("test", "tag: ", "yo", 2),
    "mt5_paws": ("train", "paws sentence1: ", "en", 2),
    "mt5_pawsx_dev_test.ko": ("test", "paws sentence1: ", "ko", 2),
    "mt5_pawsx_dev_test.all_langs": ("test", "paws sentence1: ", None, 14),
    "mt5_pawsx_translate_train.de": ("train", "paws sentence1: ", "de", 2),
    "mt5_pawsx_translate_train_original.de": ("train", "paws sentence1: ", "de", 2),
}


@pytest.mark.parametrize("name", MOCKED)
def test_tasks_run_on_tfds_mocks(name):
    split, prefix, language, number = MOCKED[name]
    task = seqio.TaskRegistry.get(name)
    settings = {"as_dataset_fn": as_xnli} if "xnli_" in name and name != "mt5_xnli_train" else {}
    with tfds.testing.mock_data(num_examples=2, max_value=1, **settings):
        found = examples_of(task, split)
    assert len(found) == number
    vocabulary = task.output_features["targets"].vocabulary
    for example in found:
        assert example["inputs_pretokenized"].decode().startswith(prefix)
        assert example["inputs"][-1] == example["targets"][-1] == vocabulary.eos_id
        assert len(example["inputs"]) <= 64 and len(example["targets"]) <= 16
        text = example["targets_pretokenized"].decode()
        tokens = vocabulary.encode(text)[:15]
        assert example["targets"][:-1].tolist() == tokens
        assert example["source"].decode() == name.split(".")[0]
        if language is not None:
            assert example["language"].decode() == language
        target = task.postprocess_fn(text, example=example, is_target=True)
        scores = {}
        for metric_fn in task.metric_fns:
            scores |= metric_fn([target], [task.postprocess_fn(text, example=example)])
        main = next(iter(scores))
        assert main == {"q": "em", "x": "accuracy", "p": "accuracy", "t": "span_f1"}[prefix[0]]
    if language is None:
        counts = collections.Counter(example["language"].decode() for example in found)
        assert set(counts.values()) == {2} and len(counts) == number // 2


def test_labels_are_those_of_the_examples():
    with tfds.testing.mock_data(num_examples=8):
        raw = tfds.load("paws_x_wiki/en:1.0.0", split="train")
        labels = [int(example["label"]) for example in raw]
        task = seqio.TaskRegistry.get("mt5_paws")
        found = examples_of(task, "train")
    expected = [("different_meaning", "paraphrase")[label] for label in labels]
    assert [e["targets_pretokenized"].decode() for e in found] == expected
    assert [task.postprocess_fn(text) for text in expected] == labels
    assert task.postprocess_fn("paraphrase.") == -1


def test_a_mixture_trains_on_its_train_splits_alone():
    mixture = seqio.MixtureRegistry.get("mt5_pawsx_translate_train")
    with tfds.testing.mock_data(num_examples=3):
        dataset = mixture.get_dataset(
            LENGTHS,
            "train",
            shuffle=False,  # or a thousand examples of every task are made first
            seed=0,
            passthrough_features=["language", "source"],
            try_in_mem_cache=False,
        )
        found = list(dataset.take(700).as_numpy_iterator())
    counts = collections.Counter(example["language"].decode() for example in found)
    # 100 expected of each; the standard deviation is 9.3.
    assert set(counts) == set(PAWSX) and max(abs(n - 100) for n in counts.values()) < 40
    sources = {example["source"].decode() for example in found}
    assert sources == {"mt5_paws", "mt5_pawsx_translate_train"}


CONFIG = DataConfig(
    mixture_or_task_name="mt5_tydiqa",
    task_feature_lengths=LENGTHS,
    batch_size=4,
    vocabulary_file=vocabulary_file(),
)


def config_for(name, **changes):
    return DataConfig(**{**vars(CONFIG), "mixture_or_task_name": name, **changes})


@pytest.fixture
def tfds_dir(tmp_path):
    seqio.set_tfds_data_dir_override(str(tmp_path))
    yield tmp_path
    seqio.set_tfds_data_dir_override(None)


def test_the_version_of_the_paper_is_read_where_it_is(tfds_dir):
    splits = {"train": ["finnish--1-0", "english--2-0", "english--3-1"]}
    splits |= {f"validation-{code}": [f"dev-{code}-{i}" for i in (0, 1)] for code in TYDIQA}
    write_tydiqa(tfds_dir, "2.1.0", splits)
    config = config_for("mt5_tydiqa_zeroshot", tydi_qa_version="2.1.0")
    check_data(config, 4096)
    (store,) = open_stores(config, resolve_vocabulary(config), prepared_root=tfds_dir / "stores")
    trained = [store[i] for i in store.documents_with(split="train")]
    assert sorted(found.id for found in trained) == [
        "mt5_tydiqa_train.en/english--2-0",
        "mt5_tydiqa_train.en/english--3-1",
    ]
    sets = evaluation_sets(config, "validation")
    assert [found.language for found in sets] == TYDIQA
    # `mt5_tydiqa_train_dev` holds the same once more.
    config = config_for("mt5_tydiqa", tydi_qa_version="2.1.0")
    found = evaluation_sets(config, "validation", max_examples=1)
    assert [one.task for one in found] == TYDIQA_EVAL
    found = {example.id: example.inputs for example in sets[3].examples}
    assert found == {f"dev-fi-{i}": f"question: who ? context: dev - fi - {i} . " for i in (0, 1)}
    assert sets[3].score(["x y", "y"])["em"] == 50


MISSING = {
    "mt5_paws": ({}, r"not at .*paws_x_wiki/en/1\.0\.0; .*: tfds build paws_x_wiki/en:1"),
    "mt5_xquad_test.all_langs": ({}, r"task 'mt5_xquad_test.all_langs' reads .*'xquad/ar:3\.0\.0'"),
    "mt5_tydiqa": ({}, r"TFDS builds it: tfds build tydi_qa/goldp"),
    "mt5_tydiqa_zeroshot": (
        {"tydi_qa_version": "2.1.0"},
        r"TFDS builds 3\.0\.0 alone, 2\.1\.0 can only be .* set TYDI_QA_VERSION = '3\.0\.0'$",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_data_are_named_with_what_to_do(name, tfds_dir):
    changes, message = MISSING[name]
    with pytest.raises(ValueError, match=message):
        check_data(config_for(name, **changes), 4096)


def test_a_version_that_is_there_is_named(tfds_dir):
    (tfds_dir / "tydi_qa" / "goldp" / "2.1.0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"\. Found 2\.1\.0 there: set TYDI_QA_VERSION\. TFDS"):
        check_data(config_for("mt5_tydiqa"), 4096)


def test_the_macro_sets_the_version():
    file = "configs/runs/pretrain_mt5_base_presence.gin"
    bindings = ["MODEL_DIR='x'", "MIXTURE_OR_TASK_NAME='mt5_tydiqa'"]
    for version in ("3.0.0", "2.1.0"):
        config = load_config([file], [*bindings, f"TYDI_QA_VERSION='{version}'"]).data
        task = find_provider(config).tasks[0]
        assert task.source.tfds_dataset.name == f"tydi_qa/goldp:{version}"
    with pytest.raises(ValueError, match="tydi_qa_version='2' must be three numbers"):
        config_for("mt5_tydiqa", tydi_qa_version="2")


def test_no_vocabulary_is_read_before_it_is_used(monkeypatch):
    def refuse(spec):
        raise AssertionError(f"{spec} was read")

    monkeypatch.setattr(vocabularies, "read_model", refuse)
    xtreme.register_xtreme()
    tasks.register_all()
    vocabulary = seqio.TaskRegistry.get("mt5_paws").output_features["targets"].vocabulary
    assert vocabulary.sentencepiece_model_file == vocabularies.MT5_VOCABULARY_FILE
    known = seqio.TaskRegistry.get("mt5_paws")
    xtreme.register_xtreme()
    assert seqio.TaskRegistry.get("mt5_paws") is known


@pytest.mark.parametrize("spec", ["bytes", vocabulary_file()])
def test_a_run_chooses_the_vocabulary(spec):
    provider = find_provider(config_for("mt5_ner_zeroshot", vocabulary_file=spec))
    expected = vocabularies.load_vocabulary(spec)
    assert provider.output_features["targets"].vocabulary == expected
    with tfds.testing.mock_data(num_examples=1):
        task = seqio.TaskRegistry.get("mt5_ner_train.en")
        (found,) = examples_of(task, "train")
    text = found["inputs_pretokenized"].decode()
    assert found["inputs"][:-1].tolist() == expected.encode(text)[:63]


def test_metrics_of_questions_by_language():
    metric_fns = functools.partial(lambda name: seqio.TaskRegistry.get(name).metric_fns)
    mlqa, beside = metric_fns("mt5_mlqa_dev_test.zh")
    assert mlqa([["在北京"]], ["在 北京"]) == {"em": 100, "f1": 100}
    assert set(beside([["a"]], ["a"])) == {
        f"{name}/{metric}" for name in ("squad", "mlqa", "script") for metric in ("em", "f1")
    }
    squad, beside = metric_fns("mt5_xquad_test.th")
    assert squad([["กรุงเทพ"]], ["กรุง เทพ"]) == {"em": 0, "f1": 0}
    assert beside([["กรุงเทพ"]], ["กรุง เทพ"])["script/f1"] == 100
    assert np.isclose(squad([["the a b"]], ["b"])["f1"], 200 / 2)
