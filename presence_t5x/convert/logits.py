"""The check of a conversion: the same logits from the other library, where it is installed.

Both sides are asked about the same random tokens, in float32. The largest difference must stay
below 1e-4 at logits of size 1, and in proportion above that: float32 sums in another order differ
by rounding in proportion to what is summed.
"""

import dataclasses
import importlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from presence_t5x.config_types import EncoderOnlyConfig, ModelConfig, T5Config
from presence_t5x.convert import stacks, tensors
from presence_t5x.convert.huggingface_families import exchange_ids
from presence_t5x.convert.orbax_files import read_orbax
from presence_t5x.convert.tensors import Tensors
from presence_t5x.models.families import build_model
from presence_t5x.optional_modules import reason_of_absence

LIMIT = 1e-4
_NUM_INPUTS, _NUM_TARGETS = 11, 7
_AUTO_CLASSES = {
    "pairs": "Seq2SeqLM",
    "next": "CausalLM",
    "masked": "MaskedLM",
    "classes": "SequenceClassification",
}


class Inputs(NamedTuple):
    """Two rows of random tokens, the second of them padded."""

    encoder_input_tokens: Int[np.ndarray, "2 inputs"]
    decoder_input_tokens: Int[np.ndarray, "2 targets"]

    def batch_for(self, config: ModelConfig) -> dict[str, np.ndarray]:
        """Returns what a model of any family is applied to.

        One stack alone gets the first tokens, with their padding; of two the second has none.
        """
        tokens = self.encoder_input_tokens
        if not isinstance(config, T5Config):
            return dict.fromkeys(config.features.inputs, tokens)
        seen = np.ones_like(self.decoder_input_tokens)
        return dict(zip(config.features.inputs, (*self, seen), strict=True))


class Check(NamedTuple):
    """What a comparison found.

    Attributes:
      subject: whose logits ours were compared with.
      difference: of logits, relative to their size where that is above 1; None if unchecked.
      reason: why it is unchecked.
    """

    subject: str
    difference: float | None
    reason: str = ""


def random_inputs(vocab_size: int) -> Inputs:
    """Returns the tokens that both sides are asked about; always the same."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, vocab_size, (2, _NUM_INPUTS), dtype=np.int32)
    inputs = np.maximum(inputs, 1)
    inputs[1, _NUM_INPUTS // 2 :] = 0
    targets = rng.integers(0, vocab_size, (2, _NUM_TARGETS), dtype=np.int32)
    targets[:, 0] = 0
    return Inputs(inputs, targets)


def own_logits(
    params: Tensors, config: ModelConfig, inputs: Inputs
) -> Float[np.ndarray, "2 targets vocab"]:
    """Returns the logits of this package's model.

    Args:
      params: unrolled.
    """
    plain = dataclasses.replace(config, dtype="float32", scan_layers=True, remat_policy="none")
    model, batch = build_model(plain), inputs.batch_for(config)
    arrays = tensors.read_tree(
        {path: tensors.as_float32(tensor) for path, tensor in stacks.roll(params).items()}
    )
    apply: Any = jax.jit(lambda params, *tokens: model.apply(params, *tokens, enable_dropout=False))
    return np.asarray(apply({"params": arrays}, *batch.values()))


def check_huggingface(
    folder: Path,
    config: ModelConfig,
    ours: Float[np.ndarray, "2 targets vocab"],
    inputs: Inputs,
) -> Check:
    """Compares with what transformers makes of a folder."""
    reason = reason_of_absence(("torch", "transformers"))
    if reason is not None:
        return Check("transformers", None, f"not installed: {reason}")
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        auto_class = getattr(transformers, f"AutoModelFor{_AUTO_CLASSES[model_kind(config)]}")
        model = auto_class.from_pretrained(
            str(folder), use_safetensors=True, dtype=torch.float32, local_files_only=True
        ).eval()
        given, seen = _their_arguments(config, inputs)
        given = {name: torch.tensor(value.astype(np.int64)) for name, value in given.items()}
        logits = model(**given).logits.numpy()
    if isinstance(config, T5Config):
        return Check(f"transformers {transformers.__version__}", difference(ours, logits))
    if logits.ndim == 2:  # of classes
        found = difference(ours, logits[:, None])
    else:
        if isinstance(config, EncoderOnlyConfig):
            logits = logits[..., exchange_ids(np.arange(logits.shape[-1]))]
        found = difference(ours[seen][None], logits[seen][None])
    return Check(f"transformers {transformers.__version__}", found)


def model_kind(config: ModelConfig) -> str:
    """Returns which of transformers' tasks a model does."""
    if isinstance(config, EncoderOnlyConfig):
        return "masked" if config.num_classes is None else "classes"
    return "pairs" if isinstance(config, T5Config) else "next"


def _their_arguments(
    config: ModelConfig, inputs: Inputs
) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, "2 inputs"]]:
    """Returns what transformers' model is called with, and where its logits mean something."""
    tokens = inputs.encoder_input_tokens
    seen = tokens > 0
    own_ids = exchange_ids(tokens) if isinstance(config, EncoderOnlyConfig) else tokens
    given = {"input_ids": own_ids, "attention_mask": seen}
    if isinstance(config, T5Config):
        targets = inputs.decoder_input_tokens
        given |= {"decoder_input_ids": targets, "decoder_attention_mask": np.ones_like(targets)}
    return given, seen


def check_t5x(
    directory: Path,
    config: T5Config,
    ours: Float[np.ndarray, "2 targets vocab"],
    inputs: Inputs,
) -> Check:
    """Compares with what T5X's network makes of a checkpoint, read by T5X or by Orbax.

    Args:
      config: sizes and activations.
    """
    if importlib.util.find_spec("t5x") is None:
        return Check("T5X", None, "not installed")
    # T5X imports TensorFlow; this keeps it quiet, and off accelerators.
    reason = reason_of_absence(("presence_t5x.data.quiet_tensorflow", "t5x.checkpoints"))
    if reason is not None:
        return Check("T5X", None, f"not installed: {reason}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = _t5x_target(directory)
        paths = tensors.of_tree(target, "T5X")
        scanned = stacks.is_scanned(paths)
        if scanned and not _keeps_heads_apart(paths):
            reason = "no network of T5X's own has stacks of this form (this package's model has)"
            return Check("T5X", None, reason)
        logits = _t5x_logits(target, config, inputs, "scalable_t5" if scanned else "t5")
    return Check("T5X", difference(ours, logits))


def difference(
    ours: Float[np.ndarray, "rows targets vocab"], theirs: Float[np.ndarray, "rows targets vocab"]
) -> float:
    """Returns the largest difference, relative to the logits' root mean square if that is above 1.

    Logits of rows that one side has more in its vocabulary are left out.
    """
    common = min(ours.shape[-1], theirs.shape[-1])
    ours, theirs = ours[..., :common], theirs[..., :common]
    size = max(1.0, float(np.sqrt(np.mean(np.square(theirs, dtype=np.float64)))))
    worst = float(np.max(np.abs(ours - theirs)))
    return worst / size if np.isfinite(worst) else float("inf")


def _t5x_target(directory: Path) -> Any:
    """Returns the parameters of a checkpoint as T5X has them."""
    if not (directory / "checkpoint").is_file():
        leaves = read_orbax(directory / "state")
        found = {path: t for path, t in leaves.items() if path.startswith("target/")}
        return tensors.read_tree(found)["target"]
    checkpoints: Any = importlib.import_module("t5x.checkpoints")
    lazy = checkpoints.load_t5x_checkpoint(str(directory), lazy_parameters=True)
    return jax.tree.map(lambda leaf: leaf.get(), lazy["target"])


def _t5x_logits(target: Any, config: T5Config, inputs: Inputs, network: str) -> np.ndarray:
    package: Any = importlib.import_module(f"t5x.examples.{network}.network")
    shared = ("vocab_size", "emb_dim", "num_heads", "head_dim", "mlp_dim", "mlp_activations")
    shared += ("num_encoder_layers", "num_decoder_layers", "logits_via_embedding")
    sizes = {name: getattr(config, name) for name in shared}
    sizes |= {"vocab_size": np.shape(target["token_embedder"]["embedding"])[0]}
    sizes |= {"scan_layers": True} if network == "scalable_t5" else {}
    module = package.Transformer(
        config=package.T5Config(dtype="float32", dropout_rate=0.0, **sizes)
    )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), target)
    seen = jnp.ones_like(inputs.decoder_input_tokens)
    apply = jax.jit(lambda params, *tokens: module.apply(params, *tokens, enable_dropout=False))
    return np.asarray(apply({"params": params}, *inputs, seen))


def _keeps_heads_apart(params: Tensors) -> bool:
    return any("attention" in path and len(tensor.shape) == 4 for path, tensor in params.items())
