"""Train states in memory: this package's `TrainState` and the state dict of T5X, both ways.

T5X's is `FlaxOptimTrainState.state_dict()`: "target" holds parameters, "state" the step and, for
every parameter, Adafactor's v_row, v_col, v and m. Nothing is computed: the numbers stay, bit for
bit; only names and the order of axes change. What T5X has no place for (the score moments of
normalizer "ema", counts of skipped updates) starts anew.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from presence_t5x.convert import moments, stacks, tensors
from presence_t5x.convert.moments import Slots
from presence_t5x.convert.tensors import Tensors
from presence_t5x.optimizer import AdafactorState, adafactor_state, continue_optimizer
from presence_t5x.train_step import TrainState

# T5X's `examples.t5.network` (layers apart), its `examples.scalable_t5.network` (stacks, heads
# apart), or this package's model with scanned layers under T5X's trainer (stacks of matrices).
Network = Literal["t5", "scalable_t5", "presence_scanned"]
MOMENT_NAMES = Slots._fields


def t5x_state_dict(
    state: TrainState, *, network: Network = "t5", num_heads: int | None = None
) -> dict[str, Any]:
    """Returns a train state as nested dicts of NumPy arrays for T5X's `restore_state`.

    Args:
      state: with Adafactor; on one device, or whole on this host.
      network: whose parameter tree.
      num_heads: of the model; for "scalable_t5" alone.

    Raises:
      ValueError: another optimizer, or moments that T5X keeps in another form.
    """
    adafactor = adafactor_state(state.optimizer_state)
    params = tensors.of_tree(state.params, "train state")
    found = moments.read_moments(slots_of(adafactor), params, own_layout(params))
    target, slots = t5x_layout(stacks.unroll(params), found, network, num_heads)
    return {
        "target": tensors.read_tree(target),
        "state": {
            "step": np.asarray(state.step, np.int32),
            "param_states": tensors.read_tree(t5x_param_states(slots)),
        },
    }


def train_state_from_t5x(state_dict: Mapping[str, Any], like: TrainState) -> TrainState:
    """Returns T5X's state as a train state of the structure of `like`.

    Args:
      state_dict: of T5X, scanned or not; arrays on this host or on devices.
      like: of the run that continues: arrays or shapes. Its parameters are scanned or not, whatever
        T5X's are.

    Raises:
      ValueError: parameters or moments that do not fit, with path and shapes.
    """
    target = tensors.of_tree(state_dict["target"], "target")
    states = tensors.of_tree(state_dict["state"]["param_states"], "param_states")
    found = moments.read_moments(slots_from_t5x(states), target, t5x_moment_layout(target))
    wanted = tensors.leaves_of(like.params)
    params = own_params(stacks.unroll(target), scanned=stacks.is_scanned(wanted))
    check_like(params, wanted)
    slots = moments.write_moments(found, params, own_layout(params))
    step = int(state_dict["state"]["step"])
    return own_train_state(params, slots, step, like)


def own_train_state(
    params: Tensors, slots: Mapping[str, Slots], step: int, like: TrainState
) -> TrainState:
    """Returns a `TrainState` of NumPy arrays that has done `step` updates.

    Args:
      params: laid out as those of `like`.
      slots: Adafactor's, by the path of `params`.
    """
    by_name = {
        name: tensors.read_tree({path: getattr(slot, name) for path, slot in slots.items()})
        for name in MOMENT_NAMES
    }
    adafactor = AdafactorState(count=jnp.zeros((), jnp.int32), **by_name)
    fresh = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        like._replace(params=None, optimizer_state=()),
    )
    optimizer_state = continue_optimizer(like.optimizer_state, step, adafactor)
    return fresh._replace(
        step=np.asarray(step, np.int32),
        params=tensors.read_tree(params),
        optimizer_state=optimizer_state,
    )


def own_params(unrolled: Tensors, *, scanned: bool) -> Tensors:
    """Returns unrolled parameters as this package's model has them."""
    return stacks.roll(unrolled) if scanned else dict(unrolled)


def own_layout(params: Tensors) -> moments.Layout:
    """Returns how this package keeps the moments of such parameters."""
    return "stacked" if stacks.is_scanned(params) else "unrolled"


def t5x_moment_layout(params: Tensors) -> moments.Layout:
    """Returns how T5X keeps the moments of such parameters."""
    return "t5x_scanned" if stacks.is_scanned(params) else "unrolled"


def slots_of(adafactor: AdafactorState) -> dict[str, Slots]:
    """Returns this package's Adafactor state by parameter."""
    trees = [
        tensors.of_tree(getattr(adafactor, name), f"train state: {name}") for name in MOMENT_NAMES
    ]
    return {path: Slots(*(tree[path] for tree in trees)) for path in trees[0]}


def slots_from_t5x(states: Tensors) -> dict[str, Slots]:
    """Returns T5X's `param_states` by parameter.

    Raises:
      ValueError: another optimizer's state, or momentum, which this package's Adafactor has not.
    """
    by_param: dict[str, dict[str, Any]] = {}
    for path, tensor in states.items():
        param, _, name = path.rpartition(tensors.SEPARATOR)
        by_param.setdefault(param, {})[name] = tensor
    for param, named in by_param.items():
        momentum = named.pop("m", None)
        if momentum is not None and momentum.shape != moments.UNUSED_SHAPE:
            raise ValueError(
                f"{momentum.origin} has momentum (shape {momentum.shape}), which this package's "
                "Adafactor does not keep; convert with --parameters_only"
            )
        if set(named) != set(MOMENT_NAMES):
            raise ValueError(
                f"the optimizer's state for {param!r} holds {sorted(named)}, not Adafactor's "
                f"{sorted(MOMENT_NAMES)}; convert with --parameters_only"
            )
    return {param: Slots(**named) for param, named in by_param.items()}


def t5x_param_states(slots: Mapping[str, Slots]) -> Tensors:
    """Returns T5X's `param_states`, with the unused momentum that it keeps."""
    unused = tensors.of_array(np.zeros(moments.UNUSED_SHAPE, np.float32), "an unused moment")
    return {
        f"{path}/{name}": tensor
        for path, slot in slots.items()
        for name, tensor in (*slot._asdict().items(), ("m", unused))
    }


def t5x_layout(
    unrolled: Tensors,
    found: Mapping[str, moments.Moments] | None,
    network: Network,
    num_heads: int | None,
) -> tuple[Tensors, dict[str, Slots]]:
    """Returns parameters and Adafactor's state as one of T5X's networks keeps them."""
    if network == "t5":
        target = dict(unrolled)
    else:
        target = stacks.roll(unrolled, split_heads=num_heads if network == "scalable_t5" else None)
    if found is None:
        return target, {}
    return target, moments.write_moments(found, target, t5x_moment_layout(target))


def check_like(params: Tensors, wanted: Mapping[str, Any]) -> None:
    """Raises ValueError unless parameters have the paths and shapes of `wanted`.

    Args:
      wanted: anything with a shape, by path.
    """
    for path in sorted(params.keys() | wanted.keys()):
        if path not in params:
            shape = tuple(wanted[path].shape)
            raise ValueError(f"parameter {path!r} {shape} is not in the checkpoint")
        if path not in wanted:
            tensor = params[path]
            raise ValueError(f"{tensor.origin} {tensor.shape} has no place in the model")
        found, shape = params[path].shape, tuple(wanted[path].shape)
        if found != shape:
            raise ValueError(f"{params[path].origin} has the shape {found}, the model's is {shape}")
