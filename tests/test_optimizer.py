"""Adafactor equals NumPy and T5X over several steps; schedules have T5X's values."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from presence_t5x.config_types import OptimizerConfig
from presence_t5x.optimizer import build_optimizer, learning_rate_schedule

# Parameters after several float32 updates, relative to the largest: a few roundings.
UPDATE_TOLERANCE = 1e-6
NUM_STEPS = 5


def numpy_adafactor(params, gradients, config, learning_rates, first_step=0):
    """Shazeer and Stern 2018 (algorithms 4 and 5) on matrices and vectors, in float64.

    With no momentum, relative step size, update clipping and decay 1 - t^-0.8 as T5X sets them.
    """
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    rows, columns, full = {}, {}, {}
    for t, (gradient_tree, rate) in enumerate(zip(gradients, learning_rates)):
        decay = 1 - (first_step + t - config.step_offset + 1) ** -config.decay_rate
        for name, param in params.items():
            gradient = np.asarray(gradient_tree[name], np.float64)
            squares = gradient**2 + 1e-30
            if param.ndim == 2 and min(param.shape) >= config.min_dim_size_to_factor:
                rows[name] = decay * rows.get(name, 0) + (1 - decay) * squares.mean(1)
                columns[name] = decay * columns.get(name, 0) + (1 - decay) * squares.mean(0)
                moment = np.outer(rows[name], columns[name]) / rows[name].mean()
            else:
                full[name] = decay * full.get(name, 0) + (1 - decay) * squares
                moment = full[name]
            update = gradient / np.sqrt(moment)
            if config.clipping_threshold is not None:
                update /= max(1.0, math.sqrt((update**2).mean()) / config.clipping_threshold)
            if config.multiply_by_parameter_scale:
                update *= max(math.sqrt((param**2).mean()), 1e-3)
            params[name] = param - rate * update - config.weight_decay * param
    return params


def example_params():
    rng = np.random.default_rng(0)
    shapes = {
        "wide": (130, 257),
        "tall": (300, 128),
        "square": (128, 128),
        "too narrow to factor": (127, 300),
        "vector": (512,),
        "tiny": (128, 129),
    }
    scales = {"tiny": 1e-5}  # below the least parameter scale, 1e-3
    return {
        name: (scales.get(name, 1.0) * rng.normal(size=shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def example_gradients(params, num_steps=NUM_STEPS, seed=1):
    """Returns trees of gradients whose sizes differ over steps, parameters and columns."""
    rng = np.random.default_rng(seed)

    def draw(param):
        columns = 10 ** rng.normal(size=param.shape[-1])
        return (10 ** rng.normal() * columns * rng.normal(size=param.shape)).astype(np.float32)

    return [jax.tree.map(draw, params) for _ in range(num_steps)]


def run(optimizer, params, gradients):
    """Returns the parameters and the state after updating with each of `gradients`."""
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def assert_close(actual, expected, tolerance=UPDATE_TOLERANCE):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, atol=tolerance * abs(np.asarray(b)).max())


SETTINGS = {
    "T5X's": {},
    "no parameter scale": {"multiply_by_parameter_scale": False, "base_learning_rate": 0.1},
    "no clipping": {"clipping_threshold": None, "base_learning_rate": 0.01},
    "others": {"clipping_threshold": 0.3, "decay_rate": 0.5, "min_dim_size_to_factor": 200},
    "weight decay": {"weight_decay": 0.01},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_adafactor_equals_numpy(setting):
    config = OptimizerConfig(warmup_steps=3, **SETTINGS[setting])
    params = example_params()
    gradients = example_gradients(params)
    # Step 0's rate is the first update's: 1/sqrt(3) up to step 3, then 1/sqrt(4).
    rates = [config.base_learning_rate / math.sqrt(max(step, 3)) for step in range(NUM_STEPS)]
    expected = numpy_adafactor(params, gradients, config, rates)
    actual, _ = run(build_optimizer(config, scan_layers=False), params, gradients)
    assert_close(actual, expected)


def test_second_moments_are_factored_from_128_by_128_on():
    params = example_params()
    _, (state, schedule_state) = run(
        build_optimizer(OptimizerConfig(), scan_layers=False), params, example_gradients(params, 2)
    )
    shapes = {name: (state.v_row[name].shape, state.v_col[name].shape) for name in params}
    assert shapes["wide"] == ((130,), (257,)) and state.v["wide"].shape == (1,)
    assert shapes["tall"] == ((128,), (300,)) and state.v["tall"].shape == (1,)
    for name in ("too narrow to factor", "vector"):
        assert shapes[name] == ((1,), (1,)) and state.v[name].shape == params[name].shape
    assert state.count == 2 and schedule_state.count == 2
    assert {x.dtype for x in jax.tree.leaves(state[1:])} == {jnp.dtype("float32")}


def test_bfloat16_gradients_are_squared_in_float32():
    params = example_params()
    gradients = [
        jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), tree)
        for tree in example_gradients(params, 2)
    ]
    widened = [jax.tree.map(lambda x: x.astype(jnp.float32), tree) for tree in gradients]
    optimizer = build_optimizer(OptimizerConfig(), scan_layers=False)
    assert_close(run(optimizer, params, gradients)[0], run(optimizer, params, widened)[0], 0.0)


def test_step_offset_restarts_the_second_moments():
    params = example_params()
    gradients = example_gradients(params)
    config = OptimizerConfig(factors="constant", base_learning_rate=0.001, step_offset=1000)
    optimizer = build_optimizer(config, scan_layers=False)
    update = jax.jit(optimizer.update)

    def restored_at(step):
        state, schedule_state = optimizer.init(params)
        noise = jax.tree.map(lambda x: x + 7.0, state)  # moments that decay 0 must forget
        return noise._replace(count=jnp.int32(step)), schedule_state

    new_params, state = params, restored_at(1000)
    for gradient in gradients:
        updates, state = update(gradient, state, new_params)
        new_params = optax.apply_updates(new_params, updates)
    expected = numpy_adafactor(params, gradients, config, [0.001] * NUM_STEPS, first_step=1000)
    assert_close(new_params, expected)
    # Before the offset nothing is remembered, and nothing is NaN.
    early, _ = update(gradients[0], restored_at(10), params)
    first, _ = update(gradients[0], restored_at(1000), params)
    assert_close(early, first, 0.0)


def stacks(trees_by_layer):
    """Returns {stack: {stack: leaves stacked on axis 1}} of {stack: [tree of each layer]}."""
    return {
        stack: {stack: jax.tree.map(lambda *xs: np.stack(xs, axis=1), *trees)}
        for stack, trees in trees_by_layer.items()
    }


def unrolled(trees_by_layer):
    return {
        stack: {f"layers_{i}": tree for i, tree in enumerate(trees)}
        for stack, trees in trees_by_layer.items()
    }


@pytest.mark.parametrize("name", ["adafactor", "adamw"])
def test_scanned_layers_take_the_unrolled_updates(name):
    num_layers = {"encoder": 2, "decoder": 3}
    kernels = {"kernel": (130, 140), "narrow": (140, 8), "scale": (140,)}
    rng = np.random.default_rng(2)

    def draw(sizes):
        return {
            stack: [
                {
                    # Layers of very different size, so that shared statistics would show.
                    name: (sizes**layer * rng.normal(size=shape)).astype(np.float32)
                    for name, shape in kernels.items()
                }
                for layer in range(count)
            ]
            for stack, count in num_layers.items()
        }

    params, gradients = draw(10.0), [draw(100.0) for _ in range(3)]
    config = OptimizerConfig(name=name, base_learning_rate=0.1, weight_decay=0.01)
    scanned, (state, *_) = run(
        build_optimizer(config, scan_layers=True), stacks(params), [stacks(g) for g in gradients]
    )
    separate, _ = run(
        build_optimizer(config, scan_layers=False),
        unrolled(params),
        [unrolled(g) for g in gradients],
    )
    layers = {stack: list(tree.values()) for stack, tree in separate.items()}
    for stack, trees in layers.items():
        for index, tree in enumerate(trees):
            layer = jax.tree.map(lambda x, i=index: x[:, i], scanned[stack][stack])
            assert_close(layer, tree)
    if name == "adafactor":
        moments = [tree["decoder"]["decoder"] for tree in state[1:]]
        assert [m["kernel"].shape for m in moments] == [(3, 130), (3, 140), (1,)]
        assert [m["scale"].shape for m in moments] == [(1,), (1,), (140, 3)]


def test_scan_layers_changes_nothing_outside_the_stacks():
    params = {"encoder": {"encoder_norm": {"scale": np.ones(200, np.float32)}}} | example_params()
    gradients = example_gradients(params, 2)
    config = OptimizerConfig()
    assert_close(
        run(build_optimizer(config, scan_layers=True), params, gradients)[0],
        run(build_optimizer(config, scan_layers=False), params, gradients)[0],
        0.0,
    )


def test_adamw_is_optax_s_with_the_schedule():
    params = example_params()
    gradients = example_gradients(params, 3)
    config = OptimizerConfig(name="adamw", factors="constant * linear_warmup", warmup_steps=2)
    reference = optax.adamw(lambda step: jnp.clip(step / 2, 1e-8, 1.0), weight_decay=0.0)
    assert_close(
        run(build_optimizer(config, False), params, gradients)[0],
        run(reference, params, gradients)[0],
    )


def test_adafactor_needs_parameters():
    optimizer = build_optimizer(OptimizerConfig(), scan_layers=False)
    params = {"kernel": jnp.ones((2, 2))}
    with pytest.raises(ValueError, match="params=None: Adafactor scales updates by parameters"):
        optimizer.update(params, optimizer.init(params))


def test_the_default_schedule_is_a_plateau_and_then_a_root():
    schedule = jax.jit(learning_rate_schedule(OptimizerConfig()))
    golden = {0: 0.01, 5_000: 0.01, 10_000: 0.01, 20_000: 0.00707107, 100_000: 0.00316228}
    golden |= {200_000: 0.00223607, 1_000_000: 0.001}
    for step, rate in golden.items():
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)
    assert schedule(0).dtype == jnp.float32 and schedule(0).shape == ()


FACTOR_VALUES = {
    # base 2, warm-up 10, decay_factor 0.25, steps_per_decay 20, steps_per_cycle 40
    "constant": {0: 2, 100: 2},
    "constant * linear_warmup": {0: 1e-8, 5: 1, 10: 2, 50: 2},
    # 2 * min(step / 10, 1 + 0.25 * (10 - step)): zero from step 14 on
    "linear_decay": {0: 1e-8, 5: 1, 10: 2, 12: 1, 14: 1e-8, 30: 1e-8},
    "constant*rsqrt_decay": {0: 2 / 10**0.5, 10: 2 / 10**0.5, 40: 2 / 40**0.5},
    "constant * rsqrt_normalized_decay": {0: 2, 10: 2, 40: 1},
    "constant * decay_every": {0: 2, 19: 2, 20: 0.5, 40: 0.125},
    "constant * cosine_decay": {0: 2, 10: 2, 20: 1 + 0.5**0.5, 30: 1, 50: 2, 70: 1},
    "constant * linear_warmup * rsqrt_normalized_decay": {0: 1e-8, 5: 1, 40: 1},
}


def factor_config(factors):
    return OptimizerConfig(
        factors=factors,
        base_learning_rate=2.0,
        warmup_steps=10,
        decay_factor=0.25,
        steps_per_decay=20,
        steps_per_cycle=40,
    )


@pytest.mark.parametrize("factors", FACTOR_VALUES)
def test_every_factor_has_its_values_and_the_floor(factors):
    schedule = jax.jit(learning_rate_schedule(factor_config(factors)))
    for step, rate in FACTOR_VALUES[factors].items():
        np.testing.assert_allclose(schedule(step), rate, rtol=2e-6, err_msg=str(step))


def test_unknown_factors_are_refused_with_near_ones():
    config = OptimizerConfig(factors="constant * rsqrt_decy")
    for build in (learning_rate_schedule, lambda c: build_optimizer(c, scan_layers=False)):
        with pytest.raises(ValueError, match=r"unknown factor 'rsqrt_decy'.*mean 'rsqrt_decay'"):
            build(config)


def test_factors_that_would_divide_by_no_warmup_are_refused():
    with pytest.raises(ValueError, match="warmup_steps=0 with factor 'linear_warmup' divides"):
        learning_rate_schedule(OptimizerConfig(factors="constant*linear_warmup", warmup_steps=0))
    learning_rate_schedule(OptimizerConfig(factors="constant", warmup_steps=0))


def import_t5x(name):
    """Returns a module of T5X, or skips."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason="T5X is not importable", exc_type=ImportError)


@pytest.mark.parametrize("factors", FACTOR_VALUES)
def test_t5x_gives_the_same_schedule_bit_by_bit(factors):
    reference = import_t5x("t5x.utils").create_learning_rate_scheduler(
        factors=factors,
        base_learning_rate=2.0,
        warmup_steps=10,
        decay_factor=0.25,
        steps_per_decay=20,
        steps_per_cycle=40,
    )
    schedule = learning_rate_schedule(factor_config(factors))
    for step in [*range(100), 10**6]:
        assert schedule(jnp.int32(step)) == reference(jnp.int32(step)), step


@pytest.mark.parametrize("setting", SETTINGS)
def test_t5x_gives_the_same_adafactor_updates(setting):
    adafactor = import_t5x("t5x.adafactor")
    settings = {"decay_rate": 0.8, **SETTINGS[setting]}
    config = OptimizerConfig(warmup_steps=3, **settings)
    settings.pop("base_learning_rate", None)
    weight_decay = settings.pop("weight_decay", None)
    params = example_params()
    stack = np.stack([example_params()["wide"] * 3**i for i in range(3)], axis=1)
    params["encoder"] = {"encoder": {"kernel": stack, "scale": stack[:, :, 0]}}
    gradients = example_gradients(params)
    dims = adafactor.FactorDim
    rules = adafactor.HParamMap(
        (
            ("encoder/encoder/kernel", _stack_rule(dims, config)),
            ("encoder/encoder/scale", (dims.NONE, dims.BATCH)),
            (".*", adafactor.HEURISTIC_RULE),
        )
    )
    reference = adafactor.Adafactor(weight_decay_rate=weight_decay, factor_map=rules, **settings)
    optimizer = reference.create(jax.tree.map(jnp.asarray, params))
    schedule = learning_rate_schedule(config)
    for step, gradient in enumerate(gradients):
        optimizer = optimizer.apply_gradient(gradient, learning_rate=schedule(step))
    actual, _ = run(build_optimizer(config, scan_layers=True), params, gradients)
    assert_close(actual, dict(optimizer.target))


def _stack_rule(dims, config):
    """T5X factors a stack whatever its size; match the size limit by hand."""
    if config.min_dim_size_to_factor > 130:
        return (dims.NONE, dims.BATCH, dims.NONE)
    return (dims.ROW, dims.BATCH, dims.COLUMN)


@pytest.mark.parametrize("scale", [1e4, 1e15])
def test_adafactor_gives_nothing_where_a_factor_leaves_the_range(scale):
    """A column without gradient: its share of the mean square, 1e-30 of 1e8, is 0 in float32."""
    params = {"kernel": jnp.full((256, 128), 0.1)}
    gradients = {"kernel": scale * jnp.ones((256, 128)).at[:, 3].set(0.0)}
    optimizer = build_optimizer(OptimizerConfig(), scan_layers=False)
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    expected = np.full((256, 128), -0.01 * 0.1)  # the learning rate and the parameters' RMS
    expected[:, 3] = 0.0
    np.testing.assert_allclose(updates["kernel"], expected, rtol=0.01)
    gradients = {"kernel": gradients["kernel"].at[0, 0].set(jnp.nan)}
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    assert np.isnan(updates["kernel"][0, 0])  # is not hidden
