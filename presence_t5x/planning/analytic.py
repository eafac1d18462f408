"""The matrix-product FLOPs that a training step needs, from the model's sizes alone.

Written from the architecture (Raffel et al. 2020; Xue et al. 2021) without looking at a program, so
that it can be compared with what the compiler made. Element-wise work and the optimizer are not in
it; embeddings are looked up and cost no product.
"""

from typing import NamedTuple

from presence_t5x.config_types import RunConfig, T5Config


class RowFlops(NamedTuple):
    """Forward FLOPs of one row, a multiply-add being two.

    Attributes:
      projections: query, key, value and output products, and those into the MLP's hidden layer.
      attention: products of activations with each other: scores, and the mix of values.
      mlp_outputs: products back from the MLP's hidden layer.
      logits: of every target position.
    """

    projections: int
    attention: int
    mlp_outputs: int
    logits: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def forward_flops(model: T5Config, num_inputs: int, num_targets: int) -> RowFlops:
    """Returns what one row of the given lengths costs in the forward direction.

    >>> tiny = T5Config(vocab_size=10, emb_dim=4, num_heads=2, head_dim=3, mlp_dim=5,
    ...     num_encoder_layers=1, num_decoder_layers=1)
    >>> forward_flops(tiny, num_inputs=8, num_targets=2)
    RowFlops(projections=3680, attention=2016, mlp_outputs=400, logits=160)
    """
    if model.vocab_size is None:
        raise ValueError("vocab_size=None: set it, e.g. --gin.T5Config.vocab_size=250112")
    encoders, decoders = model.num_encoder_layers, model.num_decoder_layers
    attention_width = model.num_heads * model.head_dim
    one_projection = 2 * model.emb_dim * attention_width
    one_mlp = 2 * model.emb_dim * model.mlp_dim
    # Four projections of a token in self-attention; across, query and output of targets, key and
    # value of inputs.
    encoder_projections = 4 * num_inputs
    decoder_projections = 4 * num_targets + 2 * num_targets + 2 * num_inputs
    num_tokens = encoders * num_inputs + decoders * num_targets
    pairs = encoders * num_inputs**2 + decoders * (num_targets**2 + num_targets * num_inputs)
    return RowFlops(
        projections=(encoders * encoder_projections + decoders * decoder_projections)
        * one_projection
        + num_tokens * one_mlp * len(model.mlp_activations),
        attention=2 * 2 * pairs * attention_width,
        mlp_outputs=num_tokens * one_mlp,
        logits=2 * num_targets * model.emb_dim * model.vocab_size,
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
    the norms of the scored layers, here one block of each stack as in the paper; but for score
    "loss". Where the weights need every score of the step and it has several microbatches, the
    forward pass comes twice.

    Raises:
      ValueError: as `forward_flops`.
    """
    plain, presence = training_flops(config), config.presence
    if config.temperature.schedule == "unweighted" or presence.granularity != "example":
        return plain
    row, extra = _row_flops(config), 0
    if presence.normalizer == "batch" and presence.num_microbatches > 1:
        extra += row.total
    if presence.score != "loss":
        extra += row.total + row.attention + _recomputed_flops(config, row)
        extra += _norm_flops(config)
    return plain + config.data.batch_size * extra


def _row_flops(config: RunConfig) -> RowFlops:
    lengths = config.data.task_feature_lengths
    return forward_flops(config.model, lengths["inputs"], lengths["targets"])


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
    model, lengths = config.model, config.data.task_feature_lengths
    inputs, targets = lengths["inputs"], lengths["targets"]
    width, hidden = model.num_heads * model.head_dim, len(model.mlp_activations) + 1
    # Encoder: self-attention and MLP. Decoder: the same; across, queries and outputs of targets,
    # keys and values of inputs.
    heads = 4 * _one_norm(inputs, model.emb_dim, width)
    heads += (4 + 2) * _one_norm(targets, model.emb_dim, width)
    heads += 2 * _one_norm(inputs, model.emb_dim, width)
    mlps = (_one_norm(length, model.emb_dim, model.mlp_dim) for length in (inputs, targets))
    return heads + hidden * sum(mlps)


def _one_norm(num_tokens: int, num_inputs: int, num_outputs: int) -> int:
    """The cheaper of forming a kernel's gradient and two Gram matrices of tokens."""
    grams = num_tokens**2 * (num_inputs + num_outputs)
    return 2 * min(grams, num_tokens * num_inputs * num_outputs)
