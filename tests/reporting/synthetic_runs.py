"""Fabricates run directories with the files of a training run, for tests of summary and report.

The numbers are drawn, not trained: curves fall as a small model's do, self-influence separates
permuted words, and (with `blind`) ranks random words below clean text.
"""

import json
from pathlib import Path

import numpy as np

LANGUAGES = ("en", "es", "de", "ru", "hi", "zh", "sw", "ar")
KINDS = ("permuted_words", "random_words", "character_noise", "wrong_language", "out_of_domain")
ROWS = 48
# Shift of log10(score) and of the loss of a noise kind against clean text, late in training.
SCORE_SHIFT = dict(zip(KINDS, (0.55, -0.5, 0.4, 0.25, 0.3)))
LOSS_SHIFT = dict(zip(KINDS, (1.3, 3.2, 1.6, 0.9, 1.1)))
NUM_UNITS = 8


def write_pair(root, **options):
    """Writes `root`/baseline and `root`/presence and returns both directories."""
    return (
        write_run(root / "baseline", weighted=False, **options),
        write_run(root / "presence", weighted=True, **options),
    )


def write_run(
    directory, *, weighted, steps=400, languages=LANGUAGES, kinds=KINDS, blind=True, floor=None
):
    """Writes one run; `floor` is the loss that training approaches."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7 + weighted)
    floor = floor if floor is not None else (1.62 if weighted else 1.70)
    logged = list(range(10, steps + 1, 10)) or [steps]
    evaluated = [step for step in logged if step % 50 == 0] or logged[-1:]
    shift = dict(SCORE_SHIFT) if blind else {**SCORE_SHIFT, "random_words": 0.5}
    metrics = [_metrics(step, steps, weighted, floor, random) for step in logged]
    write_lines(directory / "metrics.jsonl", metrics)
    write_lines(directory / "timing.jsonl", [_timing(s, weighted, random) for s in logged])
    write_lines(
        directory / "evaluation.jsonl",
        [{"step": s, "rows": _eval_rows(s, floor, languages, kinds, random)} for s in evaluated],
    )
    write_lines(
        directory / "probe.jsonl",
        [{"step": s, "rows": _probe_rows(s, steps, languages, kinds, shift)} for s in evaluated],
    )
    scores = _probe_scores(evaluated[-1], languages, kinds, shift, floor, random)
    write_lines(directory / "probe_scores.jsonl", scores)
    config = json.dumps(_config(steps, weighted))
    (directory / "config.json").write_text(config, encoding="utf-8")
    return directory


def write_lines(path, records):
    """Writes one JSON object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def read_lines(path):
    """Returns the objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _curve(step, floor):
    return floor + 6.5 * np.exp(-step / 60) + 0.6 * np.exp(-step / 300)


def _metrics(step, steps, weighted, floor, random):
    record = {
        "step": step,
        "train/loss": float(_curve(step, floor) + 0.4 + random.normal(0, 0.09)),
        "train/num_tokens": float(random.integers(880, 960)),
        "train/learning_rate": 0.01 * min(1.0, (40 / step) ** 0.5),
    }
    if not weighted:
        return record
    temperature = 1.0 if step <= steps // 4 else -1.0
    scores = np.exp(random.normal(-2 - 2 * step / steps, 0.4, NUM_UNITS))
    exponentials = np.exp(temperature * (scores - scores.mean()) / scores.std())
    weights = exponentials / exponentials.sum()
    statistics = {
        "temperature": temperature,
        "effective_sample_size": float(1 / (weights**2).sum()),
        "num_live_units": NUM_UNITS,
        "num_nonfinite_units": 0,
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "score_min": float(scores.min()),
        "score_max": float(scores.max()),
        "weight_max": float(weights.max()),
        "weight_std": float(weights.std()),
        "weights": weights.tolist(),
        "scores": scores.tolist(),
    }
    return record | {f"presence/{name}": value for name, value in statistics.items()}


def _timing(step, weighted, random):
    seconds = (4.0 if step == 10 else 0.0) + (0.23 if weighted else 0.21) + random.uniform(0, 0.01)
    return {"step": step, "seconds_per_step": seconds, "tokens_per_second": 912 / seconds}


def _eval_rows(step, floor, languages, kinds, random):
    rows = []
    for position, language in enumerate(languages):
        for kind in ("clean", *kinds):
            shift = LOSS_SHIFT.get(kind, 0.0) * (1 - np.exp(-step / 120))
            loss = _curve(step, floor) + 0.04 * position + shift + random.normal(0, 0.02)
            tokens = float(random.integers(600, 800))
            keys = ("language", "noise", "num_rows", "num_tokens", "loss")
            rows.append(dict(zip(keys, (language, kind, ROWS, tokens, float(loss)))))
    return rows


def _probe_rows(step, steps, languages, kinds, shift):
    rows = []
    for position, language in enumerate(languages):
        for kind in kinds:
            progress = (1 - np.exp(-4 * step / steps)) * (1 - 0.03 * position)
            score = 0.5 + np.tanh(1.7 * shift.get(kind, 0.0)) / 2 * progress
            loss = 0.5 + np.tanh(1.4 * LOSS_SHIFT.get(kind, 1.0)) / 2 * progress
            keys = ("language", "noise", "num_rows", "auroc_score", "auroc_loss")
            rows.append(dict(zip(keys, (language, kind, ROWS, float(score), float(loss)))))
    return rows


def _probe_scores(step, languages, kinds, shift, floor, random):
    keys = ("step", "example_id", "language", "noise", "score", "loss", "num_tokens")
    rows = []
    for position, language in enumerate(languages):
        for kind in ("clean", *kinds):
            for row in range(ROWS):
                score = 10 ** random.normal(-2 + shift.get(kind, 0.0) + 0.05 * position, 0.3)
                loss = floor + LOSS_SHIFT.get(kind, 0.0) + random.normal(0, 0.4)
                name = f"{language}-{kind}-{row}"
                values = (step, name, language, kind, float(score), float(loss), 11)
                rows.append(dict(zip(keys, values)))
    return rows


def _config(steps, weighted):
    return {
        "model": {"emb_dim": 64, "num_heads": 4, "num_encoder_layers": 2, "num_decoder_layers": 2},
        "data": {"mixture_or_task_name": "encyclopedia", "batch_size": 64, "seed": 0},
        "presence": {
            "num_microbatches": NUM_UNITS,
            "granularity": "microbatch",
            "layers": ["encoder/layers_0", "decoder/layers_0"],
        },
        "temperature": {
            "schedule": "two_stage" if weighted else "unweighted",
            "temperature_1": 1.0,
            "temperature_2": -1.0,
            "switch_step": steps // 4,
        },
        "model_dir": "runs/presence" if weighted else "runs/baseline",
        "train_steps": steps,
        "random_seed": 0,
    }
