"""A T5 small enough to compile in seconds: for tests of everything but the model."""

import functools
import json
from pathlib import Path

SIZES = {
    "emb_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "mlp_dim": 16,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}
SETTINGS = {f"T5Config.{name}": size for name, size in SIZES.items()}
LOCAL = "configs/runs/pretrain_local.gin"
LENGTHS = {"inputs": 32, "targets": 8}
ONE_STACK = {
    name: {
        f"{name}.{size}": value
        for size, value in {
            **{size: SIZES[size] for size in ("emb_dim", "num_heads", "head_dim", "mlp_dim")},
            **{"vocab_size": None, "num_layers": 2},
        }.items()
    }
    | settings
    for name, settings in {
        "DecoderOnlyConfig": {
            "DecoderOnlyConfig.num_kv_heads": 1,
            "OBJECTIVE": "next_token",
            "TASK_FEATURE_LENGTHS": {"targets": 64},
        },
        "EncoderOnlyConfig": {
            "OBJECTIVE": "masked_tokens",
            "TASK_FEATURE_LENGTHS": {"inputs": 64},
        },
    }.items()
}
SENTENCE = "the river runs through the old town and on to the sea; "


def train_run(folder: Path, *model_files: str, **changes) -> Path:
    """Returns the directory of a run on bytes, two blocks a stack, with checkpoints 2 and 4."""
    import pytest

    from presence_t5x import opened_run, train
    from presence_t5x.config import load_config

    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"{SENTENCE}{i}"}) + "\n" for i in range(60)))
    settings = {
        "MODEL_DIR": str(folder / "run"),
        "LOCAL_TEXT_FILES": str(corpus),
        "VOCABULARY_FILE": "bytes",
        "TASK_FEATURE_LENGTHS": LENGTHS,
        "TRAIN_STEPS": 4,
        "BATCH_SIZE": 8,
        "NUM_MICROBATCHES": 1,
        "TEMPERATURE_SCHEDULE": "unweighted",
        "WARMUP_STEPS": 3,
        "CHECKPOINT_PERIOD": 2,
        "KEEP_CHECKPOINTS": None,
        "EVAL_PERIOD": 100,
        **SETTINGS,
        "T5Config.num_encoder_layers": 2,
        "T5Config.num_decoder_layers": 2,
        **changes,
    }
    bindings = [f"{name}={value!r}" for name, value in settings.items()]
    with pytest.MonkeyPatch.context() as patch:
        # Compiling for one of the eight devices takes a third of the time.
        patch.setattr(opened_run, "make_mesh", lambda config: None)
        train.train(train.prepare(load_config([LOCAL, *model_files], bindings)))
    return folder / "run"


@functools.cache
def loss_and_gradient(checkpoint):
    """Returns (rows) -> their mean token loss, written plainly, and its whole gradient."""
    import jax
    import jax.numpy as jnp

    from presence_t5x.checkpoint import load_model

    model, params = load_model(checkpoint)

    def mean_loss(params, rows):
        features = model.features
        tokens = (rows[name] for name in features.inputs)
        options = {name: rows[name] for name in features.options(rows)}
        logits = model.apply({"params": params}, *tokens, enable_dropout=False, **options)
        log_z = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
        chosen = jnp.take_along_axis(logits, rows[features.targets][..., None], -1)[..., 0]
        weights = rows[features.weights]
        return jnp.sum((log_z - chosen + 1e-4 * log_z**2) * weights) / jnp.sum(weights)

    return functools.partial(jax.jit(jax.value_and_grad(mean_loss)), params)
