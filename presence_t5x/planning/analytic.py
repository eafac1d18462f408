"""The matrix-product FLOPs that a training step needs, from the model's sizes alone.

What one row multiplies is `products`; nothing here looks at a program, so that it can be compared
with what the compiler made. Element-wise work and the optimizer are not in it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from presence_t5x.config_types import ModelConfig, RunConfig
from presence_t5x.config_types.weighting import UNWEIGHTED
from presence_t5x.planning.products import Product, row_products


class RowFlops(NamedTuple):
    """Forward FLOPs of one row, a multiply-add being two.

    Attributes:
      projections: query, key, value and output products, and those into the MLP's hidden layer.
      attention: products of activations with each other: scores, and the mix of values.
      mlp_outputs: products back from the MLP's hidden layer, where nothing but a sum follows them.
      logits: of the target positions, with what comes after the last block.
    """

    projections: int
    attention: int
    mlp_outputs: int
    logits: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def forward_flops(
    model: ModelConfig, lengths: Mapping[str, int], most_targets: int | None = None
) -> RowFlops:
    """Returns what one row costs in the forward direction.

    Args:
      lengths: tokens of a row in each stack (`ModelConfig.row_lengths`).
      most_targets: positions that have logits; None is all.

    >>> from presence_t5x.config_types import T5Config
    >>> tiny = T5Config(vocab_size=10, emb_dim=4, num_heads=2, head_dim=3, mlp_dim=5,
    ...     num_encoder_layers=1, num_decoder_layers=1)
    >>> forward_flops(tiny, {"encoder": 8, "decoder": 2})
    RowFlops(projections=3680, attention=2016, mlp_outputs=400, logits=160)
    """
    blocks, head = row_products(model, lengths, most_targets)
    return RowFlops(
        projections=sum(block.count * _flops(block.projections) for block in blocks),
        attention=sum(4 * block.count * block.pairs * block.attention_width for block in blocks),
        mlp_outputs=sum(block.count * _flops(block.last) for block in blocks),
        logits=_flops(head),
    )


def training_flops(config: RunConfig) -> int:
    """Returns the FLOPs of a whole unweighted step, over all devices.

    Backward costs twice forward: a gradient for each of a product's two factors. The remat policy
    "attention" recomputes one of attention's two products of activations, "minimal" both, "full"
    the projections as well; an MLP's last product is recomputed by none, for nothing in its own
    layer needs it again.
    """
    row = _row_flops(config)
    return config.data.batch_size * (3 * row.total + _recomputed_flops(config, row))


def weighted_training_flops(config: RunConfig) -> int:
    """Returns the FLOPs of a whole step as the run weights it, over all devices.

    Microbatches and shards are scored by gradients that the step has anyway. Examples take the
    gradients of activations once more (one product a parameter, two where activations meet) and
    the norms of the scored layers, counted as the first block of each stack, the paper's, whatever
    is scored; but for score "loss". Where the weights need every score of the step and it has
    several microbatches, the forward pass comes twice.

    Raises:
      ValueError: as `forward_flops`.
    """
    plain, presence = training_flops(config), config.presence
    if config.temperature.schedule == UNWEIGHTED or presence.granularity != "example":
        return plain
    row, extra = _row_flops(config), 0
    if presence.normalizer == "batch" and presence.num_microbatches > 1:
        extra += row.total
    if presence.score != "loss":
        extra += row.total + row.attention + _recomputed_flops(config, row)
        extra += _norm_flops(config)
    return plain + config.data.batch_size * extra


def _row_flops(config: RunConfig) -> RowFlops:
    return forward_flops(config.model, config.row_lengths, config.data.most_targets)


def _flops(products: tuple[Product, ...]) -> int:
    return sum(product.flops for product in products)


def _recomputed_flops(config: RunConfig, row: RowFlops) -> int:
    """What a row's backward pass computes a second time."""
    return {
        "none": 0,
        "elementwise": 0,
        "attention": row.attention // 2,
        "minimal": row.attention,
        "full": row.attention + row.projections,
    }[config.model.remat_policy]


def _norm_flops(config: RunConfig) -> int:
    """What the norms of a row's gradients cost for one block of each stack (`ghost_norms`)."""
    blocks, _ = row_products(config.model, config.row_lengths)
    return sum(_one_norm(product) for block in blocks for product in block.projections + block.last)


def _one_norm(product: Product) -> int:
    """The cheaper of forming a kernel's gradient and two Gram matrices of tokens."""
    grams = product.num_tokens**2 * (product.num_inputs + product.num_outputs)
    return min(2 * grams, product.flops)
