"""transformers, where it is installed: random models of the T5 family, and folders of them."""

import contextlib
import os

import numpy as np
import pytest

ODD = {  # odd head size, unequal depths, an unpadded vocabulary
    "vocab_size": 515,
    "d_model": 32,
    "d_kv": 7,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
}
CLASSES = {
    "t5": ("T5Config", "T5ForConditionalGeneration"),
    "mt5": ("MT5Config", "MT5ForConditionalGeneration"),
    "umt5": ("UMT5Config", "UMT5ForConditionalGeneration"),
}


def need_transformers():
    """Returns torch and transformers, quiet; skips the test where one is absent."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return torch, transformers


def random_model(family, *, tied, seed=0, **changes):
    """Returns a model with weights that are far from their symmetric start."""
    torch, transformers = need_transformers()
    config_class, model_class = (getattr(transformers, name) for name in CLASSES[family])
    torch.manual_seed(seed)
    sizes = {**ODD, "feed_forward_proj": "gated-gelu", **changes}
    model = model_class(config_class(**sizes, tie_word_embeddings=tied))
    if not tied:  # release 5 ties them whatever the config says
        model.lm_head.weight = torch.nn.Parameter(torch.empty(model.shared.weight.shape))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("layer_norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif "relative_attention_bias" in name:
                parameter.normal_()
            elif "embed" in name or "shared" in name or "lm_head" in name:
                parameter.normal_(0, 0.3)
            else:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
    return model.eval()


def save(model, folder, **options):
    with contextlib.redirect_stderr(None):
        model.save_pretrained(str(folder), **options)
    return folder


def logits_of(model, encoder_input_tokens, decoder_input_tokens):
    torch, _ = need_transformers()
    tokens, decoder_tokens = (
        torch.tensor(np.asarray(part, np.int64))
        for part in (encoder_input_tokens, decoder_input_tokens)
    )
    with torch.no_grad():
        return model(
            input_ids=tokens,
            attention_mask=(tokens > 0).long(),
            decoder_input_ids=decoder_tokens,
            decoder_attention_mask=torch.ones_like(decoder_tokens),
        ).logits.numpy()
