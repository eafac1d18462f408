"""What a finished run left, as SHA-256s: two runs that are the same bits have the same."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from presence_t5x.checkpoint import find_checkpoint
from presence_t5x.influence_log import DIRECTORY


def run_hashes(model_dir: Path) -> dict[str, str]:
    """Returns SHA-256s of a finished run: parameters, the rest of its state, all that it logged."""
    newest = find_checkpoint(model_dir)
    found = {}
    for name, item in (("parameters", "params"), ("state", "training")):
        found[f"{name}_sha256"] = _hash_arrays(_read_arrays(newest / item))
    digest = hashlib.sha256()
    for name in ("metrics.jsonl", "evaluation.jsonl", "epochs.jsonl", "warnings.jsonl"):
        digest.update((model_dir / name).read_bytes())
    digest.update(json.dumps(_tensorboard(model_dir / "tensorboard")).encode())
    found["metrics_sha256"] = digest.hexdigest()
    found["influence_sha256"] = hashlib.sha256(_influence(model_dir / DIRECTORY)).hexdigest()
    return found


def _read_arrays(folder: Path) -> Any:
    """Returns the arrays of a checkpoint as NumPy has them, wherever they lay on devices."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
    whole = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(folder, restore_args=whole)


def _hash_arrays(tree: Any) -> str:
    """Returns the SHA-256 of the arrays of a tree, in order of path."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _influence(folder: Path) -> bytes:
    """Returns the rows of influence.parquet: which documents were in which unit, in order."""
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    rows.sort(key=lambda row: (row["step"], row["unit"], row["example_ids"]))
    return json.dumps(rows).encode()


def _tensorboard(folder: Path) -> list[list[Any]]:
    """Returns every value of TensorBoard but times; a doubled step would be there twice."""
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore

    from presence_t5x.data.quiet_tensorflow import tf

    found = []
    for path in folder.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            found += [
                [event.step, value.tag, value.tensor.tensor_content.hex() or value.simple_value]
                for value in event.summary.value
                if not value.tag.startswith("timing/")
            ]
    return sorted(found, key=str)
