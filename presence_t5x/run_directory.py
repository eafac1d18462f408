"""A run's directory and its settings: the same ones whenever the run goes on."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from presence_t5x.config import config_to_dict, config_to_gin, flatten_settings
from presence_t5x.config_types import RunConfig
from presence_t5x.files import differences, write_text_atomically
from presence_t5x.vocabulary_table import check_table_is_used, table_rows, table_setting

# Settings that may change when a run continues: they alter how long and how it is watched.
_FREE_SETTINGS = {
    "model_dir",
    "train_steps",
    "checkpoint_period",
    "checkpoint_seconds",
    "stop_seconds",
    "host_timeout_seconds",
    "max_skipped_updates",
    "keep_checkpoints",
    "log_period",
    "eval_period",
    "eval_rows",
    "probe_period",
    "influence_log",
    "data.prepared_dir",
}


def with_vocabulary(config: RunConfig, sources) -> RunConfig:
    """Returns the run with the model's table sized, after every check of its data."""
    table = config.model.vocab_size
    vocabulary = sources.check_data(config.data, sys.maxsize if table is None else table)
    if table is None:
        model = dataclasses.replace(config.model, vocab_size=table_rows(vocabulary.vocab_size))
        return dataclasses.replace(config, model=model)
    name, setting = config.data.mixture_or_task_name, table_setting(config.model)
    check_table_is_used(name, vocabulary.vocab_size, table, setting)
    return config


def check_same_run(config: RunConfig, model_dir: Path) -> None:
    """Refuses a MODEL_DIR that was written with other settings, and names them."""
    file = model_dir / "config.json"
    if not file.exists():
        return
    try:
        found = _fixed(json.loads(file.read_text()))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); choose another MODEL_DIR") from error
    if differing := differences(found, _fixed(config_to_dict(config))):
        raise ValueError(
            f"{model_dir} holds a run with other settings: {'; '.join(differing)}. Choose another "
            "MODEL_DIR, or the settings of that run"
        )


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that may not change when a run continues, by name."""
    flat = flatten_settings(settings)
    return {name: value for name, value in flat.items() if name not in _FREE_SETTINGS}


def write_settings(config: RunConfig, model_dir: Path) -> None:
    """Writes every setting of a run to its directory, as JSON and as a gin file that repeats it."""
    text = json.dumps(config_to_dict(config), indent=2) + "\n"
    write_text_atomically(text, model_dir / "config.json")
    write_text_atomically(config_to_gin(config), model_dir / "config.gin")
