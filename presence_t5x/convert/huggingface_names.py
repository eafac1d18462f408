"""What Hugging Face's T5 family calls our parameters, and how it lays them out.

Its linear layers hold (features, inputs), ours (inputs, features), so that all but the token table
are transposed. Its position tables are in block 0, or in every block of umT5.
"""

from presence_t5x.convert import tensors
from presence_t5x.convert.tensors import Tensor, Tensors

_SUBLAYERS = {
    "attention": "0.SelfAttention",
    "pre_attention_layer_norm": "0.layer_norm",
    "self_attention": "0.SelfAttention",
    "pre_self_attention_layer_norm": "0.layer_norm",
    "encoder_decoder_attention": "1.EncDecAttention",
    "pre_cross_attention_layer_norm": "1.layer_norm",
}
EMBEDDING = "shared.weight"
OUTPUT = "lm_head.weight"


def huggingface_name(path: str) -> str:
    """Returns the name of the parameter that we call `path`, as T5X does.

    Raises:
      ValueError: no parameter of an unrolled T5 has that path.

    >>> huggingface_name("decoder/layers_3/encoder_decoder_attention/query/kernel")
    'decoder.block.3.layer.1.EncDecAttention.q.weight'
    """
    match path.split("/"):
        case ["token_embedder", _]:
            return EMBEDDING
        case [_, "logits_dense", _]:
            return OUTPUT
        case [stack, "relpos_bias", _]:
            return f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        case [stack, "encoder_norm" | "decoder_norm", "scale"]:
            return f"{stack}.final_layer_norm.weight"
        case [stack, layer, *rest] if layer.startswith("layers_"):
            block = f"{stack}.block.{layer.removeprefix('layers_')}.layer"
            last = 1 if stack == "encoder" else 2
            match rest:
                case ["relpos_bias", _]:
                    return f"{block}.0.SelfAttention.relative_attention_bias.weight"
                case ["mlp", name, _]:
                    return f"{block}.{last}.DenseReluDense.{name}.weight"
                case ["pre_mlp_layer_norm", _]:
                    return f"{block}.{last}.layer_norm.weight"
                case [norm, "scale"] if norm in _SUBLAYERS:
                    return f"{block}.{_SUBLAYERS[norm]}.weight"
                case [attention, projection, _] if attention in _SUBLAYERS:
                    return f"{block}.{_SUBLAYERS[attention]}.{projection[0]}.weight"
    raise ValueError(f"parameter {path!r} is none of an unrolled T5's")


def to_huggingface(params: Tensors) -> Tensors:
    """Returns unrolled parameters under Hugging Face's names and in its layouts."""
    return {huggingface_name(path): _turned(path, tensor) for path, tensor in params.items()}


def from_huggingface(found: Tensors, paths: list[str]) -> tuple[Tensors, Tensors]:
    """Returns the parameters called `paths`, as far as they are there, and what is left over."""
    return tensors.renamed(found, {path: huggingface_name(path) for path in paths}, _turned)


def _turned(path: str, tensor: Tensor) -> Tensor:
    return tensor if path.startswith("token_embedder") else tensors.transposed(tensor)
