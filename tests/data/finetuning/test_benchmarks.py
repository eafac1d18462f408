"""GLUE's and SuperGLUE's tasks: names, rates and splits of T5, on TFDS and from files."""

import functools
import json

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds
from data.finetuning.test_benchmark_formats import TEXTS, cloze
from data.finetuning.test_formats import convert
from data.tfds_files import write_tfds

from presence_t5x import tasks
from presence_t5x.config_types import DataConfig
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.finetuning.classification import label_names_of
from presence_t5x.data.finetuning.evaluation_sets import evaluation_sets
from presence_t5x.data.finetuning.families import FAMILIES, local_family
from presence_t5x.data.finetuning.files import find_examples
from presence_t5x.data.finetuning.records import BrokenRecordError
from presence_t5x.data.mixing import make_groups
from presence_t5x.data.prepared import open_stores
from presence_t5x.data.providers import find_provider, is_provider
from presence_t5x.data.sources import check_data, open_batches, resolve_vocabulary

# TFDS reads its own metadata with a function that protobuf has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

LENGTHS = {"inputs": 128, "targets": 16}
EVERY, HELD_OUT = ("train", "validation", "test"), ("validation", "test")
MNLI = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
# By task without the prefix: data set, splits, family, rate in its mixture (None: in none).
GLUE = {
    "glue_cola_v002": ("glue/cola:1.0.0", EVERY, "glue_cola", 8551),
    "glue_sst2_v002": ("glue/sst2:1.0.0", EVERY, "glue_sst2", 67349),
    "glue_mrpc_v002": ("glue/mrpc:1.0.0", EVERY, "glue_mrpc", 3668),
    "glue_qqp_v002": ("glue/qqp:1.0.0", EVERY, "glue_qqp", 363849),
    "glue_stsb_v002": ("glue/stsb:1.0.0", EVERY, "glue_stsb", 5749),
    "glue_mnli_v002": ("glue/mnli:1.0.0", MNLI, "glue_mnli", 392702),
    "glue_qnli_v002": ("glue/qnli:1.0.0", EVERY, "glue_qnli", 104743),
    "glue_rte_v002": ("glue/rte:1.0.0", EVERY, "glue_rte", 2490),
    "glue_mnli_mismatched_v002": ("glue/mnli_mismatched:1.0.0", HELD_OUT, "glue_mnli", 0),
    "glue_mnli_matched_v002": ("glue/mnli_matched:1.0.0", HELD_OUT, "glue_mnli", 0),
    "glue_ax_v002": ("glue/ax:1.0.0", ("test",), "glue_ax", 0),
    "glue_wnli_v002": ("glue/wnli:1.0.0", EVERY, "glue_wnli", None),
}
WSC = "super_glue/wsc.fixed:1.0.2"
SUPER_GLUE = {
    **{
        f"super_glue_{name}_v102": (f"super_glue/{name}:1.0.2", EVERY, f"super_glue_{name}", rate)
        for name, rate in {
            "boolq": 9427,
            "cb": 250,
            "copa": 400,
            "multirc": 27243,
            "record": 138854,
            "rte": 2490,
            "wic": 5428,
        }.items()
    },
    "super_glue_axb_v102": ("super_glue/axb:1.0.2", ("test",), "super_glue_axb", 0),
    "super_glue_axg_v102": ("super_glue/axg:1.0.2", ("test",), "super_glue_axg", 0),
    "super_glue_wsc_v102_simple_train": (WSC, ("train",), "super_glue_wsc_simple", 259),
    "super_glue_wsc_v102_simple_eval": (WSC, HELD_OUT, "super_glue_wsc_simple", 0),
    "super_glue_wsc_v102": (WSC, EVERY, "super_glue_wsc", None),
    "dpr_v001_simple": (
        "definite_pronoun_resolution:1.1.0",
        ("train", "test"),
        "dpr",
        1322,
    ),
}
MIXTURES = {"glue_v002_proportional": GLUE, "super_glue_v102_proportional": SUPER_GLUE}
METRICS = {
    "glue_cola": ["matthews_corrcoef"],
    "glue_mrpc": ["f1", "accuracy"],
    "glue_qqp": ["f1", "accuracy"],
    "glue_stsb": ["pearson_corrcoef", "spearman_corrcoef"],
    "super_glue_cb": ["mean_3class_f1", "accuracy"],
    "super_glue_multirc": ["f1", "exact_match"],
    "super_glue_record": ["em", "f1"],
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """With a vocabulary that is here, by mT5's names and by T5's."""
    for prefix in ("mt5_", ""):
        tasks.register_glue("bytes", prefix)
        tasks.register_super_glue("bytes", prefix)
    yield
    tasks.register_glue()
    tasks.register_super_glue()


@pytest.mark.parametrize("prefix", ["mt5_", ""])
@pytest.mark.parametrize("mixture_name", MIXTURES)
def test_members_rates_sources_and_splits_are_those_of_t5(mixture_name, prefix):
    expected = MIXTURES[mixture_name]
    mixture = seqio.MixtureRegistry.get(prefix + mixture_name)
    rates = {task.name: mixture.get_rate(task) for task in mixture.tasks}
    assert rates == {
        prefix + name: rate for name, (*_, rate) in expected.items() if rate is not None
    }
    for name, (data_set, splits, *_) in expected.items():
        task = seqio.TaskRegistry.get(prefix + name)
        assert task.source.tfds_dataset.name == data_set
        assert sorted(task.splits) == sorted(splits)
    # What is not trained on cannot be drawn, whatever its rate.
    assert all(rate or "train" not in seqio.TaskRegistry.get(n).splits for n, rate in rates.items())


def test_mnli_and_its_validation_sets_alone():
    mixture = seqio.MixtureRegistry.get("mt5_glue_mnli_and_dev_v002")
    assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == dict.fromkeys(
        ("mt5_glue_mnli_v002", "mt5_glue_mnli_mismatched_v002", "mt5_glue_mnli_matched_v002"), 1.0
    )


@functools.cache
def features_of(data_set):
    """As the installed TFDS declares them."""
    return tfds.builder(data_set, data_dir="/nowhere").info.features


@pytest.mark.parametrize("name", [*GLUE, *SUPER_GLUE])
def test_label_names_are_those_of_tfds(name):
    data_set, _, family, _ = {**GLUE, **SUPER_GLUE}[name]
    features = features_of(data_set)
    assert FAMILIES[family].fields.keys() <= features.keys()
    task = seqio.TaskRegistry.get(f"mt5_{name}")
    if family in ("dpr", "super_glue_record", "super_glue_wsc_simple"):
        assert label_names_of(task) is None  # answered in words
    elif family == "glue_stsb":
        assert label_names_of(task) == tuple(f"{number / 5:.1f}" for number in range(26))
    else:
        assert list(label_names_of(task)) == features["label"].names


def test_label_names_of_other_tasks():
    tasks.register_all()
    found = label_names_of(seqio.TaskRegistry.get("encyclopedia_nli_eval.sw"))
    assert found == ("0", "1", "2")  # as XNLI's targets are written
    assert label_names_of(seqio.TaskRegistry.get("mc4.sw")) is None


def raw_examples(family, split):
    """Two examples as TFDS has them; those of a test split have no label."""
    example = cloze("One.\n@highlight\nTwo") if family == "super_glue_record" else TEXTS[family][0]
    found = []
    for number in range(2):
        one = {"idx": number, **example}
        if family in ("super_glue_wic",):
            one |= dict.fromkeys(("start1", "start2", "end1", "end2"), 0)
        if family == "super_glue_wsc_simple" or ("label" in one and family != "dpr"):
            one |= {"label": number}
        if split.startswith("test") and family != "dpr":
            one |= {"answers": []} if "answers" in one else {"label": -1}
        if family == "dpr":
            one.pop("idx")
        found.append(one)
    return found


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """All data sets of both mixtures, tiny, with the features of TFDS."""
    folder = tmp_path_factory.mktemp("tfds")
    families = {}
    for data_set, splits, family, _ in [*GLUE.values(), *SUPER_GLUE.values()]:
        families.setdefault(data_set, (family, {}))[1].update(dict.fromkeys(splits))
    for data_set, (family, splits) in families.items():
        examples = {split: raw_examples(family, split) for split in splits}
        write_tfds(folder, data_set, dict(features_of(data_set)), examples)
    return folder


@pytest.fixture
def prepared(tfds_dir):
    """The data sets where TFDS looks for them."""
    seqio.set_tfds_data_dir_override(str(tfds_dir))
    yield
    seqio.set_tfds_data_dir_override(None)


def config_for(name, **changes):
    settings = {"task_feature_lengths": LENGTHS, "batch_size": 4, "vocabulary_file": "bytes"}
    return DataConfig(mixture_or_task_name=name, **{**settings, **changes})


@pytest.mark.parametrize("mixture_name", MIXTURES)
def test_a_mixture_is_prepared_mixed_and_judged(mixture_name, prepared, tmp_path):
    expected = MIXTURES[mixture_name]
    config = config_for(f"mt5_{mixture_name}")
    check_data(config, 512)
    (store,) = open_stores(config, resolve_vocabulary(config), prepared_root=tmp_path)
    groups = make_groups([store], "train")
    assert {group.name: group.rate for group in groups} == {
        f"mt5_{name}": rate for name, (*_, rate) in expected.items() if rate
    }
    assert all(group.is_pairs for group in groups)
    # Of the two pronouns of WSC one is trained on: that whose referent is right.
    sizes = {group.name: len(group.documents) for group in groups}
    assert {name for name, size in sizes.items() if size != 2} == {
        name for name in sizes if "wsc_v102_simple_train" in name
    }
    batch = next(open_batches(config, prepared_root=tmp_path).iterate())
    assert set(batch.languages) == {"en"}
    judged = {
        f"mt5_{name}": family
        for name, (_, splits, family, rate) in expected.items()
        if "validation" in splits and rate is not None
    }
    sets = evaluation_sets(config, "validation")
    assert {found.task for found in sets} == judged.keys()
    for found in sets:
        family = judged[found.task]
        metrics = METRICS.get(family, ["accuracy"])
        right = found.score([example.targets for example in found.examples])
        assert list(right) == metrics and found.language == "en"
        if family == "super_glue_wsc_simple":
            assert right == {"accuracy": 50.0}  # the other pronoun stands for something else
        elif family == "super_glue_cb":
            assert right["mean_3class_f1"] == pytest.approx(200 / 3)  # of three classes two
        else:
            assert [*right.values()] == pytest.approx([100] * len(right))
        wrong = found.score(["no label"] * len(found.examples))
        expected_wrong = 50.0 if family == "super_glue_wsc_simple" else 0.0
        assert set(wrong.values()) == {expected_wrong}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mt5_glue_rte_v002", "split 'test': example 0 has no label, as published test splits"),
        ("mt5_glue_stsb_v002", "has no label"),
        ("mt5_super_glue_record_v102", "has no label"),
        ("mt5_super_glue_wsc_v102_simple_eval", "has no label"),
        ("mt5_super_glue_v102_proportional", "has no label"),
        ("mt5_super_glue_axb_v102", "'mt5_super_glue_axb_v102' has no metric"),
    ],
)
def test_test_splits_without_labels_are_not_scored(name, message, prepared):
    with pytest.raises(ValueError, match=message):
        evaluation_sets(config_for(name), "test")


def test_the_test_split_of_dpr_has_labels(prepared):
    (found,) = evaluation_sets(config_for("mt5_dpr_v001_simple"), "test")
    assert found.score(["Ida", "Ana"]) == {"accuracy": 50.0}


def test_seqio_reads_and_scores_alike(prepared):
    """Fields that metrics need pass through seqio's own tokenisation and evaluation."""
    for name in ("mt5_super_glue_multirc_v102", "mt5_super_glue_record_v102"):
        task = seqio.TaskRegistry.get(name)
        dataset = task.get_dataset(LENGTHS, "validation", shuffle=False, try_in_mem_cache=False)
        found = list(dataset.as_numpy_iterator())
        texts = [one["targets_pretokenized"].decode() for one in found]
        gold = [task.postprocess_fn(t, example=e, is_target=True) for t, e in zip(texts, found)]
        answers = [task.postprocess_fn(t, example=e, is_target=False) for t, e in zip(texts, found)]
        scores = [metric_fn(gold, answers) for metric_fn in task.metric_fns]
        assert all(value == 100 for one in scores for value in one.values())


def test_names_of_t5_need_a_vocabulary():
    for name in ("glue_v002_proportional", "super_glue_copa_v102", "dpr_v001_simple"):
        spec = vocabulary_file()
        provider = find_provider(config_for(name, vocabulary_file=spec))
        assert seqio.get_mixture_or_task(name) is provider and is_provider(name)
        found = provider.output_features["targets"].vocabulary
        assert found.sentencepiece_model_file == spec
        find_provider(config_for(name))  # back to bytes
    seqio.TaskRegistry.remove("dpr_v001_simple")
    with pytest.raises(ValueError, match=r"needs vocabulary_file .*'mt5_dpr_v001_simple' has"):
        find_provider(config_for("dpr_v001_simple", vocabulary_file=None))
    assert not is_provider("glue_sentences.jsonl") and not is_provider("glue_of_mine")


def test_missing_data_name_the_version(tmp_path):
    seqio.set_tfds_data_dir_override(str(tmp_path))
    with pytest.raises(ValueError, match=r"tfds build glue/\w+:1\.0\.0 --data_dir"):
        # Sources remember where they have found their data: new ones.
        check_data(config_for("glue_v002_proportional", vocabulary_file=vocabulary_file()), 4096)
    seqio.set_tfds_data_dir_override(None)


# As SuperGLUE publishes them, where that is not what TFDS has; and what GLUE's tables hold.
PUBLISHED = {
    "glue_mrpc": [{"label": "1"}],
    "glue_rte": [{"label": "not_entailment"}],
    "glue_stsb": [{"label": "2.25"}],
    "super_glue_boolq": [{"label": True}, {"label": "true"}],
    "super_glue_cb": [{"label": "contradiction"}],
    "super_glue_copa": [{"label": 0}, {"label": "choice1"}],
    "super_glue_wic": [{"label": False, "start1": 2}],
    "dpr": [{"label": "Ida"}],
}


def plain(value):
    """An example as JSON has it."""
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("family", [name for name in TEXTS if name != "glue_ax"])
def test_records_have_the_text_of_tfds(family):
    example, inputs, target = TEXTS[family]
    example = {name: plain(value) for name, value in example.items()}
    for changes in [{}, *PUBLISHED.get(family, [])]:
        read = FAMILIES[family].read({**example, **changes})
        assert read.keys() == FAMILIES[family].fields.keys()
        (found,) = convert(FAMILIES[family].to_text, read)
        assert (found["inputs"], found["targets"]) == (inputs, target)


MULTIRC = {
    "idx": 3,
    "passage": {
        "text": "Ana came.",
        "questions": [
            {
                "question": "Who came?",
                "idx": 8,
                "answers": [
                    {"text": "Ana", "idx": 20, "label": 1},
                    {"text": "Ben", "idx": 21, "label": 0},
                ],
            },
            {"question": "When?", "idx": 9, "answers": [{"text": "Now", "idx": 22, "label": 0}]},
        ],
    },
}
RECORD = {
    "idx": 7,
    "source": "x",
    "passage": {
        "text": "Oslo is where Ana lives.",
        "entities": [
            {"start": 14, "end": 16},
            {"start": 0, "end": 3},
            {"start": 14, "end": 16},
        ],
    },
    "qas": [
        {
            "query": "@placeholder lives there.",
            "idx": 8,
            "answers": [{"start": 14, "end": 16, "text": "Ana"}] * 2,
        }
    ],
}
SPANS = {"span1_index": 0, "span1_text": "Ana", "span2_index": 2, "span2_text": "she"}
WSC_RECORD = {"text": "Ana said she left", "target": SPANS, "label": True, "idx": 0}
UNFOLDED = {
    "super_glue_multirc": (
        MULTIRC,
        [
            ("multirc question: Who came? answer: Ana paragraph: Ana came.", "True"),
            ("multirc question: Who came? answer: Ben paragraph: Ana came.", "False"),
            ("multirc question: When? answer: Now paragraph: Ana came.", "False"),
        ],
    ),
    "super_glue_record": (
        RECORD,
        [
            (
                "record query: @placeholder lives there. entities: Ana, Oslo passage: "
                "Oslo is where Ana lives.",
                "Ana",
            )
        ],
    ),
    "super_glue_wsc": (WSC_RECORD, [("wsc text: * Ana * said # she # left", "True")]),
    "super_glue_wsc_simple": (WSC_RECORD, [("wsc: Ana said *she* left", "Ana")]),
}


@pytest.mark.parametrize("family", UNFOLDED)
def test_published_records_of_several_examples(family, tmp_path):
    """Both splits of the file; every example of a line has an id of its own."""
    record, texts = UNFOLDED[family]
    for split in ("train", "val"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(record) + "\n")
    config = config_for(f"local_{family}_zeroshot", local_task_files=f"{tmp_path}/*.jsonl")
    check_data(config, 512)
    (found,) = evaluation_sets(config, "validation")
    assert (found.task, found.language) == (f"local_{family}_eval.en", "en")
    assert [(one.inputs, one.targets) for one in found.examples] == texts
    assert len({one.id for one in found.examples}) == len(texts)
    assert set(found.score([target for _, target in texts]).values()) == {100}
    if family == "super_glue_multirc":  # by question: the first has a wrong answer
        assert found.score(["True", "True", "False"])["exact_match"] == 50
    (store,) = open_stores(config, resolve_vocabulary(config), prepared_root=tmp_path / "stores")
    assert store.documents_with(split="train").size == len(texts)


def test_files_of_wsc_are_trained_on_right_referents(tmp_path):
    rows = [WSC_RECORD, {**WSC_RECORD, "label": False}]
    for split in ("train", "dev"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(lines)
    files = f"{tmp_path}/*.jsonl"
    config = config_for("local_super_glue_wsc_simple_zeroshot", local_task_files=files)
    (store,) = open_stores(config, resolve_vocabulary(config), prepared_root=tmp_path / "stores")
    assert store.documents_with(split="train").size == 1
    (found,) = evaluation_sets(config, "validation")
    assert found.score(["Ana", "Ana"]) == {"accuracy": 50} and found.score(["Ana", "Ben"]) == {
        "accuracy": 100
    }


def without(record, *path):
    """A copy without a part."""
    found = json.loads(json.dumps(record))
    place = found
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    return found


BROKEN = {
    "glue_stsb": [
        ({"sentence1": "a", "sentence2": "b", "label": 5.5}, "must be a number from 0 to 5"),
        ({"sentence1": "a", "sentence2": "b", "label": True}, "must be a number from 0 to 5"),
        ({"sentence1": "a", "sentence2": "b", "label": "x"}, "must be a number from 0 to 5"),
    ],
    "glue_cola": [({"sentence": "a", "label": True}, "one of ['unacceptable', 'acceptable'] or 0")],
    "super_glue_multirc": [
        (without(MULTIRC, "passage", "questions"), "no field 'questions'"),
        (without(MULTIRC, "passage", "text"), "paragraph=None must be a non-empty string"),
        (without(MULTIRC, "passage", "questions", 0, "answers", 0, "label"), "no field 'label'"),
        (without(MULTIRC, "passage", "questions", 0, "idx"), "question=None must be a whole"),
        ({**MULTIRC, "passage": {"text": "a", "questions": []}}, "must be a list of objects"),
        ({"paragraph": "a", "question": "b", "answer": "c", "label": 1}, "no field 'idx'"),
    ],
    "super_glue_record": [
        (without(RECORD, "qas", 0, "answers"), "no field 'answers'"),
        (without(RECORD, "passage", "entities"), "no field 'entities'"),
        ({**RECORD, "passage": "text"}, "passage='text' must be an object"),
        (
            {**RECORD, "passage": {"text": "a", "entities": [{"start": 0, "end": 1}]}},
            "an entity lies outside the passage of 1 characters",
        ),
    ],
    "super_glue_wsc": [
        (
            {**WSC_RECORD, "text": "she left", "target": {**SPANS, "span2_index": 0}},
            "is not word span2_index=0",
        ),
        ({**WSC_RECORD, "target": {**SPANS, "span2_index": 3}}, "is not word span2_index=3"),
        ({**WSC_RECORD, "target": 3}, "target=3 must be an object"),
    ],
    "dpr": [
        (
            {"sentence": "a he b", "pronoun": "he", "candidates": ["x", "y"], "label": "z"},
            "label='z' must be one of ['x', 'y']",
        )
    ],
}


@pytest.mark.parametrize("family", BROKEN)
def test_broken_records_say_what_is_wrong(family, tmp_path):
    records, messages = zip(*BROKEN[family])
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    examples = find_examples(family, str(tmp_path))
    assert [problem.line for problem in examples.problems] == [*range(1, len(records) + 1)]
    for problem, message in zip(examples.problems, messages):
        assert message in problem.message, problem
    unfold = FAMILIES[family].unfold or (lambda record: [record])
    for record in records:
        with pytest.raises(BrokenRecordError):
            [*map(FAMILIES[family].read, unfold(record))]


def test_a_family_is_the_longest_name_that_fits():
    assert local_family("local_super_glue_wsc_eval.en") == "super_glue_wsc"
    assert local_family("local_super_glue_wsc_simple_eval.en") == "super_glue_wsc_simple"
    assert local_family("local_glue_mnli_multilingual") == "glue_mnli"
    assert local_family("local_glue_zeroshot") is None


def test_other_languages_of_a_benchmark(tmp_path):
    row = {"premise": "Ni mvua.", "hypothesis": "Ni baridi.", "label": "neutral"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "dev.sw.jsonl").write_text(json.dumps({**row, "label": 1}) + "\n")
    config = config_for("local_super_glue_cb_zeroshot", local_task_files=str(tmp_path))
    found = [task.name for task in find_provider(config).tasks]
    assert sorted(found) == ["local_super_glue_cb_eval.sw", "local_super_glue_cb_train.en"]
    (judged,) = evaluation_sets(config, "validation")
    assert (judged.language, judged.examples[0].targets) == ("sw", "contradiction")
