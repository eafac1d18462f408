"""Hugging Face's config.json of the T5 family, and the `T5Config` that it means, both ways.

The family: "t5" (T5 v1.1 and ByT5 as well), "mt5", and "umt5", whose layers each have their own
position table. Settings that would change a model's function and that `T5Config` cannot say are
refused by name; those about training and generation are not looked at.

Whether logits are scaled by d_model ** -0.5 is said differently over time. transformers 4 scaled
tied models. transformers 5 scales "t5" and "umt5" where `scale_decoder_outputs` (when it is
missing, `tie_word_embeddings`) is not false, and never "mt5".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from presence_t5x.config_types import T5Config

# feed_forward_proj -> mlp_activations. What Hugging Face calls "gelu" alone is another function.
_ACTIVATIONS = {
    "relu": ("relu",),
    "silu": ("silu",),
    "gelu_new": ("gelu",),
    "gated-gelu": ("gelu", "linear"),
    "gated-relu": ("relu", "linear"),
    "gated-silu": ("silu", "linear"),
    "gated-gelu_new": ("gelu", "linear"),
}
_CLASSES = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "umt5": "UMT5ForConditionalGeneration",
}
_DEFAULT_FEED_FORWARD = {"t5": "relu", "mt5": "gated-gelu", "umt5": "gated-gelu"}
# The function depends on these, and ours has one value of each.
_FIXED = {
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "is_encoder_decoder": True,
}
_SIZES = {
    "vocab_size": "vocab_size",
    "emb_dim": "d_model",
    "head_dim": "d_kv",
    "mlp_dim": "d_ff",
    "num_heads": "num_heads",
    "num_encoder_layers": "num_layers",
}


class HuggingFaceConfig(NamedTuple):
    """What a config.json says of the function.

    Attributes:
      config: sizes, activations and position tables; whether logits come from the token table is
        for the parameters to say.
      scales_logits: by d_model ** -0.5.
      says_untied: logits must have a matrix of their own; otherwise they have one if the file holds
        one.
    """

    config: T5Config
    scales_logits: bool
    says_untied: bool


def read_config(values: Mapping[str, Any], has_output: bool) -> HuggingFaceConfig:
    """Returns what the values of a config.json mean.

    Args:
      has_output: the parameters hold a matrix for logits of its own.

    Raises:
      ValueError: another family, a missing size, or a setting that `T5Config` cannot say.
    """
    family = values.get("model_type")
    if not isinstance(family, str) or family not in _CLASSES:
        raise ValueError(
            f"model_type={family!r} is none that is read here: {sorted(_CLASSES)}, 'llama', "
            "'xlm-roberta'"
        )
    for name, wanted in _FIXED.items():
        if values.get(name, wanted) != wanted:
            raise ValueError(f"{name}={values[name]!r} is not supported; it must be {wanted!r}")
    missing = [name for name in _SIZES.values() if name not in values]
    if missing:
        raise ValueError(f"the sizes {missing} are missing")
    sizes = {ours: values[theirs] for ours, theirs in _SIZES.items()}
    decoder_layers = values.get("num_decoder_layers")
    config = T5Config(
        **sizes,
        num_decoder_layers=values["num_layers"] if decoder_layers is None else decoder_layers,
        mlp_activations=_activations(
            values.get("feed_forward_proj", _DEFAULT_FEED_FORWARD[family])
        ),
        dtype="float32",
        scan_layers=True,  # files have neither form; this package's mT5s stack their layers
        position_biases_per_layer=family == "umt5",
    )
    says_tied = values.get("tie_word_embeddings", family != "mt5") is not False
    scales_logits = _scales_logits(values, family, says_tied and not has_output)
    return HuggingFaceConfig(config, scales_logits, says_untied=not says_tied)


def write_config(config: T5Config) -> dict[str, Any]:
    """Returns the values of a config.json that give a model's function in transformers 4 and 5.

    Tied models are "t5" (or "umt5"), for transformers 5 would not scale the logits of an "mt5".

    Raises:
      ValueError: activations that Hugging Face has no name for.
    """
    family = "t5" if config.logits_via_embedding else "mt5"
    family = "umt5" if config.position_biases_per_layer else family
    return {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "num_decoder_layers": config.num_decoder_layers,
        "feed_forward_proj": _feed_forward_proj(config.mlp_activations),
        "tie_word_embeddings": config.logits_via_embedding,
        **({} if family == "mt5" else {"scale_decoder_outputs": config.logits_via_embedding}),
        **_FIXED,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "initializer_factor": 1.0,
        "use_cache": True,
    }


def _scales_logits(values: Mapping[str, Any], family: str, is_tied: bool) -> bool:
    """Returns whether the library scales logits; of an old tied "mt5" it has to be told."""
    if "scale_decoder_outputs" in values:
        return bool(values["scale_decoder_outputs"])
    if family != "mt5":
        return values.get("tie_word_embeddings", True) is not False
    major = str(values.get("transformers_version", "5")).split(".")[0]
    if is_tied and major.isdigit() and int(major) < 5:
        raise ValueError(
            f"transformers {values['transformers_version']} scaled the logits of a tied mt5 by "
            'd_model ** -0.5, transformers 5 does not; add "scale_decoder_outputs": true (as it '
            "was trained there) or false"
        )
    return False


def _activations(feed_forward: Any) -> tuple[str, ...]:
    if not isinstance(feed_forward, str) or feed_forward not in _ACTIVATIONS:
        raise ValueError(
            f"feed_forward_proj={feed_forward!r} is not supported; use one of "
            f"{sorted(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[feed_forward]


def _feed_forward_proj(activations: Any) -> str:
    for name, ours in _ACTIVATIONS.items():
        if ours == tuple(activations):
            return name
    raise ValueError(
        f"mlp_activations={tuple(activations)} have no name in Hugging Face's T5; it knows "
        f"{sorted(_ACTIVATIONS.values())}"
    )
