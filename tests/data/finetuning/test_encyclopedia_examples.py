"""Fine-tuning tasks of the encyclopedia and evaluation by language, offline from end to end."""

import dataclasses

import numpy as np
import pytest
import seqio

from presence_t5x import tasks
from presence_t5x.config_types import DataConfig
from presence_t5x.data.encyclopedia import LANGUAGES, EncyclopediaConfig
from presence_t5x.data.encyclopedia.labelled import generate_ner, generate_nli, generate_qa
from presence_t5x.data.encyclopedia.vocabulary import vocabulary_file
from presence_t5x.data.evaluation import evaluation_batches
from presence_t5x.data.finetuning.entity_tags import spans_of_tags
from presence_t5x.data.finetuning.evaluation_sets import evaluation_sets
from presence_t5x.data.sources import check_data, open_batches
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.tasks import encyclopedia_examples

FAMILIES = ("nli", "qa", "ner")
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 24, 9, 12
CONFIG = DataConfig(
    mixture_or_task_name="encyclopedia_multitask_zeroshot",
    task_feature_lengths={"inputs": 128, "targets": 32},
    batch_size=32,
)


@pytest.fixture(autouse=True)
def few_examples(monkeypatch):
    ranges = {
        "train": ("train", 0, NUM_TRAIN),
        "validation": ("validation", 0, NUM_VALIDATION),
        "test": ("validation", NUM_VALIDATION, NUM_TEST),
    }
    monkeypatch.setattr(encyclopedia_examples, "_RANGES", ranges)
    tasks.register_encyclopedia_examples()


def config_for(name, **changes):
    return dataclasses.replace(CONFIG, mixture_or_task_name=name, **changes)


def members(name, split):
    mixture = seqio.MixtureRegistry.get(name)
    assert {mixture.get_rate(task) for task in mixture.tasks} == {1.0}
    return {task.name for task in mixture.tasks if split in task.splits}


def names(kind, languages, families=FAMILIES):
    return {f"encyclopedia_{family}_{kind}.{code}" for family in families for code in languages}


@pytest.mark.parametrize("families", [FAMILIES, *((family,) for family in FAMILIES)])
def test_mixtures_train_on_english_or_on_all_and_are_judged_in_all(families):
    prefix = f"encyclopedia_{families[0] if len(families) == 1 else 'multitask'}"
    for setting, languages in (("zeroshot", ["en"]), ("translate_train", LANGUAGES)):
        name = f"{prefix}_{setting}"
        assert members(name, "train") == names("train", languages, families)
        for split in ("validation", "test"):
            assert members(name, split) == names("eval", LANGUAGES, families)


def test_examples_are_those_of_the_generators():
    config = EncyclopediaConfig(languages=("sw",))
    total = NUM_VALIDATION + NUM_TEST
    for split, chosen, size in (
        ("train", slice(None), NUM_TRAIN),
        ("validation", slice(0, NUM_VALIDATION), total),
        ("test", slice(NUM_VALIDATION, None), total),
    ):
        kind = "train" if split == "train" else "eval"
        stream = "train" if split == "train" else "validation"
        settings = {"split": stream, "num_examples": size}
        (nli,) = evaluation_sets(config_for(f"encyclopedia_nli_{kind}.sw"), split)
        for example, raw in zip(
            nli.examples, generate_nli(config, **settings)[chosen], strict=True
        ):
            text = f"xnli: premise: {raw['premise']} hypothesis: {raw['hypothesis']}"
            assert (example.inputs, example.gold) == (text, str(raw["label"]))
            assert (example.id, example.language) == (raw["id"], "sw")
        (ner,) = evaluation_sets(config_for(f"encyclopedia_ner_{kind}.sw"), split)
        for example, raw in zip(
            ner.examples, generate_ner(config, **settings)[chosen], strict=True
        ):
            assert example.inputs == f"tag: {' '.join(raw['tokens'])}"
            spans = spans_of_tags(raw["tokens"], raw["tags"])
            assert example.gold == (" $$ ".join(spans) if spans else "None")
            assert example.fields["tags"] == raw["tags"]
        (found,) = evaluation_sets(config_for(f"encyclopedia_qa_{kind}.sw"), split)
        for example, raw in zip(
            found.examples, generate_qa(config, **settings)[chosen], strict=True
        ):
            assert example.gold == [text.strip() for text in raw["answers"]["text"]]
            assert example.inputs.startswith("question: ") and " context: " in example.inputs


def test_languages_are_translations_of_one_another():
    sets = evaluation_sets(config_for("encyclopedia_nli_zeroshot"), "test")
    assert [found.language for found in sets] == sorted(LANGUAGES)
    labels = {tuple(example.gold for example in found.examples) for found in sets}
    ids = {tuple(example.id for example in found.examples) for found in sets}
    assert len(labels) == len(ids) == 1
    assert sorted(labels.pop()) == ["0"] * 4 + ["1"] * 4 + ["2"] * 4


def test_perfect_and_useless_predictions():
    for family, right in (("nli", 100), ("qa", 100), ("ner", pytest.approx(1))):
        config = config_for(f"encyclopedia_{family}_translate_train")
        for found in evaluation_sets(config, "validation", max_examples=6):
            vocabulary = load_vocabulary(vocabulary_file())
            written = [
                vocabulary.decode(vocabulary.encode(example.targets)) for example in found.examples
            ]
            scores = found.score(written)
            assert next(iter(scores.values())) == right, (family, found.language)
            assert all(value == right for value in scores.values())
            assert set(found.score(["?"] * 6).values()) == {0}
    with pytest.raises(ValueError, match="5 predictions for the 6 examples of 'encyclopedia_ner"):
        found.score(["?"] * 5)


def test_a_run_on_all_tasks_at_once(tmp_path):
    config = config_for("encyclopedia_multitask_zeroshot")
    assert check_data(config, 4096).vocab_size == 4096
    batches = open_batches(config, prepared_root=tmp_path)
    seen = [batches.batch_at(step) for step in range(32)]
    rows = [name for batch in seen for name in batch.example_ids]
    counts = {
        family: sum(name.startswith(f"encyclopedia_{family}_train.en/") for name in rows)
        for family in FAMILIES
    }
    assert sum(counts.values()) == len(rows) == 1024
    assert set(counts.values()) == {341, 342}  # a third each, exact to a row
    assert {code for batch in seen for code in batch.languages} == {"en"}
    # The held-out loss is that of every language.
    held_out = evaluation_batches(config, rows_per_group=5, prepared_root=tmp_path)
    languages = [code for batch in held_out for code in batch.languages if code]
    assert {code: languages.count(code) for code in languages} == dict.fromkeys(LANGUAGES, 5)


@pytest.mark.parametrize("spec", [None, "bytes"])
def test_a_run_chooses_the_vocabulary(spec, tmp_path):
    config = config_for("encyclopedia_qa_zeroshot", vocabulary_file=spec)
    vocabulary = load_vocabulary(spec or vocabulary_file())
    assert check_data(config, 4096).vocab_size == vocabulary.vocab_size
    config = dataclasses.replace(config, reader="streaming")
    batch = next(open_batches(config, prepared_root=tmp_path))
    tokens = batch.features["encoder_input_tokens"][0]
    assert vocabulary.decode(tokens[tokens > 1].tolist()).startswith("question: ")
    assert batch.features["decoder_loss_weights"].any(axis=1).all()


def test_streams_resume_identically(tmp_path):
    config = config_for("encyclopedia_nli_zeroshot", reader="streaming")
    whole = open_batches(config, prepared_root=tmp_path)
    next(whole)
    state = whole.get_state()
    expected = next(whole)
    resumed = open_batches(config, prepared_root=tmp_path)
    resumed.set_state(state)
    found = next(resumed)
    assert found.example_ids == expected.example_ids
    for name, array in expected.features.items():
        assert np.array_equal(found.features[name], array)


WRONG = [
    (
        "encyclopedia_nli_zeroshot",
        "dev",
        r"no split 'dev'; it has \['test', 'train', 'validation'\]",
    ),
    ("encyclopedia", "validation", "task 'encyclopedia' has no metric or gives no pairs"),
    ("encyclopedia_nli_zeroshoot", "test", "did you mean 'encyclopedia_nli_zeroshot'"),
]


@pytest.mark.parametrize(("name", "split", "message"), WRONG)
def test_what_cannot_be_judged_is_named(name, split, message):
    with pytest.raises(ValueError, match=message):
        evaluation_sets(config_for(name), split)
    with pytest.raises(ValueError, match="max_examples=0 must be >= 1"):
        evaluation_sets(config_for(name), split, max_examples=0)
