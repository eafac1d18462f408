"""Peers: Hugging Face's mT5 and Llama on PyTorch, trained or differentiated row by row, by plain
loops.

The same sizes and the same initial parameters as ours, float32, gradients accumulated over the same
number of microbatches, and Hugging Face's own Adafactor with T5X's settings. It has no z-loss;
attention is PyTorch's `scaled_dot_product_attention`, the library's default.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from presence_t5x.benchmarking.contenders import (
    SCORING,
    TRAINING,
    Batch,
    Contender,
    num_cores,
    t5_of,
)
from presence_t5x.config_types import DecoderOnlyConfig, RunConfig
from presence_t5x.convert import one_stack_configs, tensors
from presence_t5x.convert.huggingface_families import LLAMA
from presence_t5x.convert.huggingface_names import to_huggingface
from presence_t5x.convert.tensors import Tensors
from presence_t5x.models.families import init_params
from presence_t5x.optimizer import learning_rate_schedule


def check_mt5(config: RunConfig) -> None:
    """Refuses a configuration that mT5 as Hugging Face has it would not train alike.

    Raises:
      ValueError: names the settings and what they would have to be.
    """
    sizes = t5_of(config)
    needed = {
        "T5Config.dtype": (sizes.dtype, "float32"),
        "T5Config.mlp_activations": (sizes.mlp_activations, ("gelu", "linear")),
        "T5Config.logits_via_embedding": (sizes.logits_via_embedding, False),
        "T5Config.scan_layers": (sizes.scan_layers, False),
        "OPTIMIZER": (config.optimizer.name, "adafactor"),
    }
    _check_alike("mT5", needed)


def check_llama(config: RunConfig) -> None:
    """Refuses a configuration that Llama as Hugging Face has it would not train alike.

    Raises:
      ValueError: names the settings and what they would have to be.
    """
    model = config.model
    needed = {
        "DecoderOnlyConfig.dtype": (model.dtype, "float32"),
        "DecoderOnlyConfig.scan_layers": (model.scan_layers, False),
        "DROPOUT_RATE": (model.dropout_rate, 0.0),
        "OBJECTIVE": (config.data.objective, "next_token"),
        "OPTIMIZER": (config.optimizer.name, "adafactor"),
    }
    _check_alike("Llama", needed)


def _check_alike(title: str, needed: dict[str, tuple[Any, Any]]) -> None:
    """Raises ValueError for settings that are not what they have to be."""
    wrong = [f"{name}={value!r}" for name, (value, wanted) in needed.items() if value != wanted]
    if wrong:
        wanted = ", ".join(f"{name}={needed[name.split('=')[0]][1]!r}" for name in wrong)
        raise ValueError(
            f"{', '.join(wrong)}: Hugging Face's {title} is compared with {wanted} alone; set "
            "that, or leave the peer out (--peers=none)"
        )


def mt5_training(config: RunConfig, batch: Batch) -> Contender:
    """Returns a step of mT5: forward and backward passes over the microbatches and one update."""
    torch, transformers = _libraries()
    return _training("mT5", _mt5(torch, transformers, config), config, _mt5_inputs(batch))


def llama_training(config: RunConfig, batch: Batch) -> Contender:
    """Returns a step of Llama; its inputs begin with our begin token, so that nothing is lost."""
    torch, transformers = _libraries()
    targets = batch["decoder_target_tokens"]
    inputs = {"input_ids": batch["decoder_input_tokens"], "labels": targets}
    model = _llama(torch, transformers, config)
    return _training("Llama", model, config, inputs | {"shift_labels": targets})


def _libraries() -> tuple[Any, Any]:
    """Returns torch, on all cores, and transformers."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(num_cores())
    return torch, importlib.import_module("transformers")


def _training(
    title: str, model: Any, config: RunConfig, inputs: dict[str, np.ndarray]
) -> Contender:
    torch, transformers = _libraries()
    optimizer = transformers.Adafactor(
        model.parameters(),
        lr=float(learning_rate_schedule(config.optimizer)(0)),
        clip_threshold=config.optimizer.clipping_threshold or math.inf,
        decay_rate=-config.optimizer.decay_rate,
        scale_parameter=config.optimizer.multiply_by_parameter_scale,
        relative_step=False,
        warmup_init=False,
    )
    num_microbatches = config.presence.num_microbatches
    microbatches = _parts(torch, inputs, num_microbatches)

    def step() -> float:
        total = 0.0
        for rows in microbatches:
            loss = model(**rows, use_cache=False).loss / num_microbatches
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        return total

    return Contender(
        title=f"Hugging Face {title}, PyTorch",
        description=f"transformers {transformers.__version__}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, eager, {model.config._attn_implementation} attention, "
        f"its Adafactor, {num_microbatches} microbatches",
        kind=TRAINING,
        step=step,
        value_of=float,
    )


def check_mt5_scoring(config: RunConfig) -> None:
    """Refuses what `check_mt5` refuses, and other layers than the first blocks.

    Raises:
      ValueError: names the settings and what they would have to be.
    """
    check_mt5(config)
    if set(config.presence.layers) != set(_FIRST_BLOCKS):
        raise ValueError(
            f"SCORE_LAYERS={tuple(config.presence.layers)!r}: Hugging Face's mT5 is compared with "
            f"{_FIRST_BLOCKS} alone; set that, or leave the peer out"
        )


def mt5_scoring(config: RunConfig, batch: Batch) -> Contender:
    """Returns the backward pass of every row, and the squared norms of its first blocks."""
    torch, transformers = _libraries()
    model = _mt5(torch, transformers, config)
    scored = [
        parameter
        for block in (model.encoder.block[0], model.decoder.block[0])
        for name, parameter in block.named_parameters()
        if "relative_attention_bias" not in name  # the stack's, in our tree
    ]
    size = config.data.batch_size
    rows = _parts(torch, _mt5_inputs(batch), size)

    def score(row: dict[str, Any]) -> float:
        model.zero_grad(set_to_none=True)
        model(**row, use_cache=False).loss.backward()
        return sum(float(parameter.grad.square().sum()) for parameter in scored)

    return Contender(
        title="Hugging Face mT5, row by row",
        description=f"transformers {transformers.__version__}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, eager: {size} backward passes of one row",
        kind=SCORING,
        step=lambda: [score(row) for row in rows],
        value_of=np.asarray,
    )


_FIRST_BLOCKS = ("encoder/layers_0", "decoder/layers_0")
_FEATURES = {
    "encoder_input_tokens": "input_ids",
    "decoder_input_tokens": "decoder_input_ids",
    "decoder_target_tokens": "labels",
}


def _mt5_inputs(batch: Batch) -> dict[str, np.ndarray]:
    return {theirs: batch[ours] for ours, theirs in _FEATURES.items()}


def _parts(torch: Any, inputs: dict[str, np.ndarray], number: int) -> list[dict[str, Any]]:
    """Returns microbatches of inputs as PyTorch's integers."""
    parts = (torch.from_numpy(x.astype(np.int64)).chunk(number) for x in inputs.values())
    return [dict(zip(inputs, values)) for values in zip(*parts)]


def _mt5(torch: Any, transformers: Any, config: RunConfig) -> Any:
    """Returns mT5 of the configured sizes with our initial parameters, in training mode."""
    sizes = t5_of(config)
    settings = transformers.MT5Config(
        vocab_size=sizes.vocab_size,
        d_model=sizes.emb_dim,
        d_kv=sizes.head_dim,
        d_ff=sizes.mlp_dim,
        num_heads=sizes.num_heads,
        num_layers=sizes.num_encoder_layers,
        num_decoder_layers=sizes.num_decoder_layers,
        dropout_rate=sizes.dropout_rate,
        feed_forward_proj="gated-gelu",
    )
    settings.tie_word_embeddings = False  # release 5 ignores the argument of that name
    model = transformers.MT5ForConditionalGeneration(settings)
    model.set_input_embeddings(model.shared)  # release 5 would give each stack a table of its own
    return _with_our_parameters(torch, model, config, to_huggingface)


def _llama(torch: Any, transformers: Any, config: RunConfig) -> Any:
    """Returns Llama of the configured sizes with our initial parameters, in training mode."""
    assert isinstance(config.model, DecoderOnlyConfig)
    settings = transformers.LlamaConfig(**one_stack_configs.write_config(config.model))
    model = transformers.LlamaForCausalLM(settings)
    return _with_our_parameters(torch, model, config, LLAMA.to_huggingface)


def _with_our_parameters(
    torch: Any, model: Any, config: RunConfig, to_theirs: Callable[[Tensors], Tensors]
) -> Any:
    params = init_params(config.model, jax.random.key(config.random_seed))
    values = to_theirs(tensors.of_tree(params, "initial parameters"))
    parameters = dict(model.named_parameters())
    if parameters.keys() != values.keys():
        raise RuntimeError(
            f"{type(model).__name__} has other parameters than expected: "
            f"{sorted(parameters.keys() ^ values.keys())[:4]}"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.tensor(values[name].read()))
    return model.train()
