"""What T5X's models lack for PRESENCE: score moments in the train state, and this package's T5.

Nothing of T5X's train state or checkpoints is changed: the moments of normalizer "ema" are a
collection of variables, which T5X carries, saves and restores beside the parameters.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.core
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.partitioning import AxisMetadata
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from t5x import models

from presence_t5x._validate import check_choice
from presence_t5x.config_types import PresenceConfig, T5Config
from presence_t5x.config_types.weighting import NORMALIZERS
from presence_t5x.layouts import parameter_axes
from presence_t5x.models.t5 import T5
from presence_t5x.scored_layers import STACK_AXIS
from presence_t5x.weighting import PresenceState, init_presence_state

MOMENTS = "presence"  # the collection of the score moments


class PresenceEncoderDecoderModel(models.EncoderDecoderModel):
    """T5X's encoder-decoder, whose train state carries score moments where they are needed.

    With the normalisers "batch" and "none" it is its parent, and its checkpoints are its parent's.
    """

    def __init__(self, *args: Any, normalizer: str = "batch", **kwargs: Any):
        """Takes its parent's arguments, and `PresenceConfig.normalizer`: "ema" adds the moments."""
        check_choice("normalizer", normalizer, NORMALIZERS)
        super().__init__(*args, **kwargs)
        self._carries_moments = normalizer == "ema"

    def get_initial_variables(self, *args: Any, **kwargs: Any) -> flax.core.FrozenDict:
        """Returns the parent's variables, and the moments before the first step."""
        variables = super().get_initial_variables(*args, **kwargs)
        if not self._carries_moments:
            return variables
        moments = pack_moments(init_presence_state(PresenceConfig()))
        axes = {f"{name}_axes": AxisMetadata(names=()) for name in moments[MOMENTS]}
        return flax.core.freeze({**variables, **moments, f"{MOMENTS}_axes": axes})

    def eval_fn(
        self, params: PyTree, batch: Mapping[str, Any], flax_mutables: PyTree | None = None
    ) -> tuple[Any, Any]:
        """Evaluates as the parent does; T5X passes the moments, which change nothing."""
        del flax_mutables
        return super().eval_fn(params, batch)


def pack_moments(state: PresenceState) -> flax.core.FrozenDict:
    """Returns score moments as T5X's `flax_mutables`."""
    return flax.core.freeze({MOMENTS: state._asdict()})


def unpack_moments(flax_mutables: Mapping[str, Any]) -> PresenceState | None:
    """Returns the score moments that a train state carries, if it does."""
    return PresenceState(**flax_mutables[MOMENTS]) if MOMENTS in flax_mutables else None


class T5Module(T5):
    """This package's T5 as the `module` of T5X's encoder-decoder models: for training and losses.

    Its parameter tree is that of `t5x.examples.t5.network`, or with `scan_layers` that tree with
    layers stacked along axis 1; the gather of its embedding, its fewer FLOPs and, in
    `PresenceTrainer`, its blockwise loss come with it. Decoding needs a cache, which it has not.
    """

    @nn.nowrap
    def init(self, *args: Any, **kwargs: Any) -> PyTree:
        """Returns the parameters, and what their axes mean in the collection "params_axes"."""
        variables = super().init(*args, **kwargs)
        axes = flatten_dict(parameter_axes(variables["params"]))
        metadata = {
            (*path[:-1], f"{path[-1]}_axes"): AxisMetadata(names=names)
            for path, names in axes.items()
        }
        return {**variables, "params_axes": unflatten_dict(metadata)}

    def __call__(self, *tokens: Any, decode: bool = False, **options: Any) -> Any:
        """Returns logits, as `T5` does.

        Raises:
          ValueError: `decode`.
        """
        if decode:
            raise ValueError(
                "decode=True: presence_t5x's T5 keeps no decoding cache; for inference set "
                "module=@network.Transformer() of t5x.examples.t5, which takes the same parameters "
                "(unrolled layers), or leave infer_eval_dataset_cfg=None"
            )
        return super().__call__(*tokens, **options)


def t5_module(
    config: Any, scan_layers: bool | None = None, remat_policy: str | None = None
) -> T5Module:
    """Returns this package's T5 in the sizes of a T5X network's `T5Config`.

    Args:
      config: of `t5x.examples.t5` or `t5x.examples.scalable_t5`.
      scan_layers, remat_policy: of this package's `T5Config`; None keeps what `config` says.

    Raises:
      ValueError: a setting of T5X's that this package's T5 has not.
    """
    names = [field.name for field in dataclasses.fields(T5Config)]
    settings: dict[str, Any] = {
        name: getattr(config, name) for name in names if hasattr(config, name)
    }
    settings["dtype"] = jnp.dtype(config.dtype).name
    for name, value in (("scan_layers", scan_layers), ("remat_policy", remat_policy)):
        if value is not None:
            settings[name] = value
    scan_axis = getattr(config, "param_scan_axis", STACK_AXIS)
    if scan_axis != STACK_AXIS:
        raise ValueError(f"param_scan_axis={scan_axis} must be {STACK_AXIS}: layers lie there")
    return T5Module(T5Config(**settings))
