"""A checkpoint of one format written in another: read, mapped, written, checked, renamed.

The target appears in one piece: everything is written to a folder beside it, which is renamed once
the logits have been compared, and removed if anything goes wrong. The source is only read.
"""

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from presence_t5x.config_types import T5Config
from presence_t5x.convert import logits, tensors
from presence_t5x.convert.content import Content
from presence_t5x.convert.formats import Format, open_checkpoint
from presence_t5x.convert.logits import Check
from presence_t5x.convert.t5x_files import find_t5x
from presence_t5x.convert.train_states import Network
from presence_t5x.convert.vocabularies import describe_vocabulary, resize_vocabulary
from presence_t5x.convert.writers import Written, write_checkpoint
from presence_t5x.convert.zarr_arrays import first_line

_SKIPPED = Check("its library", None, "--skip_check")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is to be converted into what.

    Attributes:
      network: for "t5x": whose parameter tree is written.
      scan_layers: for "presence": layers stacked or apart; None is as in the source.
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
            f"{conversion.source} holds parameters that have no place in its model: "
            f"{', '.join(found.leftovers)}; --drop_unmapped goes on without them"
        )
    if conversion.target_format == "t5x" and not isinstance(found.config, T5Config):
        raise ValueError(
            f"{conversion.source} is no encoder-decoder, as T5X's networks are (--to=t5x); use "
            "--to=hf or --to=presence"
        )
    note = describe_vocabulary(found.config.vocab_size or 0, conversion.source)
    found = found._replace(notes=(note, *found.notes))
    unresized = found
    if conversion.vocab_size is not None:
        found = resize_vocabulary(found, conversion.vocab_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        written = write_checkpoint(
            temporary / "whole",
            found,
            conversion.target_format,
            network=conversion.network,
            scan_layers=conversion.scan_layers,
        )
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
        notes=(*found.notes, *written.notes, *_what_next(conversion, written)),
        dropped=found.leftovers,
        checks=checks,
    )


def _what_next(conversion: Conversion, written: Written) -> tuple[str, ...]:
    """Returns how a run takes a checkpoint of this package up."""
    target = str(conversion.target)
    if conversion.target_format != "presence":
        return ()
    if written.has_optimizer_state:
        return (f"to continue: MODEL_DIR={target!r}; the data start at their beginning",)
    return (f"to start from it: INITIAL_CHECKPOINT={target!r}",)


def _check(
    conversion: Conversion, unresized: Content, found: Content, written: Path
) -> tuple[Check, ...]:
    """Compares logits on both sides, as far as there is a library to ask.

    Raises:
      ValueError: they differ.
    """
    sides: list[tuple[str, Format, Path, Content]] = [
        ("SOURCE", conversion.source_format, conversion.source, unresized),
        ("TARGET", conversion.target_format, written, found),
    ]
    checks = []
    for name, side, path, held in sides:
        if side == "presence":
            continue
        check = _check_side(side, path, held) if conversion.check else _SKIPPED
        check = check._replace(subject=f"{name} by {check.subject}")
        if check.difference is not None and not check.difference < logits.LIMIT:
            raise ValueError(
                f"logits differ by {check.difference:.3g} (limit {logits.LIMIT:g}) between this "
                f"package and {check.subject}; nothing was written"
            )
        checks.append(check)
    return tuple(checks)


def _check_side(side: Format, path: Path, held: Content) -> Check:
    """Compares the model of one side with what its library makes of the files."""
    inputs = logits.random_inputs(held.config.vocab_size or 1)
    ours = logits.own_logits(held.params, held.config, inputs)
    try:
        if side == "hf":
            return logits.check_huggingface(path, held.config, ours, inputs)
        assert isinstance(held.config, T5Config)  # no other is read from T5X, or written
        return logits.check_t5x(find_t5x(path) or path, held.config, ours, inputs)
    except Exception as error:  # theirs, of any kind
        raise ValueError(
            f"{side}'s library cannot use its side ({first_line(error)}); nothing was written"
        ) from error
