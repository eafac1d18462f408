"""A program: reads gin files as `python -m t5x.train` does and prints what `train` is given.

Usage: read_configs.py T5X_ROOT JSON, where JSON is {name: [files, bindings]}.
"""

import json
import sys

import gin
from t5x import gin_utils


def train(*, model, train_dataset_cfg, trainer_cls, checkpoint_cfg, **settings):
    """Stands where T5X's function of this name does."""
    return {
        "model": type(model).__name__,
        "module": type(model.module).__name__,
        "network": vars(model.module.config),
        "loss_normalizing_factor": model._loss_normalizing_factor,
        "carries_moments": getattr(model, "_carries_moments", None),
        "data": vars(train_dataset_cfg),
        "trainer": trainer_cls.__name__,
        "restored": checkpoint_cfg.restore.path,
        "settings": settings,
    }


def read(files, bindings):
    """Returns `train`'s arguments, and those of the trainer that gin binds."""
    gin.clear_config()
    gin_utils.parse_gin_flags([sys.argv[1]], files, ["MODEL_DIR = 'd'", *bindings])
    given = train_using_gin()
    bound = gin.get_bindings(given["trainer"])
    if bound.get("presence_config"):
        temperature_fn = bound["temperature_fn"]
        given["presence"] = vars(bound["presence_config"])
        given["temperatures"] = temperature_fn and [
            float(temperature_fn(step)) for step in (0, 99_999, 100_000)
        ]
    given["num_microbatches"] = bound["num_microbatches"]
    given["learning_rates"] = [float(bound["learning_rate_fn"](step)) for step in (0, 40_000)]
    given["num_partitions"] = gin.get_bindings("PjitPartitioner")["num_partitions"]
    return given


if __name__ == "__main__":
    train_using_gin = gin.configurable(train)
    runs = json.loads(sys.argv[2])
    print(json.dumps({name: read(*run) for name, run in runs.items()}, default=str))
