"""Gin files and command-line bindings to a validated `RunConfig`; the only module that imports gin.

Gin builds configuration dataclasses and nothing else. Macros are named as T5X names them; a binding
that nothing reads is an error with the nearest names, because gin itself would ignore it.
"""

import dataclasses
import importlib.resources
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config as gin_config

from presence_t5x._validate import did_you_mean
from presence_t5x.config_types import (
    DataConfig,
    DecoderOnlyConfig,
    EncoderOnlyConfig,
    OptimizerConfig,
    PartitioningConfig,
    PresenceConfig,
    RunConfig,
    T5Config,
    TaskEvaluationConfig,
    TemperatureConfig,
)
from presence_t5x.gin_files import check_gin_file, check_gin_text

_CONFIGURABLES = (
    DataConfig,
    DecoderOnlyConfig,
    EncoderOnlyConfig,
    OptimizerConfig,
    PartitioningConfig,
    PresenceConfig,
    RunConfig,
    T5Config,
    TaskEvaluationConfig,
    TemperatureConfig,
)
for _class in _CONFIGURABLES:
    gin.external_configurable(_class, module="presence_t5x")
# The folder that holds `configs/`, in a checkout and in an installed wheel.
_ROOT = Path(str(importlib.resources.files("presence_t5x.configs"))).parent
gin.add_config_file_search_path(str(_ROOT))
_SHOWN = 200  # characters of a value, in messages
_CHOOSE_MODEL = "; no model is chosen: add one first, e.g. --gin_file=configs/models/tiny.gin"


def load_config(
    gin_files: Sequence[str],
    bindings: Iterable[str] = (),
    unused: Mapping[str, str] | None = None,
) -> RunConfig:
    """Returns the run that gin files and bindings describe.

    Args:
      gin_files: at least one; found from the working directory, or packaged ("configs/runs/...").
      bindings: "NAME=VALUE" in gin's syntax, e.g. 'TRAIN_STEPS=1000' or 'MODEL_DIR="runs/a"'.
      unused: values, in gin's syntax, of required macros that the caller has no use for: they may
        stay without one.

    Raises:
      ValueError: a missing file, a syntax error, an unknown macro or setting, a required macro
        without value, or a value out of its bounds.
    """
    if not gin_files:
        raise ValueError("no gin file given; pass --gin_file=configs/runs/NAME.gin")
    bindings = list(bindings)
    paths = [check_gin_file(file, (Path(), _ROOT)) for file in gin_files]
    gin.clear_config()
    try:
        for path in paths:
            gin.parse_config_file(str(path))
        _check_bound_names(bindings)
        for binding in bindings:
            _parse_binding(binding)
        _check_circles()
        _check_macros_are_used()
        for name in _required_macros():
            if unused and name in unused:
                gin.parse_config(f"{name} = {unused[name]}")
        _check_required_macros()
        return gin.get_configurable("presence_t5x.RunConfig")()
    except (OSError, SyntaxError, TypeError, RuntimeError, ValueError, ImportError) as error:
        raise ValueError(_without_gin_context(error)) from error
    finally:
        gin.clear_config()


def parse_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Splits a command line into gin files, bindings ("NAME=VALUE") and the remaining arguments.

    >>> parse_arguments(["--gin_file=a.gin", "--gin.TRAIN_STEPS=5", "--json"])
    (['a.gin'], ['TRAIN_STEPS=5'], ['--json'])
    """
    files, bindings, rest = [], [], []
    for argument in arguments:
        if argument.startswith("--gin_file="):
            files.append(argument.removeprefix("--gin_file="))
        elif argument.startswith("--gin."):
            bindings.append(argument.removeprefix("--gin."))
        else:
            rest.append(argument)
    return files, bindings, rest


def config_to_dict(config: Any) -> dict[str, Any]:
    """Returns a dataclass of settings as nested plain values that JSON can hold."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return getattr(value, "__qualname__", repr(value)) if callable(value) else value

    return plain(config)


def flatten_settings(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings by dotted name.

    >>> flatten_settings({"data": {"seed": 1}, "z_loss": 0.0})
    {'data.seed': 1, 'z_loss': 0.0}
    """
    flat = {}
    for name, value in settings.items():
        nested = isinstance(value, dict)
        flat |= flatten_settings(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def _check_bound_names(bindings: Iterable[str]) -> None:
    """Refuses macros that no gin file defines, and settings that no class has."""
    macros = {scope for scope, selector in gin_config._CONFIG if selector == "gin.macro"}
    for binding in bindings:
        name, equals, _ = binding.partition("=")
        name = name.strip()
        if not equals:
            raise ValueError(f"--gin.{binding} needs a value: --gin.{name}=VALUE")
        check_gin_text(binding, f"--gin.{name}")
        if "." not in name and name not in macros:
            raise ValueError(
                f"unknown macro {name!r}: no gin file defines it{did_you_mean(name, macros)}"
            )


def _parse_binding(binding: str) -> None:
    """Applies one command-line binding; says how to quote a value that is no gin literal."""
    name, _, value = binding.partition("=")
    try:
        gin.parse_config(f"{name.strip()} = {value.strip()}")
    except SyntaxError as error:
        shown = value if len(value) < _SHOWN else f"{value[:_SHOWN]}..."
        raise ValueError(
            f"--gin.{name}={shown}: {shown!r} is not a gin value; text needs quotes of its own: "
            f"--gin.{name}='\"{shown}\"'"
        ) from error


def _references() -> dict[str, set[str]]:
    """Returns what each macro ("%NAME") and class ("@NAME") refers to, by the same names."""

    def within(value: Any) -> set[str]:
        if isinstance(value, gin_config.ConfigurableReference):
            sign, name = re.match(r"([%@])([\w./]+)", repr(value)).groups()  # pyright: ignore
            return {f"%{name}" if sign == "%" else f"@{name.rpartition('.')[2]}"}
        if isinstance(value, Mapping):
            return within([*value, *value.values()])
        if isinstance(value, (list, tuple)):
            return set().union(*map(within, value))
        return set()

    found: dict[str, set[str]] = {}
    for (scope, selector), values in gin_config._CONFIG.items():
        name = f"%{scope}" if selector == "gin.macro" else f"@{selector.rpartition('.')[2]}"
        found.setdefault(name, set()).update(within(values))
    return found


def _check_circles() -> None:
    """Refuses macros and classes that lead back to themselves: they never become a value."""
    references = _references()

    def follow(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ValueError(f"settings refer to each other in a circle: {circle}; change one")
        for other in sorted(references.get(name, ())):
            follow(other, (*path, name))

    for name in sorted(references):
        follow(name, ())


def _check_macros_are_used() -> None:
    """Refuses macros that nothing reads, or nothing defines: most likely misspelt names."""
    references = _references()
    macros = {name for name in references if name[0] == "%"}
    used = {name for names in references.values() for name in names if name[0] == "%"}
    for name in sorted(used - macros):
        if name != "%gin.REQUIRED":
            raise ValueError(
                f"macro {name[1:]!r} is read but has no value: no gin file defines it"
                f"{did_you_mean(name[1:], _names(macros))}"
            )
    for name in sorted({*_names(macros - used)} - {*_required_macros()}):
        raise ValueError(
            f"macro {name!r} is set but no setting reads it{did_you_mean(name, _names(used))}"
            f"{'' if _chooses_model() else _CHOOSE_MODEL}"
        )


def _names(references: Iterable[str]) -> list[str]:
    return [name[1:] for name in references]


def _chooses_model() -> bool:
    """Whether a gin file binds the run's model, as every file of configs/models does."""
    return any(
        selector.endswith("RunConfig") and "model" in values
        for (_, selector), values in gin_config._CONFIG.items()
    )


def _required_macros() -> list[str]:
    """Returns the names of the macros that still need a value."""
    return sorted(
        scope
        for (scope, selector), values in gin_config._CONFIG.items()
        if selector == "gin.macro" and "gin.REQUIRED" in repr(values.get("value"))
    )


def _check_required_macros() -> None:
    """Names all macros that still need a value."""
    if missing := _required_macros():
        example = " ".join(f"--gin.{name}=..." for name in missing)
        raise ValueError(f"required macros without a value: {missing}; pass {example}")


def _without_gin_context(error: Exception) -> str:
    """Returns a message without the configurables and lines that gin appends to it."""
    text = re.split(r"\n\s+In (?:call to|bindings|file)", str(error).strip())[0]
    return " ".join(text.split())


def config_to_gin(config: RunConfig) -> str:
    """Returns a gin file that builds the same run again, with every default written out."""
    lines = ["# The resolved settings of this run; --gin_file=THIS_FILE runs it again."]
    nested = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            name = type(value).__name__
            lines.append(f"RunConfig.{field.name} = @{name}()")
            nested += [
                f"{name}.{inner.name} = {_gin_literal(getattr(value, inner.name))}"
                for inner in dataclasses.fields(value)
            ]
        else:
            lines.append(f"RunConfig.{field.name} = {_gin_literal(value)}")
    return "\n".join([*lines, "", *nested]) + "\n"


def _gin_literal(value: Any) -> str:
    """Returns a value as gin reads it."""
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)
