"""Hugging Face's config.json of Llama and XLM-RoBERTa, and the settings that it means, both ways.

Settings that would change a model's function and that ours cannot say are refused by name.
"""

from collections.abc import Mapping
from typing import Any

from presence_t5x._validate import check_int
from presence_t5x.config_types import DecoderOnlyConfig, EncoderOnlyConfig, ModelConfig
from presence_t5x.convert.huggingface_families import LLAMA, XLM_ROBERTA, Names
from presence_t5x.models.encoder_only import POSITION_OFFSET

LLAMA_TYPE, XLM_ROBERTA_TYPE = "llama", "xlm-roberta"
NAMES: dict[str, Names] = {LLAMA_TYPE: LLAMA, XLM_ROBERTA_TYPE: XLM_ROBERTA}
_SIZES = {
    "vocab_size": "vocab_size",
    "emb_dim": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_dim": "intermediate_size",
    "num_layers": "num_hidden_layers",
}
# The functions depend on these, and ours have one value of each.
_FIXED = {
    LLAMA_TYPE: {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    XLM_ROBERTA_TYPE: {
        "hidden_act": "gelu",
        "type_vocab_size": 1,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "is_decoder": False,
    },
}
_MASKED, _CLASSIFIER = "XLMRobertaForMaskedLM", "XLMRobertaForSequenceClassification"


def model_type_of(config: ModelConfig) -> str | None:
    """Returns what Hugging Face calls a model's family; None of an encoder-decoder."""
    types = {DecoderOnlyConfig: LLAMA_TYPE, EncoderOnlyConfig: XLM_ROBERTA_TYPE}
    return types.get(type(config))


def read_config(values: Mapping[str, Any]) -> ModelConfig:
    """Returns what the values of a config.json mean.

    Raises:
      ValueError: a missing size, or a setting that ours cannot say.
    """
    family = values["model_type"]
    for name, wanted in _FIXED[family].items():
        if values.get(name, wanted) != wanted:
            raise ValueError(f"{name}={values[name]!r} is not supported; it must be {wanted!r}")
    missing = [name for name in _SIZES.values() if name not in values]
    if missing:
        raise ValueError(f"the sizes {missing} are missing")
    for name in _SIZES.values():
        check_int(name, values[name], minimum=1)
    sizes = {ours: values[theirs] for ours, theirs in _SIZES.items()}
    head_dim = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
    shared = {**sizes, "head_dim": head_dim, "dtype": "float32", "scan_layers": True}
    if family == LLAMA_TYPE:
        return DecoderOnlyConfig(
            **shared,
            num_kv_heads=values.get("num_key_value_heads"),
            rotary_base=_rotary_base(values),
            norm_epsilon=values.get("rms_norm_eps", 1e-6),
            logits_via_embedding=bool(values.get("tie_word_embeddings", False)),
        )
    architectures = values.get("architectures") or [_MASKED]
    classes = len(values.get("id2label") or (0, 1)) if _CLASSIFIER in architectures else None
    if classes is None and values.get("tie_word_embeddings", True) is False:
        raise ValueError("tie_word_embeddings=False is not supported; logits use the token table")
    return EncoderOnlyConfig(
        **shared,
        max_positions=values.get("max_position_embeddings", 512) - POSITION_OFFSET,
        norm_epsilon=values.get("layer_norm_eps", 1e-12),
        num_classes=classes,
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Returns the values of a config.json that give a model's function in transformers 4 and 5.

    Raises:
      ValueError: heads of a width that Hugging Face's XLM-RoBERTa cannot have.
    """
    family = str(model_type_of(config))
    values = {
        "model_type": family,
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        **_FIXED[family],
    }
    if isinstance(config, DecoderOnlyConfig):
        base = config.rotary_base
        return values | {
            "architectures": ["LlamaForCausalLM"],
            "head_dim": config.head_dim,
            "num_key_value_heads": config.num_kv_heads or config.num_heads,
            "rms_norm_eps": config.norm_epsilon,
            "rope_theta": base,
            "rope_parameters": {"rope_type": "default", "rope_theta": base},
            "tie_word_embeddings": config.logits_via_embedding,
            "max_position_embeddings": 2048,  # of their cache; the function has no such bound
            # Not 0, which begins, too: without a mask transformers hides what may be padding.
            "pad_token_id": None,
            "bos_token_id": 0,  # targets are shifted right by it
            "eos_token_id": 1,
        }
    assert isinstance(config, EncoderOnlyConfig)
    if config.num_heads * config.head_dim != config.emb_dim:
        raise ValueError(
            f"num_heads={config.num_heads} x head_dim={config.head_dim} must be emb_dim="
            f"{config.emb_dim} for Hugging Face's XLM-RoBERTa"
        )
    numbers = range(config.num_classes or 2)
    labels = {str(number): f"LABEL_{number}" for number in numbers}
    return values | {
        "architectures": [_MASKED if config.num_classes is None else _CLASSIFIER],
        "max_position_embeddings": config.max_positions + POSITION_OFFSET,
        "layer_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": True,
        # The vocabulary's, which weights do not tell: theirs are 0 and 2, ours of text are others.
        "bos_token_id": None,
        "eos_token_id": None,
        "id2label": labels,
        "label2id": {name: int(number) for number, name in labels.items()},
    }


def _rotary_base(values: Mapping[str, Any]) -> float:
    """Returns the base, which transformers 4 and 5 keep in different places."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rope, Mapping):
        raise ValueError(f"rope_parameters={rope!r} must be an object with its rope_type")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"rope_type={kind!r} is not supported; it must be 'default'")
    return float(rope.get("rope_theta", values.get("rope_theta", 10_000.0)))
