"""A checkpoint written in each format, laid out as that format has its parameters and moments."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from presence_t5x.config_types import T5Config
from presence_t5x.convert import moments
from presence_t5x.convert.content import Content
from presence_t5x.convert.formats import Format
from presence_t5x.convert.huggingface_files import write_huggingface
from presence_t5x.convert.one_stack_configs import LLAMA_TYPE, XLM_ROBERTA_TYPE, model_type_of
from presence_t5x.convert.presence_files import write_presence
from presence_t5x.convert.t5x_files import write_t5x
from presence_t5x.convert.tensors import Tensors
from presence_t5x.convert.train_states import Network, own_layout, own_params, t5x_layout

_TABLE = "relpos_bias/rel_embedding"


class Written(NamedTuple):
    """What a writer made.

    Attributes:
      location: what the format's library is to be given.
      has_optimizer_state: Adafactor's moments were written.
      notes: what had to be decided, or was lost.
    """

    location: Path
    has_optimizer_state: bool
    notes: tuple[str, ...] = ()


def write_checkpoint(
    directory: Path,
    found: Content,
    target_format: Format,
    *,
    network: Network = "t5",
    scan_layers: bool | None = None,
) -> Written:
    """Writes a checkpoint.

    Args:
      directory: is created.
      network: for "t5x": whose parameter tree.
      scan_layers: for "presence": layers stacked or apart; None is as in the source.

    Raises:
      ValueError: the format has no place for something, or reading failed.
    """
    if target_format == "presence":
        return _write_presence(directory, found, scan_layers)
    if target_format == "t5x":
        return _write_t5x(directory, found, network)
    return _write_huggingface(directory, found)


def _write_presence(directory: Path, found: Content, scan_layers: bool | None) -> Written:
    scanned = found.config.scan_layers if scan_layers is None else scan_layers
    config = dataclasses.replace(found.config, scan_layers=scanned)
    params = own_params(found.params, scanned=scanned)
    slots = None
    if found.moments is not None:
        slots = moments.write_moments(found.moments, params, own_layout(params))
    write_presence(directory, params, slots, found.step, config)
    return Written(directory, slots is not None)


def _write_t5x(directory: Path, found: Content, network: Network) -> Written:
    found, notes = _with_tables_for(found, network)
    target, slots = t5x_layout(found.params, found.moments, network, found.config.num_heads)
    checkpoint = directory / f"checkpoint_{found.step}"
    write_t5x(checkpoint, target, slots, found.step)
    return Written(checkpoint, bool(slots), notes)


def _write_huggingface(directory: Path, found: Content) -> Written:
    write_huggingface(directory, found.params, found.config)
    notes = ("no tokenizer is written: copy the vocabulary's files (spiece.model) into the folder",)
    family = model_type_of(found.config)
    if family == XLM_ROBERTA_TYPE:
        notes += (
            "ids 0 and 1 (padding and, of a model trained here, EOS) are exchanged, since padding "
            "is 1 there: a tokenizer has to give ids so",
        )
    if family == LLAMA_TYPE:
        notes += (
            "config.json and generation_config.json name the ids of models trained here (begin 0, "
            "EOS 1): correct them for a model that has others",
            "they name no padding, which is 0 as the begin token is: give generate an attention "
            "mask where rows are padded on the left",
        )
    if found.step:
        notes += (f"the step ({found.step}) is lost: Hugging Face keeps none",)
    return Written(directory, False, notes)


def _with_tables_for(found: Content, network: Network) -> tuple[Content, tuple[str, ...]]:
    """Returns a checkpoint with position tables where a network of T5X has them.

    Raises:
      ValueError: the network cannot have them so.
    """
    config = found.config
    assert isinstance(config, T5Config)  # `conversion` refuses others
    per_layer = config.position_biases_per_layer
    if network == "t5" and per_layer:
        raise ValueError(
            "every layer has its own position table, which T5X's examples.t5.network has not; use "
            "--network=scalable_t5"
        )
    if network != "scalable_t5" or per_layer:
        return found, ()
    if found.moments is not None:
        raise ValueError(
            "T5X's scalable_t5 has a position table in every layer; a shared table can be copied, "
            "but not the optimizer's state of it; use --parameters_only, or --network=t5"
        )
    config = dataclasses.replace(config, position_biases_per_layer=True)
    tables = {
        f"{stack}/layers_{layer}/{_TABLE}": found.params[f"{stack}/{_TABLE}"]
        for stack, num_layers in (
            ("encoder", config.num_encoder_layers),
            ("decoder", config.num_decoder_layers),
        )
        for layer in range(num_layers)
    }
    shared = {f"{stack}/{_TABLE}" for stack in ("encoder", "decoder")}
    params: Tensors = {path: t for path, t in found.params.items() if path not in shared}
    note = "the shared position tables were copied into every layer, as scalable_t5 has them"
    return found._replace(config=config, params=params | tables), (note,)
