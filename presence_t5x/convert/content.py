"""What a checkpoint holds once its format is forgotten: sizes, parameters, moments, step.

Parameters are those of an unrolled model under T5X's names; `sized` finds a T5's sizes in their
shapes, and `check_complete` refuses what is not such a model's.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from presence_t5x.config_types import ModelConfig, T5Config
from presence_t5x.convert import stacks, tensors
from presence_t5x.convert.moments import Moments
from presence_t5x.convert.tensors import Tensor, Tensors
from presence_t5x.models.families import init_params

_EMBEDDING = "token_embedder/embedding"
_TABLES = (
    "encoder/relpos_bias/rel_embedding",
    "encoder/layers_0/relpos_bias/rel_embedding",
)
_QUERY = "encoder/layers_0/attention/query/kernel"
_GATED, _PLAIN = ("gelu", "linear"), ("relu",)


class Content(NamedTuple):
    """A checkpoint, unread as far as its format allows.

    Attributes:
      config: the model's, in float32; `scan_layers` tells how the source is laid out.
      params: unrolled, as `stacks.unroll` gives them; in the dtype they are stored in.
      moments: Adafactor's, by the path of `params`; None if there are none that carry over.
      step: updates done; 0 where a format does not say.
      notes: what had to be decided, a line each.
      leftovers: what is there besides and has no place here: path and shape.
    """

    config: ModelConfig
    params: Tensors
    moments: Mapping[str, Moments] | None
    step: int
    notes: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()


def sized(params: Tensors, origin: str, *, scan_layers: bool) -> T5Config:
    """Returns the configuration whose model has such parameters.

    Shapes do not tell activations: two input kernels are taken for the gated GELU of T5 v1.1 and
    mT5, one for the ReLU of T5 v1.0.

    Args:
      params: unrolled.
      origin: the checkpoint, for messages.

    Raises:
      ValueError: a parameter that is needed to tell is missing.
    """
    per_layer = _TABLES[0] not in params
    vocab_size, emb_dim = _shape(params, _EMBEDDING, origin)
    num_heads, _ = _shape(params, _TABLES[per_layer], origin)
    _, joined = _shape(params, _QUERY, origin)
    is_gated = "encoder/layers_0/mlp/wi_0/kernel" in params
    name = "wi_0" if is_gated else "wi"
    _, mlp_dim = _shape(params, f"encoder/layers_0/mlp/{name}/kernel", origin)
    if joined % num_heads:
        raise ValueError(
            f"{params[_QUERY].origin} has {joined} columns, which {num_heads} heads do not divide"
        )
    sizes = {
        "vocab_size": vocab_size,
        "emb_dim": emb_dim,
        "num_heads": num_heads,
        "head_dim": joined // num_heads,
        "mlp_dim": mlp_dim,
        "num_encoder_layers": _num_layers(params, "encoder"),
        "num_decoder_layers": _num_layers(params, "decoder"),
        "mlp_activations": _GATED if is_gated else _PLAIN,
        "dtype": "float32",
        "logits_via_embedding": "decoder/logits_dense/kernel" not in params,
        "position_biases_per_layer": per_layer,
        "scan_layers": scan_layers,
    }
    try:
        return T5Config(**sizes)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}; its shapes are those of no T5") from error


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the unrolled model's parameters by path; allocates nothing."""
    scanned = dataclasses.replace(config, scan_layers=True, remat_policy="none")
    tree = jax.eval_shape(lambda: init_params(scanned, jax.random.key(0)))
    unrolled = stacks.unroll(tensors.of_tree(tree, "model"))
    return {path: tensor.shape for path, tensor in unrolled.items()}


def check_complete(params: Tensors, config: ModelConfig, origin: str) -> Tensors:
    """Returns what is left over, after refusing parameters that are missing or misshapen.

    Raises:
      ValueError: names file, parameter and shapes.
    """
    wanted = expected_shapes(config)
    missing = [f"{path} {shape}" for path, shape in wanted.items() if path not in params]
    if missing:
        raise ValueError(f"{origin}: parameters are missing: {shorten(missing)}")
    for path, shape in wanted.items():
        if params[path].shape != shape:
            raise ValueError(
                f"{params[path].origin} ({path}) has the shape {params[path].shape}; a model of "
                f"its sizes has {shape}"
            )
    return {path: tensor for path, tensor in params.items() if path not in wanted}


def describe(left: Tensors) -> tuple[str, ...]:
    """Returns paths with shapes, for messages."""
    return tuple(f"{path} {tensor.shape}" for path, tensor in sorted(left.items()))


def shorten(names: Iterable[str], most: int = 4) -> str:
    """Returns names joined by commas, the first few of many."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _shape(params: Tensors, path: str, origin: str) -> tuple[int, int]:
    """Returns the two sizes of a matrix that must be there."""
    tensor: Tensor | None = params.get(path)
    if tensor is None:
        raise ValueError(f"{origin}: parameter {path!r} is missing; is this a T5?")
    if len(tensor.shape) != 2:
        raise ValueError(f"{tensor.origin} ({path}) has the shape {tensor.shape}, not two sizes")
    return tensor.shape  # pyright: ignore[reportReturnType]


def _num_layers(params: Tensors, stack: str) -> int:
    """Returns one more than the largest number of a layer; 1 if there is none, for the message."""
    numbers: list[Any] = [re.match(rf"{stack}/layers_(\d+)/", path) for path in params]
    return 1 + max((int(match[1]) for match in numbers if match), default=0)
