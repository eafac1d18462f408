"""The run on pairs of inputs and targets: labelled files in, losses and answers by language out."""

import json

import numpy as np
import pytest
import tiny_model

from presence_t5x import evaluate, train
from presence_t5x.config import load_config

WORDS = ["rain", "wind", "snow", "fog", "sun", "ice"]
SETTINGS = {
    "MIXTURE_OR_TASK_NAME": "local_nli_zeroshot",
    "VOCABULARY_FILE": "bytes",
    "TASK_FEATURE_LENGTHS": {"inputs": 64, "targets": 4},
    "TRAIN_STEPS": 4,
    "DROPOUT_RATE": 0.0,
    "BATCH_SIZE": 16,
    "NUM_MICROBATCHES": 2,
    "SWITCH_STEP": 2,
    "EVAL_PERIOD": 4,
    "EVAL_ROWS": 8,
    "LOG_PERIOD": 1,
    "LEARNING_RATE_FACTORS": "constant",
    "BASE_LEARNING_RATE": 0.001,
    "T5Config.vocab_size": None,
    **tiny_model.SETTINGS,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for name, number in (("train.en", 60), ("dev.en", 12), ("dev.sw", 12)):
        rows = [
            {
                "premise": WORDS[i % 6] + " again" * (i % 7),
                "hypothesis": WORDS[i % 5],
                "label": i % 3,
            }
            for i in range(number)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def run(model_dir, files, **changes):
    values = {"MODEL_DIR": str(model_dir), "LOCAL_TASK_FILES": files, **SETTINGS, **changes}
    bindings = [f"{name}={value!r}" for name, value in values.items()]
    config = load_config(["configs/models/tiny.gin", "configs/runs/pretrain.gin"], bindings)
    return train.train(train.prepare(config))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_on_labelled_files(files, tmp_path, capsys):
    run(tmp_path, files)
    metrics = read(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [1, 2, 3, 4]
    # A label and EOS of 16 rows each.
    assert all(np.isfinite(row["train/loss"]) and row["train/num_tokens"] == 32 for row in metrics)
    evaluation = read(tmp_path / "evaluation.jsonl")
    found = {(row["language"], row["num_rows"]) for row in evaluation[0]["rows"]}
    assert found == {("en", 8), ("sw", 8)}
    said = capsys.readouterr().err
    assert "local_nli_train.en: of 60 pairs 16 inputs and 0 targets are longer than a row" in said


def test_pairs_that_share_rows_and_answers_to_superglue(tmp_path, capsys):
    """MultiRC as it is published: trained on, judged by the run, and by the command afterwards."""
    rows = [
        {
            "idx": i,
            "passage": {
                "text": f"{WORDS[i % 6]} again",
                "questions": [
                    {
                        "question": "what ?",
                        "idx": i,
                        "answers": [{"text": word, "idx": 0, "label": int(word == WORDS[i % 6])}
                                    for word in WORDS[:3]],
                    }
                ],
            },
        }
        for i in range(12)
    ]  # fmt: skip
    for split in ("train", "val"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text)
    task = "local_super_glue_multirc_zeroshot"
    run(
        tmp_path / "run",
        f"{tmp_path}/*.jsonl",
        MIXTURE_OR_TASK_NAME=task,
        PACK=True,
        TRAIN_STEPS=1,
        EVAL_PERIOD=1,
        EVAL_TASK=task,
        EVAL_METRIC="task_average",
        SELECTION="best",
        TASK_FEATURE_LENGTHS={"inputs": 192, "targets": 8},
    )
    (row,) = read(tmp_path / "run" / "metrics.jsonl")
    assert np.isfinite(row["train/loss"]) and row["train/num_tokens"] > 64
    (logged,) = read(tmp_path / "run" / "tasks.jsonl")
    capsys.readouterr()
    assert evaluate.main(
        [f"--checkpoint={tmp_path / 'run'}", f"--task={task}", "--split=validation", "--json"]
    ) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    scores = {one["metric"]: one["value"] for one in found["scores"]}
    assert scores.keys() == {"f1", "exact_match"}
    assert scores == {one["metric"]: one["value"] for one in logged["rows"]}
    assert logged["value"] == np.mean([*scores.values()])
    (path,) = found["predictions"].values()
    assert len(read(tmp_path / "run" / "evaluations" / f"{task}.validation.1" / path)) == 36
