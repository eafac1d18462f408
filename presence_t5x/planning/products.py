"""The matrix products of one row's forward pass, family by family, from sizes alone.

Written from the architectures (Raffel et al. 2020; Touvron et al. 2023; Conneau et al. 2020)
without looking at a program. Embeddings are looked up and cost no product.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from presence_t5x.config_types import (
    DecoderOnlyConfig,
    EncoderOnlyConfig,
    ModelConfig,
    T5Config,
)
from presence_t5x.vocabulary_table import table_setting


class Product(NamedTuple):
    """So many tokens' vectors times a matrix."""

    num_tokens: int
    num_inputs: int
    num_outputs: int

    @property
    def flops(self) -> int:
        """A multiply-add being two."""
        return 2 * self.num_tokens * self.num_inputs * self.num_outputs


class Block(NamedTuple):
    """One of a stack's blocks.

    Attributes:
      count: blocks in the stack.
      projections: products that a backward pass needs the results of, in the block itself.
      last: the product whose result is only added to what the next block sees.
      pairs: of a query and a key in sight of each other or not.
      attention_width: features of all query heads together.
    """

    count: int
    projections: tuple[Product, ...]
    last: tuple[Product, ...]
    pairs: int
    attention_width: int


class RowProducts(NamedTuple):
    """All products of a row: its blocks, one entry a stack, and what turns vectors into logits."""

    blocks: tuple[Block, ...]
    head: tuple[Product, ...]


def row_products(
    model: ModelConfig, lengths: Mapping[str, int], most_targets: int | None = None
) -> RowProducts:
    """Returns the products of a row.

    Args:
      lengths: tokens of a row in each stack (`ModelConfig.row_lengths`).
      most_targets: positions that have logits; None is all.

    Raises:
      ValueError: the size of the vocabulary is not known.
    """
    if model.vocab_size is None:
        raise ValueError(f"vocab_size=None: set it, e.g. --gin.{table_setting(model)}=250112")
    products = _FAMILIES[type(model)](model, lengths)
    *others, logits = products.head
    if most_targets is not None:
        logits = logits._replace(num_tokens=min(most_targets, logits.num_tokens))
    return products._replace(head=(*others, logits))


def _attention(model: ModelConfig, queries: int, keys: int, kv_heads: int) -> tuple[Product, ...]:
    """Projections of queries and outputs, then of keys and values."""
    width, kv_width = model.num_heads * model.head_dim, kv_heads * model.head_dim
    query, out = Product(queries, model.emb_dim, width), Product(queries, width, model.emb_dim)
    return query, out, *2 * (Product(keys, model.emb_dim, kv_width),)


def _t5(model: T5Config, lengths: Mapping[str, int]) -> RowProducts:
    inputs, targets = lengths["encoder"], lengths["decoder"]
    width, heads = model.num_heads * model.head_dim, model.num_heads

    def block(count: int, length: int, attention: tuple[Product, ...], pairs: int) -> Block:
        hidden = len(model.mlp_activations) * (Product(length, model.emb_dim, model.mlp_dim),)
        last = Product(length, model.mlp_dim, model.emb_dim)
        return Block(count, attention + hidden, (last,), pairs, width)

    across = _attention(model, targets, inputs, heads)
    encoder = _attention(model, inputs, inputs, heads)
    decoder = _attention(model, targets, targets, heads) + across
    blocks = (
        block(model.num_encoder_layers, inputs, encoder, inputs**2),
        block(model.num_decoder_layers, targets, decoder, targets**2 + targets * inputs),
    )
    return RowProducts(blocks, (Product(targets, model.emb_dim, model.vocab_size or 0),))


def _decoder_only(model: DecoderOnlyConfig, lengths: Mapping[str, int]) -> RowProducts:
    length, kv_heads = lengths["decoder"], model.num_kv_heads or model.num_heads
    hidden = 2 * (Product(length, model.emb_dim, model.mlp_dim),)
    projections = _attention(model, length, length, kv_heads) + hidden
    last = (Product(length, model.mlp_dim, model.emb_dim),)
    width = model.num_heads * model.head_dim
    block = Block(model.num_layers, projections, last, length**2, width)
    return RowProducts((block,), (Product(length, model.emb_dim, model.vocab_size or 0),))


def _encoder_only(model: EncoderOnlyConfig, lengths: Mapping[str, int]) -> RowProducts:
    length, width = lengths["encoder"], model.num_heads * model.head_dim
    mlp = (
        Product(length, model.emb_dim, model.mlp_dim),
        Product(length, model.mlp_dim, model.emb_dim),  # a norm follows, which needs its result
    )
    attention = _attention(model, length, length, model.num_heads)
    block = Block(model.num_layers, attention + mlp, (), length**2, width)
    num_outputs = model.num_classes or model.vocab_size or 0
    tokens = length if model.num_classes is None else 1
    head = Product(tokens, model.emb_dim, model.emb_dim)
    return RowProducts((block,), (head, Product(tokens, model.emb_dim, num_outputs)))


_FAMILIES: dict[type[ModelConfig], Callable[[Any, Mapping[str, int]], RowProducts]] = {
    T5Config: _t5,
    DecoderOnlyConfig: _decoder_only,
    EncoderOnlyConfig: _encoder_only,
}
