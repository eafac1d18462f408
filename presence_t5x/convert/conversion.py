"""A checkpoint of one format written in another: read, mapped, written, checked, renamed.

The target appears in one piece: everything is written to a folder beside it, which is renamed once
the logits have been compared, and removed if anything goes wrong. The source is only read.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from presence_t5x.convert import logits, moments, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.huggingface_files import (
    is_huggingface,
    read_huggingface,
    write_huggingface,
)
from presence_t5x.convert.logits import Check
from presence_t5x.convert.presence_files import read_presence, write_presence
from presence_t5x.convert.t5x_files import find_t5x, read_t5x, write_t5x
from presence_t5x.convert.tensors import Tensors
from presence_t5x.convert.train_states import Network, own_layout, own_params, t5x_layout
from presence_t5x.convert.vocabularies import describe_vocabulary, resize_vocabulary

Format = Literal["t5x", "hf", "presence"]
FORMATS = ("t5x", "hf", "presence")
_TABLE = "relpos_bias/rel_embedding"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is to be converted into what.

    Attributes:
      network: for "t5x": whose parameter tree is written.
      scan_layers: for "presence": layers stacked or apart; None is as in the source, stacked if
        that is Hugging Face's.
      vocab_size: rows of the token table; None keeps them.
      parameters_only: leave the optimizer's state out.
      drop_unmapped: go on without parameters that have no place in the target.
      check: compare logits with the other library.
    """

    source: Path
    target: Path
    source_format: Format
    target_format: Format
    network: Network = "t5"
    scan_layers: bool | None = None
    vocab_size: int | None = None
    parameters_only: bool = False
    drop_unmapped: bool = False
    check: bool = True


class Report(NamedTuple):
    """What was done.

    Attributes:
      location: what to give to the target's library.
      num_parameters: numbers, not arrays.
      has_optimizer_state: Adafactor's moments were written.
      dropped: parameters of the source that have no place, with their shapes.
    """

    location: Path
    num_parameters: int
    step: int
    has_optimizer_state: bool
    notes: tuple[str, ...]
    dropped: tuple[str, ...]
    checks: tuple[Check, ...]


def guess_format(source: Path) -> Format:
    """Returns the format of a checkpoint.

    Raises:
      ValueError: it is none of them, or is not there.
    """
    if not source.exists():
        raise ValueError(_absent(source))
    if is_huggingface(source):
        return "hf"
    return "t5x" if find_t5x(source) else "presence"


def open_checkpoint(
    source: Path, source_format: Format | None = None, *, parameters_only: bool = False
) -> Content:
    """Returns what a checkpoint holds, its arrays unread.

    Args:
      source: a checkpoint, or a MODEL_DIR whose newest is taken.
      source_format: None looks.
      parameters_only: leave the optimizer's state alone.

    Raises:
      ValueError: absent, damaged, or not of that format; names file and parameter.
    """
    if not source.exists():
        raise ValueError(_absent(source))
    source_format = source_format or guess_format(source)
    if source_format == "hf":
        return read_huggingface(source)
    if source_format == "presence":
        return read_presence(source, parameters_only=parameters_only)
    directory = find_t5x(source)
    if directory is None:
        raise ValueError(
            f"{source} holds no checkpoint of T5X: neither checkpoint_STEP/checkpoint nor "
            "checkpoint_STEP/state/_METADATA is there"
        )
    return read_t5x(directory, parameters_only=parameters_only)


def convert(conversion: Conversion) -> Report:
    """Converts a checkpoint; on any error nothing is left at the target.

    Raises:
      ValueError: a source that is damaged or does not map, a target that exists, or logits that
        differ.
    """
    target = conversion.target
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(f"{target} exists; give another path, or remove it first")
    found = open_checkpoint(
        conversion.source,
        conversion.source_format,
        parameters_only=conversion.parameters_only or conversion.target_format == "hf",
    )
    if found.leftovers and not conversion.drop_unmapped:
        raise ValueError(
            f"{conversion.source} holds parameters that have no place in a T5: "
            f"{', '.join(found.leftovers)}; --drop_unmapped goes on without them"
        )
    note = describe_vocabulary(found.config.vocab_size or 0, conversion.source)
    found = found._replace(notes=(note, *found.notes))
    unresized = found
    if conversion.vocab_size is not None:
        found = resize_vocabulary(found, conversion.vocab_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        written = _WRITERS[conversion.target_format](temporary / "whole", found, conversion)
        checks = _check(conversion, unresized, found, written.location)
        inside = written.location.relative_to(temporary / "whole")
        (temporary / "whole").replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Report(
        location=target / inside,
        num_parameters=sum(tensors.size(tensor) for tensor in found.params.values()),
        step=found.step,
        has_optimizer_state=written.has_optimizer_state,
        notes=(*found.notes, *written.notes),
        dropped=found.leftovers,
        checks=checks,
    )


class _Written(NamedTuple):
    """What a writer made, and where the target's library finds it."""

    location: Path
    has_optimizer_state: bool
    notes: tuple[str, ...] = ()


def _write_presence(directory: Path, found: Content, conversion: Conversion) -> _Written:
    scanned = conversion.scan_layers
    if scanned is None:
        scanned = found.config.scan_layers or conversion.source_format == "hf"
    config = dataclasses.replace(found.config, scan_layers=scanned)
    params = own_params(found.params, scanned=scanned)
    slots = None
    if found.moments is not None:
        slots = moments.write_moments(found.moments, params, own_layout(params))
    write_presence(directory, params, slots, found.step, config)
    note = (
        f"to continue: MODEL_DIR={str(conversion.target)!r}; the data start at their beginning"
        if slots
        else f"to start from it: INITIAL_CHECKPOINT={str(conversion.target)!r}"
    )
    return _Written(directory, slots is not None, (note,))


def _write_t5x(directory: Path, found: Content, conversion: Conversion) -> _Written:
    found, notes = _with_tables_for(found, conversion.network)
    target, slots = t5x_layout(
        found.params, found.moments, conversion.network, found.config.num_heads
    )
    checkpoint = directory / f"checkpoint_{found.step}"
    write_t5x(checkpoint, target, slots, found.step)
    return _Written(checkpoint, bool(slots), notes)


def _write_huggingface(directory: Path, found: Content, conversion: Conversion) -> _Written:
    write_huggingface(directory, found.params, found.config)
    notes = ("no tokenizer is written: copy the vocabulary's files (spiece.model) into the folder",)
    if conversion.source_format != "hf":
        notes += ("Hugging Face folders hold parameters alone: step and optimizer state are lost",)
    return _Written(directory, False, notes)


_WRITERS: Mapping[str, Callable[[Path, Content, Conversion], _Written]] = {
    "presence": _write_presence,
    "t5x": _write_t5x,
    "hf": _write_huggingface,
}


def _with_tables_for(found: Content, network: Network) -> tuple[Content, tuple[str, ...]]:
    """Returns a checkpoint with position tables where a network of T5X has them.

    Raises:
      ValueError: the network cannot have them so.
    """
    per_layer = found.config.position_biases_per_layer
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
    config = dataclasses.replace(found.config, position_biases_per_layer=True)
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


def _check(
    conversion: Conversion, unresized: Content, found: Content, written: Path
) -> tuple[Check, ...]:
    """Compares logits on both sides, as far as there is a library to ask.

    Raises:
      ValueError: they differ.
    """
    sides: list[tuple[Format, Path, Content]] = [
        (conversion.source_format, conversion.source, unresized),
        (conversion.target_format, written, found),
    ]
    checks = []
    for side, path, held in sides:
        if side == "presence":
            continue
        if not conversion.check:
            checks.append(Check(str(path), None, "--skip_check"))
            continue
        inputs = logits.random_inputs(
            min(unresized.config.vocab_size or 1, found.config.vocab_size or 1)
        )
        checks.append(_check_side(side, path, held, inputs))
    for check in checks:
        if check.difference is not None and not check.difference < logits.LIMIT:
            raise ValueError(
                f"logits differ by {check.difference:.3g} (limit {logits.LIMIT:g}) between this "
                f"package and {check.subject}; nothing was written"
            )
    return tuple(checks)


def _check_side(side: Format, path: Path, held: Content, inputs: logits.Inputs) -> Check:
    """Compares the model of one side with what its library makes of the files."""
    ours = logits.own_logits(held.params, held.config, inputs)
    if side == "hf":
        return logits.check_huggingface(path, ours, inputs)
    return logits.check_t5x(find_t5x(path) or path, held.config, ours, inputs)


def _absent(source: Path) -> str:
    if "://" in str(source) or str(source).startswith(("gs:/", "s3:/")):
        return f"{source} is not a local path; copy it first, e.g. gcloud storage cp -r {source} ."
    return f"{source} does not exist"
