"""Evaluations made by hand, as `python -m presence_t5x.evaluate` leaves them."""

import json

PROTOCOL = {"decoding": "greedy", "max_length": 32, "num_beams": None, "input_length": 128}


def write_evaluation(directory, families, first_id=0):
    """Writes scores.json and predictions.

    Args:
      directory: of the evaluation.
      families: {family: (metric, {language: [(targets, prediction, values), ...]})}; the metric's
        value is given by "value" beside them: {language: value}.
      first_id: number of the first example.
    """
    scores, files = [], {}
    for family, (metric, examples, values) in families.items():
        for language, rows in examples.items():
            task = f"{family}.{language}"
            files[task] = f"predictions/{task}.jsonl"
            scores.append(
                {
                    "task": task,
                    "language": language,
                    "split": "test",
                    "metric": metric,
                    "value": values[language],
                    "num_examples": len(rows),
                }
            )
            path = directory / files[task]
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = []
            for number, (targets, prediction, contribution) in enumerate(rows, first_id):
                row = {
                    "id": f"{number}",
                    "language": language,
                    "prediction": prediction,
                    "targets": targets if isinstance(targets, str) else targets[0],
                    "score": -1.0,
                    "values": contribution,
                }
                if not isinstance(targets, str):
                    row["answers"] = targets
                lines.append(json.dumps(row, ensure_ascii=False))
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    content = {
        "checkpoint": "c",
        "step": 1,
        "task": "mixture",
        "split": "test",
        "protocol": {**PROTOCOL, "commit": "0" * 40},
        "scores": scores,
        "averages": [],
        "inputs_cut": {},
        "predictions": files,
    }
    (directory / "scores.json").write_text(json.dumps(content))


def labels(right):
    """NLI examples that are right (1) or wrong (0); two of three have the label "0"."""
    rows = []
    for number, is_right in enumerate(right):
        target = "0" if number % 3 else "1"
        answer = target if is_right else "2"
        rows.append((target, answer, {"accuracy": 100.0 * is_right}))
    return rows


def nli(**by_language):
    """An NLI family of right and wrong answers by language."""
    examples = {language: labels(right) for language, right in by_language.items()}
    values = {language: 100 * sum(right) / len(right) for language, right in by_language.items()}
    return "accuracy", examples, values


def entities(**by_language):
    """A NER family of (right, predicted, gold) counts by language; each example names one city."""
    examples, values = {}, {}
    for language, counts in by_language.items():
        examples[language] = [
            ("LOC: Bern", "", dict(zip(("true_positives", "predicted", "gold"), found)))
            for found in counts
        ]
        right, predicted, gold = (sum(found[k] for found in counts) for k in range(3))
        values[language] = 2 * right / (predicted + gold) if right else 0.0
    return "span_f1", examples, values
