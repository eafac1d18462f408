"""What Hugging Face's Llama and XLM-RoBERTa call our parameters, and how they lay them out.

As in T5's family (`huggingface_names`) linear layers are transposed. XLM-RoBERTa's vocabulary has
`<s>` at 0 and padding at 1, where ours has padding at 0: these two rows of whatever the vocabulary
indexes are exchanged, and so are the two ids among tokens (`exchange_ids`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from presence_t5x.convert import tensors
from presence_t5x.convert.tensors import Tensor, Tensors

_LLAMA_LAYER = {
    "pre_self_attention_layer_norm": "input_layernorm",
    "self_attention/query": "self_attn.q_proj",
    "self_attention/key": "self_attn.k_proj",
    "self_attention/value": "self_attn.v_proj",
    "self_attention/out": "self_attn.o_proj",
    "pre_mlp_layer_norm": "post_attention_layernorm",
    "mlp/wi_0": "mlp.gate_proj",
    "mlp/wi_1": "mlp.up_proj",
    "mlp/wo": "mlp.down_proj",
}
_LLAMA = {
    "token_embedder": "model.embed_tokens",
    "decoder/decoder_norm": "model.norm",
    "decoder/logits_dense": "lm_head",
}
_XLM_ROBERTA_LAYER = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/out": "attention.output.dense",
    "post_attention_layer_norm": "attention.output.LayerNorm",
    "mlp/wi": "intermediate.dense",
    "mlp/wo": "output.dense",
    "post_mlp_layer_norm": "output.LayerNorm",
}
_XLM_ROBERTA = {
    "token_embedder": "roberta.embeddings.word_embeddings",
    "position_embedder": "roberta.embeddings.position_embeddings",
    "encoder/embedding_layer_norm": "roberta.embeddings.LayerNorm",
    "lm_head/dense": "lm_head.dense",
    "lm_head/layer_norm": "lm_head.layer_norm",
    "lm_head": "lm_head",
    "classifier/dense": "classifier.dense",
    "classes": "classifier.out_proj",
}
_TOKEN_TYPE = "roberta.embeddings.token_type_embeddings.weight"


class Names(NamedTuple):
    """A family of models with one stack.

    Attributes:
      stack: what we call it.
      layers: what they call it, before the number of a layer.
      inside, outside: our modules' names to theirs, inside a layer and elsewhere.
      exchanges_ids: their vocabulary has padding at 1 and the start at 0.
    """

    stack: str
    layers: str
    inside: Mapping[str, str]
    outside: Mapping[str, str]
    exchanges_ids: bool = False

    def of(self, path: str) -> str:
        """Returns the name of the parameter that we call `path`.

        Raises:
          ValueError: no parameter of an unrolled model has that path.

        >>> LLAMA.of("decoder/layers_3/mlp/wi_0/kernel")
        'model.layers.3.mlp.gate_proj.weight'
        >>> XLM_ROBERTA.of("encoder/layers_0/post_mlp_layer_norm/bias")
        'roberta.encoder.layer.0.output.LayerNorm.bias'
        """
        module, _, leaf = path.rpartition("/")
        if module == "token_type":
            return _TOKEN_TYPE
        kind = "bias" if leaf == "bias" else "weight"
        stack, _, rest = module.partition("/layers_")
        if stack == self.stack and rest:
            number, _, rest = rest.partition("/")
            if rest in self.inside:
                return f"{self.layers}.{number}.{self.inside[rest]}.{kind}"
        elif module in self.outside:
            return f"{self.outside[module]}.{kind}"
        raise ValueError(f"parameter {path!r} is none of an unrolled model's with a {self.stack}")

    def to_huggingface(self, params: Tensors) -> Tensors:
        """Returns unrolled parameters under Hugging Face's names and in its layouts."""
        return {self.of(path): self._turned(path, tensor) for path, tensor in params.items()}

    def from_huggingface(self, found: Tensors, paths: list[str]) -> tuple[Tensors, Tensors]:
        """Returns the parameters called `paths`, as far as they are there, and what is left."""
        return tensors.renamed(found, {path: self.of(path) for path in paths}, self._turned)

    def _turned(self, path: str, tensor: Tensor) -> Tensor:
        """Rearranges a parameter, either way."""
        if path == "token_type/bias":
            is_theirs = len(tensor.shape) == 2
            return tensors.reshaped(tensor, tensor.shape[1:] if is_theirs else (1, *tensor.shape))
        if self.exchanges_ids and path in ("token_embedder/embedding", "lm_head/bias"):
            return tensors.taken(tensor, exchange_ids(np.arange(tensor.shape[0])), 0)
        return tensors.transposed(tensor) if path.endswith("kernel") else tensor


LLAMA = Names("decoder", "model.layers", _LLAMA_LAYER, _LLAMA)
XLM_ROBERTA = Names("encoder", "roberta.encoder.layer", _XLM_ROBERTA_LAYER, _XLM_ROBERTA, True)


def exchange_ids(ids: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Returns token ids with 0 and 1 exchanged: ours of XLM-RoBERTa's, and theirs of ours.

    >>> exchange_ids(np.array([0, 5, 2, 1])).tolist()
    [1, 5, 2, 0]
    """
    return np.where(ids < 2, 1 - ids, ids)
