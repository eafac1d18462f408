"""Hugging Face folders of T5's family, Llama and XLM-RoBERTa, without torch or transformers.

A folder holds config.json and model.safetensors, or shards of it and their index. Pickles
(pytorch_model.bin) run code when they are loaded: they never are.
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from presence_t5x.config_types import ModelConfig, T5Config
from presence_t5x.convert import content, one_stack_configs, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.huggingface_config import (
    HuggingFaceConfig,
    read_config,
    write_config,
)
from presence_t5x.convert.huggingface_names import (
    EMBEDDING,
    OUTPUT,
    from_huggingface,
    to_huggingface,
)
from presence_t5x.convert.tensors import Tensor, Tensors
from presence_t5x.convert.zarr_arrays import first_line
from presence_t5x.json_files import read_json_object

CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_COPY = "copy the whole folder again"
_SHARD_BYTES = 5 * 10**9
_FLOATS = ("BF16", "F16", "F32", "F64")
# Names under which the token table may stand once more, or instead.
_EMBEDDING_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# What old models hold and transformers ignores.
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
# Of models with one stack: names under which a parameter may stand once more.
_TIED = {
    OUTPUT: "model.embed_tokens.weight",
    "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
    "lm_head.decoder.bias": "lm_head.bias",
}
# Buffers that follow from the settings, and what no head of ours uses.
_BUFFERS = ("position_ids", "token_type_ids", "rotary_emb.inv_freq")
_POOLER = "roberta.pooler."
_TABLE, _LOGITS = "token_embedder/embedding", "decoder/logits_dense/kernel"


def is_huggingface(source: Path) -> bool:
    """Tells whether a folder looks like Hugging Face's."""
    names = (_WEIGHTS, _INDEX, *_PICKLES)
    return (source / CONFIG).is_file() and any((source / name).exists() for name in names)


def read_huggingface(folder: Path) -> Content:
    """Returns the model of a folder, its arrays unread.

    Raises:
      ValueError: damaged, of another family, or without safetensors; names file and parameter.
    """
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no {CONFIG}; is it a folder of Hugging Face's?")
    values = read_json_object(folder / CONFIG, _COPY)
    found = _read_weights(folder)
    family = values.get("model_type")
    if isinstance(family, str) and family in one_stack_configs.NAMES:
        return _read_one_stack(folder, values, found)
    copies = [name for name in _EMBEDDING_COPIES if name in found]
    if EMBEDDING not in found and copies:
        found[EMBEDDING] = found.pop(copies.pop(0))
    for name in copies:
        if EMBEDDING in found and _same(found[name], found[EMBEDDING]):
            del found[name]
    unused = found.pop(_UNUSED, None)
    try:
        settings = read_config(values, has_output=OUTPUT in found)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from error
    config, params, left, notes = _with_logits(settings, found, folder)
    content.check_complete(params, config, str(folder))
    if unused is not None:
        notes.append(f"{_UNUSED} {unused.shape} is left out: transformers does not use it either")
    return Content(config, params, None, 0, tuple(notes), content.describe(left))


def write_huggingface(folder: Path, params: Tensors, config: ModelConfig) -> None:
    """Writes a folder that transformers (4 and 5) loads, shard by shard of at most 5 GB.

    Args:
      folder: is created.
      params: unrolled; written in float32.
    """
    floats = {path: tensors.as_float32(tensor) for path, tensor in params.items()}
    if isinstance(config, T5Config):
        values, named = write_config(config), to_huggingface(floats)
    else:
        values = one_stack_configs.write_config(config)
        named = one_stack_configs.NAMES[values["model_type"]].to_huggingface(floats)
    folder.mkdir(parents=True)
    shards = _shards(tensors.in_reading_order(named))
    files = (
        [_WEIGHTS]
        if len(shards) == 1
        else [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    )
    for file, shard in zip(files, shards):
        arrays = {name: np.ascontiguousarray(tensor.read()) for name, tensor in shard.items()}
        save_file(arrays, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)  # safetensors makes files that only their owner may read
    if len(shards) > 1:
        weight_map = {name: file for file, shard in zip(files, shards) for name in shard}
        total = sum(_num_bytes(tensor) for tensor in named.values())
        _write_json(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    _write_json(folder / CONFIG, values)
    special = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    told = {name: values[name] for name in special if name in values}
    _write_json(folder / "generation_config.json", told)


def _read_one_stack(folder: Path, values: dict[str, Any], found: Tensors) -> Content:
    """Returns a Llama or an XLM-RoBERTa."""
    try:
        config = one_stack_configs.read_config(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from error
    names = one_stack_configs.NAMES[values["model_type"]]
    params, left = names.from_huggingface(found, list(content.expected_shapes(config)))
    content.check_complete(params, config, str(folder))
    for copy, original in _TIED.items():
        if copy in left and original in found and _same(left[copy], found[original]):
            del left[copy]
    notes = []
    if names.exchanges_ids:
        notes.append("ids 0 and 1 (<s> and padding) are exchanged: padding is 0 here")
    if values["model_type"] == "llama":
        notes.append("rows begin with id 0 here, not with the folder's bos_token_id")
    if pooler := [name for name in left if name.startswith(_POOLER)]:
        notes.append(f"{content.shorten(pooler)} are left out: the heads here use no pooler")
        left = {name: tensor for name, tensor in left.items() if name not in pooler}
    return Content(config, params, None, 0, tuple(notes), content.describe(left))


def _with_logits(
    settings: HuggingFaceConfig, found: Tensors, folder: Path
) -> tuple[T5Config, Tensors, Tensors, list[str]]:
    """Returns configuration, parameters, what is left over, and how logits were understood."""
    config, scales, says_untied = settings
    notes = []
    if OUTPUT not in found and says_untied:
        raise ValueError(
            f"{folder}: parameter {OUTPUT!r} is missing, and {CONFIG} says tie_word_embeddings: "
            "false"
        )
    has_output = OUTPUT in found
    if has_output and not says_untied and EMBEDDING in found:
        has_output = not _same(found[OUTPUT], found[EMBEDDING])
        if not has_output:
            found = {name: tensor for name, tensor in found.items() if name != OUTPUT}
    config = T5Config(**{**vars(config), "logits_via_embedding": not has_output and scales})
    params, left = from_huggingface(found, list(content.expected_shapes(config)))
    if not has_output and not scales and _TABLE in params:
        params[_LOGITS] = tensors.transposed(params[_TABLE])
        notes.append(
            "logits come from the token table without T5's scale, which a tied model here has: "
            f"{_LOGITS} is a copy of the table"
        )
    if has_output and scales and _LOGITS in params:
        params[_LOGITS] = tensors.scaled(params[_LOGITS], config.emb_dim**-0.5)
        notes.append(
            f"{_LOGITS} holds lm_head.weight times d_model ** -0.5 (scale_decoder_outputs)"
        )
    return config, params, left, notes


def _read_weights(folder: Path) -> Tensors:
    """Returns every array of the folder's safetensors files, unread."""
    if (folder / _INDEX).is_file():
        weight_map = read_json_object(folder / _INDEX, _COPY).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{folder / _INDEX} names no files; it is damaged")
        files = sorted(set(map(str, weight_map.values())))
    elif (folder / _WEIGHTS).is_file():
        weight_map, files = {}, [_WEIGHTS]
    else:
        raise ValueError(_no_weights(folder))
    found: Tensors = {}
    for name in files:
        if Path(name).name != name:
            raise ValueError(f"{folder / _INDEX} refers to {name!r}, which is not beside it")
        found |= _read_file(folder / name)
    lost = [
        f"{name} (of {file})"
        for name, file in weight_map.items()
        if name not in found and not name.endswith(_BUFFERS)
    ]
    if lost:
        raise ValueError(f"{folder}: parameters of {_INDEX} are missing: {content.shorten(lost)}")
    return found


def _read_file(file: Path) -> Tensors:
    """Returns the arrays of one safetensors file, unread."""
    if not file.is_file():
        raise ValueError(f"{file} is missing; copy the whole folder")
    found: Tensors = {}
    try:
        with safe_open(file, framework="np") as opened:
            names = opened.keys()  # it cannot be iterated over itself
            for name in names:
                if name.endswith(_BUFFERS):
                    continue
                part = opened.get_slice(name)
                if part.get_dtype() not in _FLOATS:
                    raise ValueError(
                        f"{file}: {name} has the type {part.get_dtype()}; parameters are "
                        f"{list(_FLOATS)}"
                    )
                read = functools.partial(_read_tensor, file, name)
                found[name] = Tensor(tuple(part.get_shape()), read, f"{file}: {name}")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is no readable safetensors file ({first_line(error)})") from error
    return found


def _read_tensor(file: Path, name: str) -> np.ndarray:
    try:
        with safe_open(file, framework="np") as opened:
            return opened.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: {name} cannot be read ({first_line(error)})") from error


def _no_weights(folder: Path) -> str:
    if any((folder / name).exists() for name in _PICKLES):
        return (
            f"{folder} has pytorch_model.bin alone, a pickle, which is never loaded here; where "
            'you trust it, write safetensors: python -c "import transformers as t; '
            f"c = t.AutoConfig.from_pretrained('{folder}'); "
            f"getattr(t, c.architectures[0]).from_pretrained('{folder}')"
            ".save_pretrained('NEW_FOLDER')\""
        )
    return f"{folder} has neither {_WEIGHTS} nor {_INDEX}"


def _shards(params: Tensors) -> list[Tensors]:
    """Returns the parameters in parts of at most 5 GB, one array at the least."""
    shards: list[Tensors] = [{}]
    room = _SHARD_BYTES
    for name, tensor in params.items():
        if shards[-1] and _num_bytes(tensor) > room:
            shards.append({})
            room = _SHARD_BYTES
        shards[-1][name] = tensor
        room -= _num_bytes(tensor)
    return shards


def _num_bytes(tensor: Tensor) -> int:
    return 4 * tensors.size(tensor)


def _same(left: Tensor, right: Tensor) -> bool:
    """Tells whether two arrays are equal, without reading them if their shapes are not."""
    return left.shape == right.shape and np.array_equal(left.read(), right.read())


def _write_json(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
