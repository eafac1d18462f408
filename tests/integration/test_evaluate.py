"""Fine-tuning that is judged on the way, and the command that judges any checkpoint."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from tiny_model import SIZES

from presence_t5x import evaluate, tasks, train
from presence_t5x.checkpoint import load_model
from presence_t5x.config import load_config
from presence_t5x.config_types import DecodingConfig, T5Config
from presence_t5x.convert import tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.conversion import Conversion, convert
from presence_t5x.convert.writers import write_checkpoint
from presence_t5x.data.encyclopedia import LANGUAGES
from presence_t5x.decode import make_decoder
from presence_t5x.models.families import init_params
from presence_t5x.tasks import encyclopedia_examples

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 48, 12, 5
START, STEPS, PERIOD = 5, 16, 4
LENGTHS = {"inputs": 96, "targets": 8}
TASK = "encyclopedia_nli_zeroshot"
FILE = "configs/runs/finetune_encyclopedia.gin"


@pytest.fixture(scope="module", autouse=True)
def few_examples():
    ranges = {
        "train": ("train", 0, NUM_TRAIN),
        "validation": ("validation", 0, NUM_VALIDATION),
        "test": ("validation", NUM_VALIDATION, NUM_TEST),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encyclopedia_examples, "_RANGES", ranges)
        # Sources keep the numbers that they are made with: make them, now and afterwards.
        tasks.register_encyclopedia_examples("bytes")
        tasks.register_encyclopedia_examples()
        yield
    tasks.register_encyclopedia_examples("bytes")
    tasks.register_encyclopedia_examples()


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    """Random parameters at step 5."""
    folder = tmp_path_factory.mktemp("initial") / "random"
    model = T5Config(vocab_size=4096, dtype="float32", **SIZES)
    params = init_params(model, jax.random.key(3))
    write_checkpoint(
        folder, Content(model, tensors.of_tree(params, "random"), None, START), "presence"
    )
    return folder


@pytest.fixture(scope="module")
def settings(initial, tmp_path_factory):
    return {
        "INITIAL_CHECKPOINT": str(initial),
        "MIXTURE_OR_TASK_NAME": TASK,
        "PREPARED_DIR": str(tmp_path_factory.mktemp("prepared")),
        "TASK_FEATURE_LENGTHS": LENGTHS,
        "TRAIN_STEPS_RELATIVE": STEPS,
        "BATCH_SIZE": 16,
        "BASE_LEARNING_RATE": 0.2,
        "CHECKPOINT_PERIOD": PERIOD,
        "KEEP_CHECKPOINTS": None,
        "EVAL_PERIOD": 1,
        "EVAL_EXAMPLES": None,
        "EVAL_METRIC": "accuracy",
        "EVAL_ROWS": 8,
        "LOG_PERIOD": 1,
        "T5Config.vocab_size": None,
        **{f"T5Config.{name}": value for name, value in SIZES.items()},
    }


def prepare(model_dir, settings, **changes):
    values = {"MODEL_DIR": str(model_dir), **settings, **changes}
    return train.prepare(load_config([FILE], [f"{k}={v!r}" for k, v in values.items()]))


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """The directory of an uninterrupted run, and its last state."""
    model_dir = tmp_path_factory.mktemp("run") / "whole"
    return model_dir, train.train(prepare(model_dir, settings))


def read(path):
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def checkpoints(model_dir):
    names = [path.name for path in (model_dir / "checkpoints").iterdir()]
    return sorted(int(name) for name in names if name.isdigit())


def assert_identical(left, right):
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), left, right
    )


def test_every_evaluation_is_logged_and_the_best_is_kept(whole):
    model_dir, _ = whole
    evaluations = read(model_dir / "tasks.jsonl")
    assert [row["step"] for row in evaluations] == list(range(START + 1, START + STEPS + 1))
    for evaluation in evaluations:
        (row,) = evaluation["rows"]  # English alone
        assert (row["task"], row["language"]) == ("encyclopedia_nli_eval.en", "en")
        assert (row["metric"], row["num_examples"]) == ("accuracy", NUM_VALIDATION)
        assert evaluation["value"] == row["value"] == evaluation["averages"][0]["value"]
    values = [evaluation["value"] for evaluation in evaluations]
    assert len(set(values)) > 1, "the test needs values that differ"
    best = json.loads((model_dir / "best.json").read_text())
    first = min(i for i, value in enumerate(values) if value == max(values))
    assert (best["step"], best["value"]) == (START + 1 + first, max(values))
    assert best["rule"]["languages"] == ["en"] and best["rule"]["split"] == "validation"
    improving = {i for i in range(STEPS) if i == 0 or values[i] > max(values[:i])}
    periodic = {step for step in range(START + 1, START + STEPS) if step % PERIOD == 0}
    saved = {START + 1 + i for i in improving} | periodic | {START + STEPS}
    assert checkpoints(model_dir) == sorted(saved)


def test_judging_changes_nothing_that_is_learnt(whole, settings, tmp_path):
    changes = {"EVAL_TASK": None, "SELECTION": "last", "EVAL_PERIOD": 100}
    state = train.train(prepare(tmp_path / "run", settings, **changes))
    assert_identical(state, whole[1])
    assert not (tmp_path / "run" / "best.json").exists()


def test_resumed_equals_uninterrupted_and_keeps_the_best(whole, settings, tmp_path):
    """What a kill leaves, with evaluations beyond the checkpoint and a choice made by them."""
    source, state = whole
    model_dir = tmp_path / "resumed"
    shutil.copytree(source, model_dir)
    stopped_at = checkpoints(source)[1]
    for step in checkpoints(model_dir):
        if step > stopped_at:
            shutil.rmtree(model_dir / "checkpoints" / str(step))
    with (model_dir / "tasks.jsonl").open("a") as file:
        file.write('{"step": 14, "ro')
    # How many are kept may change.
    resumed = train.train(prepare(model_dir, settings, KEEP_CHECKPOINTS=1))
    assert_identical(resumed, state)
    for name in ("tasks.jsonl", "metrics.jsonl", "evaluation.jsonl", "best.json"):
        assert (model_dir / name).read_bytes() == (source / name).read_bytes(), name
    best = json.loads((source / "best.json").read_text())["step"]
    assert checkpoints(model_dir) == sorted({best, START + STEPS})


BAD_RUNS = {
    "metric": ({"EVAL_METRIC": "f2"}, r"EVAL_METRIC: .* has no metric 'f2'; it has \['accuracy'\]"),
    "split": ({"EVAL_SPLIT": "tset"}, r"has no split 'tset'; it has \['test', 'train', 'valid"),
    "language": ({"EVAL_LANGUAGES": ("xx",)}, r"nothing in the language 'xx' .* it has \['ar', "),
    "task": ({"EVAL_TASK": "encyclopedia_nli_zerosot"}, "did you mean 'encyclopedia_nli_zeroshot'"),
    "vocabulary": ({"VOCABULARY_FILE": "bytes", "T5Config.vocab_size": 384}, "another model"),
    "steps": (
        {"TRAIN_STEPS": 9},
        f"train_steps=9 and train_steps_relative={STEPS} exclude each other",
    ),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_runs_that_cannot_be_judged_are_refused_at_once(case, settings, tmp_path):
    changes, message = BAD_RUNS[case]
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "run", settings, **changes)
    assert not (tmp_path / "run").exists()


def command(checkpoint, task=TASK, **options):
    values = {"checkpoint": checkpoint, "task": task, "batch_size": 16, **options}
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in values.items()
        if value is not None
    ]


def scores_of(capsys, checkpoint, *arguments, **options):
    """Runs the command and returns what it prints, after comparing that with its file."""
    assert evaluate.main([*command(checkpoint, json=True, **options), *arguments]) == 0
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    if "output_dir" in options:
        assert found == json.loads((options["output_dir"] / "scores.json").read_text())
    return found


def test_all_languages_of_all_families_from_end_to_end(whole, tmp_path, capsys):
    """Zero-shot: 24 sets, whose scores follow from the answers in the files."""
    found = scores_of(
        capsys, whole[0], task="encyclopedia_multitask_zeroshot", split="test", output_dir=tmp_path
    )
    families = {"nli": "accuracy", "qa": "f1", "ner": "span_f1"}
    keys = [f"encyclopedia_{family}_eval.{code}" for family in families for code in LANGUAGES]
    assert sorted(found["predictions"]) == sorted(keys)
    assert (found["step"], found["split"]) == (START + STEPS, "test")
    assert found["checkpoint"] == str((whole[0] / "checkpoints" / str(START + STEPS)).absolute())
    protocol = found["protocol"]
    assert (protocol["decoding"], protocol["num_beams"]) == ("greedy", None)
    assert (protocol["max_length"], protocol["input_length"]) == (8, 96)
    table = {(row["task"], row["metric"]): row for row in found["scores"]}
    for family, metric in families.items():
        values = []
        for code in LANGUAGES:
            task = f"encyclopedia_{family}_eval.{code}"
            row = table[task, metric]
            assert (row["language"], row["num_examples"]) == (code, NUM_TEST)
            rows = read(tmp_path / found["predictions"][task])
            assert len(rows) == NUM_TEST and all(one["score"] <= 0 for one in rows)
            values.append(row["value"])
            if family == "nli":
                right = [one["prediction"] == one["targets"] for one in rows]
                assert row["value"] == pytest.approx(100 * np.mean(right))
            if family == "ner":
                right, predicted, gold = (
                    sum(one["values"][name] for one in rows)
                    for name in ("true_positives", "predicted", "gold")
                )
                assert row["value"] == pytest.approx(2 * right / max(predicted + gold, 1))
            else:
                mean = np.mean([one["values"][metric] for one in rows])
                assert row["value"] == pytest.approx(mean)
        (average,) = [
            one
            for one in found["averages"]
            if (one["task"], one["metric"]) == (f"encyclopedia_{family}_eval", metric)
        ]
        assert sorted(average["languages"]) == sorted(LANGUAGES)
        assert average["value"] == pytest.approx(np.mean(values))


def test_the_best_checkpoint_scores_as_it_did_in_training(whole, capsys):
    best = json.loads((whole[0] / "best.json").read_text())
    found = scores_of(
        capsys, whole[0], task="encyclopedia_nli_eval.en", split="validation", select="best"
    )
    assert (found["step"], found["scores"][0]["value"]) == (best["step"], best["value"])
    assert found["protocol"]["selection_rule"] == best["rule"]
    place = whole[0] / "evaluations" / f"encyclopedia_nli_eval.en.validation.{best['step']}"
    assert json.loads((place / "scores.json").read_text()) == found


@pytest.fixture(scope="module")
def elsewhere(whole, tmp_path_factory):
    """The last checkpoint in the other formats."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("t5x", "hf"):
        convert(
            Conversion(
                source=whole[0],
                target=folder / name,
                source_format="presence",
                target_format=name,
                check=False,
            )
        )
    return folder


QA = "encyclopedia_qa_eval.sw"


@pytest.mark.parametrize("name, step", [("t5x", START + STEPS), ("hf", 0)])
def test_checkpoints_of_other_libraries_answer_alike(
    name, step, elsewhere, whole, tmp_path, capsys
):
    lengths = {"input_length": 96, "max_decode_length": 8}
    scores_of(capsys, whole[0], task=QA, output_dir=tmp_path / "ours", overwrite=True)
    found = scores_of(capsys, elsewhere / name, task=QA, output_dir=tmp_path / name, **lengths)
    assert found["step"] == step and not found["problems"]
    ours, theirs = (
        [one["prediction"] for one in read(tmp_path / folder / "predictions" / f"{QA}.jsonl")]
        for folder in ("ours", name)
    )
    assert ours == theirs and any(ours)
    gin = [f"--gin_file={FILE}", f"--gin.TASK_FEATURE_LENGTHS={LENGTHS!r}"]
    again = scores_of(capsys, elsewhere / name, *gin, task=QA, output_dir=tmp_path / name)
    assert again == found


def test_a_stopped_evaluation_takes_its_answers_up(whole, tmp_path, capsys):
    """Planted answers show that nothing was decoded again; other settings are refused."""
    options = {"task": QA, "output_dir": tmp_path, "max_examples": 3}
    first = scores_of(capsys, whole[0], **options)
    path = tmp_path / "predictions" / f"{QA}.jsonl"
    rows = read(path)
    assert len(rows) == 3
    planted = [json.dumps(row | {"prediction": row["answers"][0]}) for row in rows]
    path.write_text("".join(f"{line}\n" for line in planted))
    (tmp_path / "scores.json").unlink()
    again = scores_of(capsys, whole[0], **options)
    assert again["scores"][1]["metric"] == "f1" and again["scores"][1]["value"] == 100
    assert first["scores"][1]["value"] < 100
    assert evaluate.main(command(whole[0], **{**options, "num_beams": 2})) == 2
    assert "num_beams=None there, 2 here" in capsys.readouterr().err
    beams = scores_of(capsys, whole[0], **options, num_beams=2, overwrite=True)
    assert beams["protocol"]["decoding"] == "beam search (t5x)"
    assert (beams["protocol"]["num_beams"], beams["protocol"]["alpha"]) == (2, 0.6)


BAD_COMMANDS = {
    "split": ({"split": "tset"}, "has no split 'tset'; it has ['test', 'validation']"),
    "vocabulary": ({"vocabulary": "bytes"}, "but the task 'encyclopedia_nli_eval.sw' has 'bytes'"),
    "task": ({"task": "encyclopedia_nli_evl.sw"}, "did you mean 'encyclopedia_nli_eval.sw'"),
    "no metric": (
        {"task": "encyclopedia", "split": "validation"},
        "'encyclopedia' has no metric or gives no pairs",
    ),
    "beams": ({"num_beams": 0}, "--num_beams=0 must be >= 1"),
    "checkpoint": ({"checkpoint": "/nowhere"}, "/nowhere does not exist"),
    "argument": ({"beams": 4}, "unrecognized arguments: --beams=4; --help lists the arguments"),
    "files": ({"task_files": "x"}, "--task_files belongs to tasks like 'local_nli_zeroshot'"),
    "no beams": ({"alpha": 0.5}, "--alpha=0.5 belongs to beam search; add --num_beams"),
    "alpha": ({"num_beams": 2, "alpha": -1}, "alpha=-1.0 must lie in"),
    "module": ({"module_import": "no_such"}, "--module_import=no_such: No module named"),
    "gin": ({"gin.DataConfig.sed": 3}, "sed"),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_wrong_commands_end_with_one_line(case, whole, tmp_path, capsys):
    changes, message = BAD_COMMANDS[case]
    options = {"task": "encyclopedia_nli_eval.sw", "output_dir": tmp_path / "out", **changes}
    checkpoint = options.pop("checkpoint", whole[0])
    assert evaluate.main(command(checkpoint, **options)) == 2
    errors = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error:")]
    assert len(errors) == 1 and message in errors[0], errors
    assert not (tmp_path / "out").exists()


def test_what_other_formats_cannot_tell_is_asked_for(elsewhere, initial, tmp_path, capsys):
    task = "encyclopedia_nli_eval.sw"
    for checkpoint, options, message in (
        (elsewhere / "hf", {}, "give --input_length and --max_decode_length"),
        (elsewhere / "hf", {"input_length": 9, "max_decode_length": 9}, "--output_dir is missing"),
        (elsewhere / "t5x", {"select": "best"}, "--select=best needs a MODEL_DIR"),
        (initial, {"select": "best"}, "chose no best checkpoint"),
    ):
        assert evaluate.main(command(checkpoint, task=task, **options)) == 2
        assert message in capsys.readouterr().err


def test_broken_and_long_examples_of_files_are_counted(whole, tmp_path, capsys):
    good = {"tokens": ["Rick", "met", "Morty"], "tags": ["B-PER", "O", "B-PER"]}
    long = {"tokens": ["word"] * 200, "tags": ["O"] * 200}
    broken = {"tokens": ["a", "b"], "tags": ["O"]}
    lines = [good, broken, long, good]
    (tmp_path / "test.en.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    files = {"task_files": tmp_path / "*.jsonl", "output_dir": tmp_path / "out"}
    arguments = command(whole[0], task="local_ner_eval.en", json=True, **files)
    assert evaluate.main(arguments) == 0
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert found["scores"][0]["num_examples"] == 3
    assert found["inputs_cut"] == {"local_ner_eval.en": 1}
    (problem,) = found["problems"]
    assert "test.en.jsonl:2: 2 tokens but 1 tags" in problem and problem in said.err
    assert "local_ner_eval.en: 1 inputs are longer than 96 tokens" in said.err


@functools.cache
def decoder_of(model):
    return make_decoder(model, DecodingConfig(max_length=LENGTHS["targets"]))


@pytest.mark.parametrize("task", ["encyclopedia_qa_eval.en", "encyclopedia_ner_eval.sw"])
def test_seqio_evaluates_alike(task, whole, capsys, tmp_path):
    """seqio's evaluation of the same task: its own reading, cutting, decoding, gold and metrics."""
    import seqio

    found = scores_of(capsys, whole[0], task=task, output_dir=tmp_path)
    model, params = load_model(whole[0])
    decode = decoder_of(model.config)

    def predict(dataset):
        for index, example in dataset.as_numpy_iterator():
            tokens = np.zeros((1, LENGTHS["inputs"]), np.int32)
            kept = example["encoder_input_tokens"]
            tokens[0, : len(kept)] = kept
            yield index, decode(params, tokens).tokens[0, 0].tolist()

    evaluator = seqio.Evaluator(
        mixture_or_task_name=task,
        feature_converter=seqio.EncDecFeatureConverter(pack=False),
        eval_split="test",
        sequence_length=LENGTHS,
    )
    metrics, _ = evaluator.evaluate(
        compute_metrics=True, predict_fn=lambda dataset: list(predict(dataset))
    )
    ours = {row["metric"]: row["value"] for row in found["scores"]}
    theirs = metrics.result()[task]
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(getattr(value, "value", value)), rel=1e-6)
