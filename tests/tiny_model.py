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
LENGTHS = {"inputs": 32, "targets": 8}
SENTENCE = "the river runs through the old town and on to the sea; "


def train_run(folder: Path) -> Path:
    """Returns the directory of a run on bytes, two blocks a stack, with checkpoints 2 and 4."""
    from presence_t5x import train
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
    }
    bindings = [f"{name}={value!r}" for name, value in settings.items()]
    train.train(train.prepare(load_config(["configs/runs/pretrain_local.gin"], bindings)))
    return folder / "run"


@functools.cache
def loss_and_gradient(checkpoint):
    """Returns (rows) -> their mean token loss, written plainly, and its whole gradient."""
    import jax
    import jax.numpy as jnp

    from presence_t5x.checkpoint import load_model

    model, params = load_model(checkpoint)

    def mean_loss(params, rows):
        names = ("encoder_input", "decoder_input", "decoder_target")
        tokens = (rows[f"{name}_tokens"] for name in names)
        logits = model.apply({"params": params}, *tokens, enable_dropout=False)
        log_z = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
        chosen = jnp.take_along_axis(logits, rows["decoder_target_tokens"][..., None], -1)[..., 0]
        weights = rows["decoder_loss_weights"]
        return jnp.sum((log_z - chosen + 1e-4 * log_z**2) * weights) / jnp.sum(weights)

    return functools.partial(jax.jit(jax.value_and_grad(mean_loss)), params)
