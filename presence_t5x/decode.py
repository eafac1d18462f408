"""Generating targets: a model's cached steps under a search, as one jitted function.

Which hypotheses go on is `search`, how a model sees one position `models.t5_decoding` and
`models.decoder_only_decoding`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from presence_t5x.config_types import DecoderOnlyConfig, DecodingConfig, ModelConfig, T5Config
from presence_t5x.layouts import Layout
from presence_t5x.models import decoder_only_decoding, t5_decoding
from presence_t5x.models.caches import CACHE, reorder_beams
from presence_t5x.search import Decoded, Stepper, beam_search, greedy_search


class _Generator(NamedTuple):
    """How a family generates.

    Attributes:
      model: the class of its cached step.
      start_cache: what it has seen before the first target.
    """

    model: Any
    start_cache: Callable[..., dict[str, Any]]


_GENERATORS: dict[type[ModelConfig], _Generator] = {
    T5Config: _Generator(t5_decoding.CachedT5, t5_decoding.start_cache),
    DecoderOnlyConfig: _Generator(
        decoder_only_decoding.CachedDecoderOnly, decoder_only_decoding.start_cache
    ),
}


def make_decoder(
    config: ModelConfig, decoding: DecodingConfig, mesh: jax.sharding.Mesh | None = None
) -> Callable[[PyTree, Int[Array, "rows inputs"]], Decoded]:
    """Returns the jitted (params, input_tokens) -> `Decoded`.

    A row's result depends on no other row and, up to rounding, not on how far its inputs are padded
    (with 0); a row of padding alone gives zeros. On a mesh, rows are cut over the devices and every
    device stops by itself.

    Args:
      config: of the model; dropout and rematerialisation do not apply.
      mesh: whose row devices must divide the rows; None is a single device.

    Raises:
      ValueError: a model that generates no text, or a decoder-only one of which `decoding` does not
        tell how it sees inputs.

    >>> from presence_t5x.models.families import init_params
    >>> config = T5Config(vocab_size=10, emb_dim=8, num_heads=2, head_dim=4, mlp_dim=16,
    ...     num_encoder_layers=1, num_decoder_layers=1, dtype="float32")
    >>> decode = make_decoder(config, DecodingConfig(max_length=5, num_beams=2))
    >>> tokens, scores = decode(init_params(config, jax.random.key(0)), jnp.array([[3, 4, 1, 0]]))
    >>> tokens.shape, scores.shape
    ((1, 2, 5), (1, 2))
    """
    if type(config) not in _GENERATORS:
        raise ValueError(
            f"{type(config).__name__}: a model without a decoder generates no text; take a "
            "checkpoint of a T5 or of a decoder"
        )
    if isinstance(config, DecoderOnlyConfig) and decoding.causal_inputs is None:
        raise ValueError(
            "causal_inputs=None: a DecoderOnlyConfig does not tell how it was trained to see its "
            "inputs; set causal_inputs=True (objective 'next_token') or False ('prefix')"
        )
    fun = functools.partial(_decode, config, decoding)
    if mesh is None:
        return jax.jit(fun)
    return jax.jit(lambda params, tokens: Layout(mesh).map_rows(fun, params, tokens))


def _decode(
    config: ModelConfig, decoding: DecodingConfig, params: PyTree, inputs: Int[Array, "rows inputs"]
) -> Decoded:
    """Reads the inputs, then searches."""
    generator = _GENERATORS[type(config)]

    def step(cache: PyTree, last: Array) -> tuple[Array, PyTree]:
        logits, variables = generator.model(config).apply(
            {"params": params, CACHE: cache}, last, inputs, decoding.max_length, mutable=[CACHE]
        )
        return logits, variables[CACHE]

    cache = generator.start_cache(config, params, inputs, decoding)
    stepper = Stepper(step, functools.partial(reorder_beams, config))
    search = greedy_search if decoding.num_beams is None else beam_search
    return search(stepper, cache, jnp.any(inputs > 0, axis=1), decoding)
