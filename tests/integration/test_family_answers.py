"""Decoders and classifiers from pre-training to answers, judged on the way and afterwards."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import evaluate, opened_run, train
from presence_t5x.checkpoint import load_model
from presence_t5x.config import load_config
from presence_t5x.data.vocabularies import load_vocabulary
from presence_t5x.models.families import build_model

WORDS = ("rain", "wind", "snow")  # of the labels 0, 1 and 2
SIZES = {
    "vocab_size": None,
    "emb_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "mlp_dim": 16,
    "num_layers": 1,
}
LENGTH, STEPS = 48, 3
FAMILIES = {
    "decoder": (
        "decoder_only_tiny",
        {f"DecoderOnlyConfig.{name}": value for name, value in SIZES.items()}
        | {"DecoderOnlyConfig.num_kv_heads": 1},
        {"OBJECTIVE": "next_token", "TASK_FEATURE_LENGTHS": {"targets": LENGTH}},
        {"OBJECTIVE": "prefix", "TASK_FEATURE_LENGTHS": {"inputs": LENGTH, "targets": 16}},
    ),
    "classifier": (
        "encoder_only_tiny",
        {f"EncoderOnlyConfig.{name}": value for name, value in SIZES.items()},
        {"OBJECTIVE": "masked_tokens", "TASK_FEATURE_LENGTHS": {"inputs": LENGTH}},
        {
            "OBJECTIVE": "classification",
            "TASK_FEATURE_LENGTHS": {"inputs": LENGTH},
            "EncoderOnlyConfig.num_classes": 3,
        },
    ),
}


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Runs are compiled for one of the eight devices, which takes a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opened_run, "make_mesh", lambda config: None)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for name, number in (("train.en", 48), ("dev.en", 12), ("test.en", 9), ("test.sw", 7)):
        rows = [
            {"premise": f"{i} {WORDS[i % 3]}", "hypothesis": "so", "label": i % 3}
            for i in range(number)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [{"text": f"{WORDS[i % 3]} {i} and so on"} for i in range(60)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    return folder


def prepare(run_file, family, model_dir, **settings):
    model_file, sizes, _, _ = FAMILIES[family]
    values = {
        "MODEL_DIR": str(model_dir),
        "VOCABULARY_FILE": "bytes",
        "BATCH_SIZE": 16,
        "DROPOUT_RATE": 0.0,
        "LEARNING_RATE_FACTORS": "constant",
        "BASE_LEARNING_RATE": 0.01,
        **sizes,
        **settings,
    }
    bindings = [f"{name}={value!r}" for name, value in values.items()]
    files = [f"configs/runs/{run_file}.gin", f"configs/models/{model_file}.gin"]
    return train.prepare(load_config(files, bindings))


def finetune(family, model_dir, initial, files, **settings):
    values = {
        "INITIAL_CHECKPOINT": str(initial),
        "MIXTURE_OR_TASK_NAME": "local_nli_zeroshot",
        "LOCAL_TASK_FILES": f"{files}/*.en.jsonl",
        "EVAL_METRIC": "accuracy",
        "EVAL_PERIOD": 1,
        "EVAL_ROWS": 8,
        "CHECKPOINT_PERIOD": 1,
        "KEEP_CHECKPOINTS": 2,
        "TRAIN_STEPS_RELATIVE": STEPS,
        **FAMILIES[family][3],
        **settings,
    }
    return prepare("finetune_local", family, model_dir, **values)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


def pretrain(family, model_dir, files):
    settings = {
        "LOCAL_TEXT_FILES": f"{files}/corpus.jsonl",
        "PREPARED_DIR": f"{files}/{family}",
        "PACK": True,
        "TRAIN_STEPS": 2,
        "NUM_MICROBATCHES": 2,
        "SWITCH_STEP": 1,
        "EVAL_PERIOD": 100,
        "CHECKPOINT_PERIOD": 1,
        **FAMILIES[family][2],
    }
    return train.train(prepare("pretrain_local", family, model_dir, **settings))


@pytest.fixture(scope="module")
def pretrained(family, files, tmp_path_factory):
    """The directory of a weighted pre-training run of two steps, and its last state."""
    model_dir = tmp_path_factory.mktemp(family) / "pretrained"
    return model_dir, pretrain(family, model_dir, files)


@pytest.fixture(scope="module")
def initial(pretrained):
    return pretrained[0]


@pytest.fixture(scope="module")
def finetuned(family, initial, files, tmp_path_factory):
    """The directory of a run from there."""
    model_dir = tmp_path_factory.mktemp(family) / "finetuned"
    train.train(finetune(family, model_dir, initial, files))
    return model_dir


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def evaluated(capsys, checkpoint, files, **options):
    values = {"checkpoint": checkpoint, "task": "local_nli_multilingual", "batch_size": 4}
    values |= {"task_files": f"{files}/t*.jsonl", **options}
    arguments = [f"--{name}={value}" for name, value in values.items()]
    assert evaluate.main([*arguments, "--full_inputs", "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_stopped_and_resumed_equals_uninterrupted(family, pretrained, files, tmp_path):
    whole, state = pretrained
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2")
    resumed = pretrain(family, tmp_path / "run", files)
    jax.tree.map(np.testing.assert_array_equal, resumed, state)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (
        whole / "metrics.jsonl"
    ).read_bytes()


def test_a_resumed_fine_tuning_equals_the_uninterrupted(
    family, initial, finetuned, files, tmp_path
):
    shutil.copytree(finetuned, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "5")
    resumed = train.train(finetune(family, tmp_path / "run", initial, files))
    _, params = load_model(finetuned / "checkpoints" / "5")
    jax.tree.map(np.testing.assert_array_equal, resumed.params, params)
    for name in ("metrics.jsonl", "evaluation.jsonl", "tasks.jsonl", "best.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finetuned / name).read_bytes(), name


def test_a_run_starts_from_the_other_objectives_model(family, initial, files, tmp_path):
    """All parameters but those of a head that it does not have."""
    run = finetune(family, tmp_path / "run", initial, files)
    fresh = train.initial_state(run.config, run.objective)
    started = train.initial_checkpoint.start_from(run.initial, fresh).params
    _, pretrained = load_model(initial)
    new = {"decoder": set(), "classifier": {"classifier", "classes"}}[family]
    assert new == started.keys() - pretrained.keys()
    for name, part in started.items():
        source = fresh.params if name in new else pretrained
        jax.tree.map(np.testing.assert_array_equal, part, source[name])


def test_answers_after_a_run_score_as_those_on_the_way(family, finetuned, files, capsys, tmp_path):
    best = json.loads((finetuned / "best.json").read_text())
    assert [row["step"] for row in read(finetuned / "tasks.jsonl")] == [3, 4, 5]
    options = {"task": "local_nli_zeroshot", "split": "validation", "select": "best"}
    files = {"task_files": f"{files}/*.en.jsonl", "output_dir": tmp_path / "out"}
    found = evaluated(capsys, finetuned, None, **options, **files)
    assert (found["step"], found["scores"][0]["value"]) == (best["step"], best["value"])
    assert found["scores"][0]["num_examples"] == 12


def by_hand(family, model_dir, text, of_pairs=True):
    """Returns the answer to one example by the whole model, without caches and batches.

    A decoder of pairs sees all of its inputs at once, and EOS behind them.
    """
    vocabulary = load_vocabulary("bytes")
    model, params = load_model(model_dir)
    module = build_model(model.config)
    ids = vocabulary.encode(text)
    if family == "classifier":
        begin = vocabulary.vocab_size - 2  # <extra_id_1>, the second from the end
        tokens = jnp.array([[begin, *ids[: LENGTH - 2], 1]])
        logits = module.apply({"params": params}, tokens, enable_dropout=False)[0, 0]
        return str(int(logits.argmax())), float(jax.nn.log_softmax(logits).max())
    inputs, answer, score = [*ids[: LENGTH - 1], 1] if of_pairs else ids[:LENGTH], [], 0.0
    places = np.arange(LENGTH + 17)
    while len(answer) < 16 and 1 not in answer:
        tokens = np.zeros(len(places), np.int32)
        line = [0, *inputs, *answer]
        is_prefix = (places <= len(inputs))[None].astype(np.int32)
        tokens[: len(line)] = line
        logits = module.apply(
            {"params": params},
            tokens[None],
            (places < len(line))[None].astype(np.int32),
            decoder_causal_attention=is_prefix if of_pairs else None,
            enable_dropout=False,
        )[0, len(line) - 1]
        answer.append(int(logits.argmax()))
        score += float(jax.nn.log_softmax(logits).max())
    return vocabulary.decode(answer), score


def test_answers_are_those_of_the_whole_model(family, finetuned, files, capsys, tmp_path):
    found = evaluated(capsys, finetuned, files, output_dir=tmp_path)
    assert {row["language"]: row["num_examples"] for row in found["scores"]} == {"en": 9, "sw": 7}
    protocol = found["protocol"]
    if family == "classifier":
        assert (protocol["decoding"], protocol["labels"]) == ("most probable label", list("012"))
    else:
        assert (protocol["decoding"], protocol["max_length"]) == ("greedy", 16)
    for path in found["predictions"].values():
        for row in read(tmp_path / path)[:3]:
            answer, score = by_hand(family, finetuned, row["inputs"])
            assert row["prediction"] == answer
            assert row["score"] == pytest.approx(score, rel=1e-4)


def refused(capsys, checkpoint, files, tmp_path, **options):
    values = {"checkpoint": checkpoint, "task": "local_nli_zeroshot", "output_dir": tmp_path / "no"}
    values |= {"task_files": f"{files}/*.en.jsonl", **options}
    assert evaluate.main([f"--{name}={value}" for name, value in values.items()]) == 2
    (error,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    return error


BAD = {
    "decoder": [({"input_length": 0}, "--input_length=0 must be >= 1")],
    "classifier": [
        ({"num_beams": 2}, "num_beams=2 belongs to models that answer in words; EncoderOnlyConfig"),
        ({"max_decode_length": 9}, "max_decode_length=9 belongs to models that answer in words"),
        ({"input_length": 600}, "['inputs']=600 must be <= max_positions=512"),
    ],
}


def test_what_does_not_fit_the_model_is_refused(family, finetuned, files, capsys, tmp_path):
    for options, message in BAD[family]:
        assert message in refused(capsys, finetuned, files, tmp_path, **options), message


def test_a_model_of_text_alone_goes_on_with_it_or_answers_nothing(
    family, initial, files, capsys, tmp_path
):
    if family == "classifier":
        message = "EncoderOnlyConfig without classes answers nothing; fine-tune it with"
        assert message in refused(capsys, initial, files, tmp_path, input_length=LENGTH)
        return
    # Its run tells how long its rows were, not answers.
    message = "nothing tells how long inputs and answers are; give --input_length and --max_decode"
    assert message in refused(capsys, initial, files, tmp_path, input_length=LENGTH)
    lengths = {"input_length": LENGTH, "max_decode_length": 16}
    found = evaluated(capsys, initial, files, output_dir=tmp_path, **lengths)
    for path in found["predictions"].values():
        row = read(tmp_path / path)[0]
        answer, score = by_hand(family, initial, row["inputs"], of_pairs=False)
        assert row["prediction"] == answer
        assert row["score"] == pytest.approx(score, rel=1e-4)


def test_labels_that_are_not_the_classes_are_refused(family, initial, files, tmp_path):
    if family == "classifier":
        message = "has the 3 labels ['0', '1', '2'], but the model has num_classes=2; set Encoder"
        with pytest.raises(ValueError, match=re.escape(message)):
            classes = {"EncoderOnlyConfig.num_classes": 2}
            own = {"INITIAL_CHECKPOINT": None, "EVAL_TASK": None, "SELECTION": "last", **classes}
            finetune(family, tmp_path / "run", initial, files, **own)


OTHERS = {
    "decoder": {"DecoderOnlyConfig.num_layers": 2},
    "classifier": {"EncoderOnlyConfig.num_classes": 2},  # where there are three already
}


def test_another_model_is_refused(files, finetuned, family, tmp_path):
    (setting,) = OTHERS[family]
    message = re.escape(f"{setting.split('.')[1]}=") + r"\d there, 2 here"
    with pytest.raises(ValueError, match=message):
        finetune(family, tmp_path, finetuned, files, **OTHERS[family])
