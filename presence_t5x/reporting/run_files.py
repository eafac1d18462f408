"""Reads what a training run leaves in its directory: one JSON object a line, and its settings.

Checks the shape of every line, so that later code may index without asking; says nothing about
what the numbers mean (`summary`) and never writes.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from presence_t5x._validate import LARGEST_INT64
from presence_t5x.json_files import parse_json

Record = Mapping[str, Any]

_ROW_KEYS = {
    "evaluation.jsonl": ("language", "noise", "num_tokens", "loss"),
    "probe.jsonl": ("language", "noise", "auroc_score", "auroc_loss"),
}
_RECORD_KEYS = {
    "metrics.jsonl": ("step",),
    "timing.jsonl": ("step", "seconds_per_step"),
    "evaluation.jsonl": ("step", "rows"),
    "probe.jsonl": ("step", "rows"),
    "probe_scores.jsonl": ("step", "language", "noise", "score", "loss"),
}
_TEXTS = ("language", "noise")
_LISTS = ("presence/weights",)
_OPTIONAL = ("probe.jsonl", "probe_scores.jsonl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The files of one run, each in order of step with one record a step.

    Attributes:
      directory: where they were read from.
      config: the nested settings of config.json.
      metrics: one record a logged step, with keys such as "train/loss".
      timing: records with "seconds_per_step".
      evaluation: records with "rows": held-out loss per language and noise kind.
      probe: records with "rows": AUROC of score and loss; empty when the run never probed.
      probe_scores: one record a row of the last probe alone.
    """

    directory: Path
    config: Record
    metrics: Sequence[Record]
    timing: Sequence[Record]
    evaluation: Sequence[Record]
    probe: Sequence[Record] = ()
    probe_scores: Sequence[Record] = ()


def read_run(directory: str | Path) -> Run:
    """Returns the records of a run directory.

    A step that was logged twice (a run that was killed and resumed) keeps its last record. The
    probe files may be absent. JSON's null, as well as NaN, stands for a number that is not known.

    Raises:
      ValueError: a missing directory or file, a line that is no JSON object (the last line of a
        file that was cut while it was written, for one), or a record without one of its keys; the
        message names the file and the line.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"run directory {directory} does not exist or is no directory")
    records = {name: _read_records(directory / name) for name in _RECORD_KEYS}
    scores = records["probe_scores.jsonl"]
    last_step = max((record["step"] for record in scores), default=0)
    return Run(
        directory=directory,
        config=_read_config(directory / "config.json"),
        metrics=_last_of_each_step(records["metrics.jsonl"]),
        timing=_last_of_each_step(records["timing.jsonl"]),
        evaluation=_last_of_each_step(records["evaluation.jsonl"]),
        probe=_last_of_each_step(records["probe.jsonl"]),
        probe_scores=tuple(record for record in scores if record["step"] == last_step),
    )


def number(value: Any) -> float:
    """Returns a logged value as a float; NaN for None, text and whatever else is no number.

    >>> number(2), number(None), number("NaN")
    (2.0, nan, nan)
    """
    return float(value) if isinstance(value, int | float) else float("nan")


def setting(config: Record, path: str, default: Any = None) -> Any:
    """Returns the setting at a dotted path, or `default` where the run has none.

    >>> setting({"temperature": {"switch_step": 100}}, "temperature.switch_step")
    100
    """
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


def _read_records(path: Path) -> list[Record]:
    """Returns the checked objects of a JSON-lines file; an absent optional file has none."""
    if not path.is_file():
        if path.name in _OPTIONAL:
            return []
        raise ValueError(f"{path} is missing; a finished run writes it to its run directory")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [
        _parse_record(path, line_number, line)
        for line_number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _parse_record(path: Path, line_number: int, line: str) -> Record:
    """Returns the object on one line after checking its keys."""
    where = f"{path}, line {line_number}"
    try:
        record = parse_json(line)
    except ValueError as error:
        raise ValueError(
            f"{where}: no complete JSON object ({error}); if the run was stopped while writing it, "
            "remove the line or resume the run"
        ) from error
    _check_keys(where, record, _RECORD_KEYS[path.name])
    step = record["step"]
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= LARGEST_INT64:
        raise ValueError(f"{where}: step={step!r:.80} must be an integer from 0 to 2**63 - 1")
    _check_values(where, record)
    row_keys = _ROW_KEYS.get(path.name, ())
    if row_keys and not isinstance(record["rows"], list):
        raise ValueError(f"{where}: rows={record['rows']!r} must be a list")
    for position, row in enumerate(record["rows"] if row_keys else ()):
        _check_keys(f"{where}, rows[{position}]", row, row_keys)
        _check_values(f"{where}, rows[{position}]", row)
    return record


def _check_values(where: str, record: Record) -> None:
    """Raises ValueError for values that are no number or text where one is drawn or printed."""
    for key, value in record.items():
        if key in _TEXTS and not isinstance(value, str):
            raise ValueError(f"{where}: {key}={value!r:.80} must be text")
        is_list = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        if key in _LISTS and value is not None and not is_list:
            raise ValueError(f"{where}: {key}={value!r:.80} must be a list of numbers")
        if isinstance(value, int) and abs(value) > LARGEST_INT64:
            raise ValueError(f"{where}: {key} has more digits than a number of a run can have")


def _check_keys(where: str, record: Any, keys: Iterable[str]) -> None:
    """Raises ValueError unless `record` is an object with all `keys`."""
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(record).__name__}")
    missing = [key for key in keys if key not in record]
    if missing:
        raise ValueError(f"{where}: the keys {missing} are missing; found {sorted(record)}")


def _read_config(path: Path) -> Record:
    """Returns the settings of a run."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; every run writes its resolved settings there")
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no complete JSON object ({error})") from error
    _check_keys(str(path), config, ())
    return config


def _last_of_each_step(records: Sequence[Record]) -> tuple[Record, ...]:
    """Returns the records in order of step, the later one of two with the same step."""
    by_step = {record["step"]: record for record in records}
    return tuple(by_step[step] for step in sorted(by_step))
