"""Tables that are looked up: of tokens, and of positions."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from presence_t5x import ghost_norms
from presence_t5x.config_types import ModelConfig
from presence_t5x.models.layers import Initializer, norm_probe
from presence_t5x.partitioning import constrain


class Embedding(nn.Module):
    """A table of token vectors, looked up by gather; its gradient is a scatter of summed vectors.

    T5X multiplies by a one-hot matrix, which gives the same vectors. Ids outside the vocabulary
    (T5X: zero vectors) give NaN, so that a wrong vocabulary is seen in the first loss.
    """

    vocab_size: int
    emb_dim: int
    dtype: jnp.dtype
    embedding_init: Initializer = nn.initializers.normal(1.0)

    def setup(self):
        if self.has_variable("params", "embedding"):  # all of it, or a device's part of its rows
            self.embedding = self.get_variable("params", "embedding")
        else:
            shape = (self.vocab_size, self.emb_dim)
            self.embedding = self.param("embedding", self.embedding_init, shape, jnp.float32)

    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length embed"]:
        """Returns the vectors of `tokens` in `dtype`."""
        probe = norm_probe(self, "embedding")
        table = constrain(self.embedding, ("vocab", "embed"))
        return ghost_norms.lookup(table, tokens, probe, self.vocab_size, self.dtype)

    def attend(
        self, inputs: Float[Array, "batch length embed"]
    ) -> Float[Array, "batch length vocab"]:
        """Returns the float32 product of each vector with every token's vector."""
        return jnp.einsum("ble,ve->blv", inputs.astype(jnp.float32), self.embedding)


class LearnedPositions(nn.Module):
    """A table of vectors for positions, with rows that no position uses before the first.

    It is looked up by a product with a one-hot matrix, a thousandth of a large model's step: XLA
    (jaxlib 0.10.2) fails to partition a gather from it where fsdp and tensor axes meet. Positions
    beyond the table give NaN, like tokens.
    """

    num_positions: int
    emb_dim: int
    dtype: jnp.dtype
    offset: int
    embedding_init: Initializer

    @nn.compact
    def __call__(self, positions: Int[Array, "batch length"]) -> Float[Array, "batch length embed"]:
        """Returns the vectors of positions from 0 on; -1 is padding's, the row before the first."""
        num_rows = self.num_positions + self.offset
        shape = (num_rows, self.emb_dim)
        table = self.param("embedding", self.embedding_init, shape, jnp.float32)
        rows = positions + self.offset
        chosen = (rows[..., None] == jnp.arange(num_rows)[None, None]).astype(self.dtype)
        probe = norm_probe(self, "embedding")
        vectors = ghost_norms.dense(chosen, table.astype(self.dtype), probe)
        return jnp.where((rows < num_rows)[..., None], vectors, jnp.nan)


def table_rows(config: ModelConfig) -> int:
    """Returns the rows of the embedding table; ValueError while a run has not filled them in."""
    if config.vocab_size is None:
        raise ValueError(
            "vocab_size=None: set it to the vocabulary's size rounded up to a multiple of 128"
        )
    return config.vocab_size
