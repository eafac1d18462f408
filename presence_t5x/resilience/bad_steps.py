"""What a run leaves of a step that it could not survive: MODEL_DIR/bad_steps/STEP.

A checkpoint of the state before the step (skipped updates change nothing but counts) and every
host's rows with their ids: all that `presence_t5x.replay` needs to run the step again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from presence_t5x.checkpointer import Checkpointer
from presence_t5x.files import replacing, write_text_atomically
from presence_t5x.host_rows import HostRows
from presence_t5x.train_step import TrainState

if TYPE_CHECKING:  # it imports TensorFlow
    from presence_t5x.data.row_features import Batch

BAD_STEPS = "bad_steps"


class Rows(NamedTuple):
    """The rows of a step, of all hosts, in their order."""

    features: dict[str, np.ndarray]
    example_ids: list[str]
    languages: list[str]


def save_bad_step(
    model_dir: str | Path,
    step: int,
    state: TrainState,
    batch: "Batch",
    settings: Mapping[str, Any],
    host: HostRows,
) -> Path:
    """Writes what `replay` needs; returns the folder.

    Args:
      step: updates done, the skipped one included.
      state: after it.
      batch: this host's rows of it.
      settings: of the run.
      host: which rows this host reads.
    """
    folder = Path(model_dir) / BAD_STEPS / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    if host.is_first:
        _write_rows(folder / f"rows.{host.index}", batch)
    checkpointer = Checkpointer(folder)
    before = state._replace(step=state.step - 1, num_skipped_updates=state.num_skipped_updates - 1)
    checkpointer.save(before, b"", settings)
    checkpointer.close()
    return folder


def _write_rows(stem: Path, batch: "Batch") -> None:
    """Writes a host's rows and their labels."""
    with replacing(stem.with_name(f"{stem.name}.npz")) as path, path.open("wb") as file:
        features: dict[str, Any] = dict(batch.features)
        np.savez(file, allow_pickle=False, **features)
    labels = {"example_ids": batch.example_ids, "languages": batch.languages}
    write_text_atomically(json.dumps(labels, indent=1) + "\n", stem.with_name(f"{stem.name}.json"))


def find_bad_step(model_dir: Path, step: int | None) -> Path:
    """Returns the folder of a bad step of a run, the latest if none is named.

    Raises:
      ValueError: there is none; says which there are.
    """
    folders = {
        int(path.name): path for path in (model_dir / BAD_STEPS).glob("*") if path.name.isdigit()
    }
    if not folders or (step is not None and step not in folders):
        there = f"it has those of steps {sorted(folders)}" if folders else "it has none"
        wanted = "no bad step" if step is None else f"no bad step {step}"
        raise ValueError(f"{model_dir} holds {wanted} to replay ({there})")
    return folders[max(folders) if step is None else step]


def read_rows(folder: Path) -> Rows:
    """Returns the rows of a bad step.

    Raises:
      ValueError: a file is damaged or missing.
    """
    parts, ids, languages = [], [], []
    try:
        files = sorted(folder.glob("rows.*.npz"), key=lambda path: int(path.name.split(".")[1]))
        for path in files:
            with np.load(path, allow_pickle=False) as arrays:
                parts.append({name: arrays[name] for name in arrays.files})
            labels = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            ids += labels["example_ids"]
            languages += labels["languages"]
        features = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"the rows in {folder} are damaged or missing ({error})") from error
    return Rows(features, ids, languages)
