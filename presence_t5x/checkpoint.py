"""A run's checkpoints from the outside: where the newest is, its model, its settings.

A checkpoint is complete in itself: `load_model` needs nothing but its directory. `checkpointer`
writes them.
"""

import re
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from presence_t5x.config_types import ModelConfig
from presence_t5x.config_types.families import model_config_of
from presence_t5x.convert.orbax_files import read_orbax
from presence_t5x.models.families import build_model

CHECKPOINTS = "checkpoints"


def load_model(directory: str | Path) -> tuple[Any, PyTree]:
    """Returns the model and its float32 parameters from a run directory or one checkpoint of it.

    The model's configuration travels with the checkpoint. Call it as T5X's models are called, on
    the tokens that its family reads (`model.features.inputs`): `model.apply({"params": params},
    encoder_input_tokens, decoder_input_tokens, decoder_target_tokens, enable_dropout=False)` gives
    float32 logits.

    Args:
      directory: MODEL_DIR (its newest checkpoint is taken) or MODEL_DIR/checkpoints/STEP.

    Raises:
      ValueError: there is no complete checkpoint; says what was looked for.
    """
    path = find_checkpoint(Path(directory))
    config = read_model_config(path)
    with ocp.StandardCheckpointer() as checkpointer:
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
            ),
            checkpointer.metadata(path / "params").item_metadata.tree,
        )
        params = checkpointer.restore(path / "params", like)
    return build_model(config), params


def saved_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array of a training state by its path; reads no array.

    Raises:
      ValueError: it is damaged, or holds parameters alone.
    """
    params, training = (read_orbax(checkpoint / item) for item in ("params", "training"))
    arrays = training | {f"params/{path}": array for path, array in params.items()}
    return {path: array.shape for path, array in arrays.items()}


def find_checkpoint(directory: Path) -> Path:
    """Returns the directory of the newest complete checkpoint at or under `directory`.

    Raises:
      ValueError: there is none; says what was looked for.
    """
    if _is_checkpoint(directory):
        return directory.absolute()
    root = directory if directory.name == CHECKPOINTS else directory / CHECKPOINTS
    steps = [
        path
        for path in (root.iterdir() if root.is_dir() else ())
        if re.fullmatch(r"\d+", path.name) and _is_checkpoint(path)
    ]
    if not steps:
        raise ValueError(
            f"{str(directory)!r} holds no checkpoint: neither {CHECKPOINTS}/STEP nor params/ and "
            "position/ are there; pass a MODEL_DIR of presence_t5x.train or one of its checkpoints"
        )
    return max(steps, key=lambda path: int(path.name)).absolute()


def _is_checkpoint(directory: Path) -> bool:
    """Tells whether a directory is one complete checkpoint."""
    return (directory / "params").is_dir() and (directory / "position").is_dir()


def check_resumable(model_dir: Path) -> None:
    """Raises ValueError if a run cannot go on from the checkpoints of a directory.

    That is where there are some and all hold parameters alone, as a converted one may.
    """
    try:
        path = find_checkpoint(model_dir)
    except ValueError:
        return
    if not any((other / "training").is_dir() for other in path.parent.iterdir()):
        raise ValueError(
            f"{path} holds parameters alone, nothing to continue from; start a run from it: "
            f"another MODEL_DIR, and INITIAL_CHECKPOINT={str(model_dir)!r}"
        )


def read_settings(checkpoint: Path) -> dict[str, Any]:
    """Returns the settings that travel with a checkpoint; "model" is always there.

    Raises:
      ValueError: they are damaged.
    """
    place = checkpoint / "position"
    try:
        settings = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(place)["settings"]
        settings["model"].keys()
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place} is damaged ({error}); use another checkpoint") from error
    return settings


def read_model_config(checkpoint: Path) -> ModelConfig:
    """Returns the configuration of a checkpoint's model.

    Raises:
      ValueError: it is damaged, or of another version of this package.
    """
    try:
        return model_config_of(read_settings(checkpoint)["model"])
    except (TypeError, ValueError) as error:
        why = re.sub(r"^\w+\.__init__\(\) ", "", str(error))
        raise ValueError(
            f"{checkpoint / 'position'}: {why}; it is damaged or of another version of this "
            "package: use another checkpoint"
        ) from error
