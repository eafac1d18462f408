"""Weighted gradients equal the two-pass oracle, on one device, over a mesh and under pmap."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import problems
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from presence_t5x import (
    PresenceConfig,
    init_presence_state,
    presence_gradients,
    unweighted_gradients,
)

# float32 sums in another order; a temperature multiplies what the scores' rounding leaves.
TOLERANCE = 1e-5
TEMPERATURES = (0.0, 1.0, -1.0, 50.0, -50.0)
NUM_ROWS = 16
ALL_ROWS = range(NUM_ROWS)
EXACT = [
    ("microbatch", "batch", "stored"),
    ("microbatch", "ema", "stored"),
    ("microbatch", "none", "stored"),
    ("microbatch", "ema", "streaming"),
    ("microbatch", "none", "streaming"),
    ("shard", "ema", "streaming"),
    ("shard", "none", "streaming"),
    ("example", "batch", "stored"),
    ("example", "ema", "streaming"),
    ("example", "none", "streaming"),
]
HISTORY = [np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.4])]


def tolerance(temperature):
    return TOLERANCE * max(1.0, abs(temperature))


def rows_of(config, num_shards=1):
    """Returns the row numbers of every unit, in the order of aux.scores."""
    if config.granularity == "example":
        return [np.array([row]) for row in ALL_ROWS]
    if config.granularity == "shard":
        return oracles.shard_rows(NUM_ROWS, config.num_microbatches, num_shards)
    return oracles.unit_rows(NUM_ROWS, config.num_microbatches, config.row_order)


def batches(config, num_shards=1):
    """Returns batches of unequal counts: clean, with a padding-only unit, with a non-finite one.

    With a single unit the last two leave nothing alive, which must give zeros.
    """
    rows = rows_of(config, num_shards)
    dead = rows[len(rows) // 2]
    poisoned = rows[-1]
    return {
        "clean": problems.make_batch(1, NUM_ROWS),
        "padding": problems.make_batch(2, NUM_ROWS, padding_rows=dead),
        "nonfinite": problems.make_batch(
            3, NUM_ROWS, padding_rows=[0], nonfinite_rows=poisoned[-1:]
        ),
    }


def history_state(config):
    """Returns the state after the steps of HISTORY, from the oracle's own moments."""
    mean, mean_square = oracles.ema_moments(HISTORY, config.ema_decay)
    correction = 1 - config.ema_decay ** len(HISTORY)
    return init_presence_state(config)._replace(
        num_updates=jnp.int32(len(HISTORY)),
        score_ema=jnp.float32(mean * correction),
        score_rms=jnp.sqrt(jnp.float32(mean_square * correction)),
    )


def expect_equal_to_oracle(step, config, params, *, num_shards=1, temperatures=TEMPERATURES):
    """Runs the compiled step for every batch and temperature and compares all it returns."""
    state = history_state(config)
    for name, batch in batches(config, num_shards).items():
        units = oracles.unit_gradients(
            problems.loss_fun, params, batch, rows_of(config, num_shards)
        )
        for temperature in temperatures:
            gradients, aux = step(params, batch, jnp.float32(temperature), state)
            expected, scores, weights, live = oracles.weighted_gradient(
                units,
                problems.SCORED_PATHS,
                temperature=temperature,
                normalizer=config.normalizer,
                score_loss=config.score_loss,
                loss_constant=config.loss_normalizer or 1.0,
                epsilon=config.epsilon,
                clip=config.score_clip,
                moments=oracles.ema_moments(HISTORY, config.ema_decay),
            )
            label = f"{name}, temperature {temperature}"
            assert oracles.relative_error(gradients, expected) <= tolerance(temperature), label
            np.testing.assert_allclose(aux.weights, weights, atol=tolerance(temperature))
            np.testing.assert_allclose(
                np.asarray(aux.scores)[live], scores[live], rtol=TOLERANCE, err_msg=label
            )
            assert int(aux.num_live_units) == live.sum(), label
            if live.any():
                assert float(jnp.sum(aux.weights)) == pytest.approx(1.0, abs=1e-5)
                assert float(aux.loss_sum) == pytest.approx(units[1][live].sum(), rel=1e-5)
                assert float(aux.num_tokens) == units[2][live].sum()


@pytest.fixture(scope="module")
def params():
    return problems.init_params()


@pytest.mark.parametrize("num_microbatches", [1, 2, 4, 8])
@pytest.mark.parametrize("row_order", ["strided", "contiguous"])
@pytest.mark.parametrize("units", EXACT, ids="-".join)
def test_equals_two_pass_oracle_on_one_device(units, row_order, num_microbatches, params):
    granularity, normalizer, accumulator = units
    if granularity == "shard" and row_order == "contiguous":
        row_order = "strided"
    config = PresenceConfig(
        num_microbatches=num_microbatches,
        granularity=granularity,
        normalizer=normalizer,
        accumulator=accumulator,
        row_order=row_order,
        loss_normalizer="num_real_target_tokens" if row_order == "strided" else 40.0,
        score_loss="sum" if normalizer == "batch" and num_microbatches == 4 else "mean",
    )

    @jax.jit
    def step(params, batch, temperature, state):
        return presence_gradients(
            problems.loss_fun,
            params,
            batch,
            None,
            temperature=temperature,
            config=config,
            state=state,
        )

    expect_equal_to_oracle(step, config, params)


PAIRWISE = [
    (*EXACT[0], 2, "strided"),
    (*EXACT[0], 1, "contiguous"),
    (*EXACT[1], 1, "strided"),
    (*EXACT[2], 2, "contiguous"),
    (*EXACT[3], 2, "strided"),
    (*EXACT[3], 1, "contiguous"),
    (*EXACT[4], 2, "strided"),
    (*EXACT[5], 2, "strided"),
    (*EXACT[6], 1, "strided"),
    (*EXACT[7], 2, "strided"),
    (*EXACT[7], 1, "contiguous"),
    (*EXACT[8], 2, "contiguous"),
    (*EXACT[9], 2, "strided"),
]
FEW_TEMPERATURES = (0.0, -1.0, 50.0)


def config_of(granularity, normalizer, accumulator, num_microbatches, row_order="strided", **rest):
    return PresenceConfig(
        num_microbatches=num_microbatches,
        granularity=granularity,
        normalizer=normalizer,
        accumulator=accumulator,
        row_order=row_order,
        loss_normalizer="num_real_target_tokens",
        **rest,
    )


@pytest.mark.parametrize("case", PAIRWISE, ids=lambda case: "-".join(map(str, case)))
def test_equals_two_pass_oracle_on_a_mesh_of_8(case, params):
    config = config_of(*case)
    mesh = Mesh(np.array(jax.devices()), ("data",))

    @jax.jit
    def step(params, batch, temperature, state):
        return presence_gradients(
            problems.loss_fun,
            params,
            batch,
            None,
            temperature=temperature,
            config=config,
            state=state,
            mesh=mesh,
        )

    expect_equal_to_oracle(step, config, params, num_shards=8, temperatures=FEW_TEMPERATURES)


@pytest.mark.parametrize(
    "case", [c for c in PAIRWISE if c[-1] == "strided"], ids=lambda case: "-".join(map(str, case))
)
@pytest.mark.parametrize("mapping", ["pmap", "shard_map"])
def test_equals_two_pass_oracle_under_a_mapped_axis(case, mapping, params):
    config = config_of(*case)

    def step(params, batch, temperature, state):
        return presence_gradients(
            problems.loss_fun,
            params,
            batch,
            None,
            temperature=temperature,
            config=config,
            state=state,
            axis_name="batch",
        )

    if mapping == "pmap":
        mapped = jax.pmap(step, axis_name="batch", in_axes=(None, 0, None, None))

        def run(params, batch, temperature, state):
            batch = jax.tree.map(lambda leaf: leaf.reshape(8, -1, *leaf.shape[1:]), batch)
            outputs = mapped(params, batch, temperature, state)
            for leaf in jax.tree.leaves(outputs):  # every device holds the same
                np.testing.assert_array_equal(leaf[0], leaf[7])
            return jax.tree.map(lambda leaf: leaf[0], outputs)
    else:
        whole = PartitionSpec()
        run = jax.jit(  # check_vma is on: what is claimed to be replicated is proved to be
            jax.shard_map(
                step,
                mesh=Mesh(np.array(jax.devices()), ("batch",)),
                in_specs=(whole, PartitionSpec("batch"), whole, whole),
                out_specs=whole,
            )
        )
    expect_equal_to_oracle(run, config, params, num_shards=8, temperatures=FEW_TEMPERATURES)


def test_mesh_with_explicit_axes_and_a_second_axis(params):
    config = config_of(*EXACT[0], 2)
    batch = problems.make_batch(4, NUM_ROWS)
    expected, _ = presence_gradients(
        problems.loss_fun, params, batch, None, temperature=-1.0, config=config
    )
    explicit = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    two_axes = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
    for mesh in (explicit, two_axes):
        gradients, aux = jax.jit(
            functools.partial(
                presence_gradients, problems.loss_fun, temperature=-1.0, config=config, mesh=mesh
            )
        )(params, batch, None)
        assert oracles.relative_error(gradients, jax.tree.map(np.asarray, expected)) < TOLERANCE
        assert aux.scores.shape == (2,)


@pytest.mark.parametrize("granularity", ["microbatch", "example"])
def test_temperature_zero_is_the_whole_batch_gradient(granularity, params):
    batch = problems.make_batch(5, NUM_ROWS)
    whole = jax.grad(lambda p: jnp.sum(problems.loss_fun(p, batch, None)[0]))(params)
    config = PresenceConfig(num_microbatches=4, granularity=granularity)
    gradients, aux = presence_gradients(
        problems.loss_fun, params, batch, None, temperature=0.0, config=config
    )
    assert oracles.relative_error(gradients, jax.tree.map(np.asarray, whole)) < TOLERANCE
    assert float(aux.effective_sample_size) == pytest.approx(len(aux.scores))


@pytest.mark.parametrize("axis", [None, "mesh"])
def test_unweighted_is_the_whole_batch_gradient(axis, params):
    batch = problems.make_batch(5, NUM_ROWS)
    tokens = float(batch["mask"].sum())
    whole = jax.grad(lambda p: jnp.sum(problems.loss_fun(p, batch, None)[0]) / tokens)(params)
    gradients, aux = unweighted_gradients(
        problems.loss_fun_with_metrics,
        params,
        batch,
        None,
        config=PresenceConfig(num_microbatches=2, loss_normalizer="num_real_target_tokens"),
        mesh=Mesh(np.array(jax.devices()), ("data",)) if axis else None,
        has_aux=True,
    )
    assert oracles.relative_error(gradients, jax.tree.map(np.asarray, whole)) < TOLERANCE
    assert float(aux.metrics["loss"]) == pytest.approx(float(aux.loss_sum), rel=1e-6)
    assert float(aux.num_tokens) == tokens


@pytest.mark.parametrize("units", EXACT, ids="-".join)
def test_a_gradient_that_alone_is_not_finite_is_dropped(units, params):
    config = config_of(*units, 4)
    batch = problems.make_batch(6, NUM_ROWS, kinked_rows=[2])  # in strided microbatch 2
    gradients, aux = presence_gradients(
        problems.loss_fun,
        params,
        batch,
        None,
        temperature=1.0,
        config=config,
        state=history_state(config),
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    # Examples cannot be told apart by an unscored layer: their microbatch of 4 rows goes.
    assert int(aux.num_nonfinite_units) == (4 if config.granularity == "example" else 1)
    assert float(jnp.sum(aux.weights)) == pytest.approx(1.0, abs=1e-6)


def test_a_row_whose_scored_gradient_alone_is_not_finite_costs_no_other(params):
    """Its loss is finite, and no weight of 0 makes up for the NaN that its backward pass gives."""
    config = config_of("example", "none", "streaming", 4)
    batch = problems.make_batch(6, NUM_ROWS, kinked_rows=[2])
    gradients, aux = presence_gradients(
        problems.ProbedLoss(), params, batch, None, temperature=1.0, config=config
    )
    expected, scores, weights, live = oracles.weighted_gradient(
        oracles.unit_gradients(problems.loss_fun, params, batch, rows_of(config)),
        problems.SCORED_PATHS,
        temperature=1.0,
        normalizer="none",
        loss_constant="num_real_target_tokens",
        clip=config.score_clip,
    )
    assert int(aux.num_nonfinite_units) == 1
    np.testing.assert_array_equal(aux.live, live)
    np.testing.assert_allclose(np.asarray(aux.scores)[live], scores[live], rtol=TOLERANCE)
    np.testing.assert_allclose(aux.weights, weights, atol=TOLERANCE)
    assert oracles.relative_error(gradients, expected) < TOLERANCE


def test_examples_lost_after_scoring_change_no_other_weight(params):
    """Weights are told as they were used: z of all rows, softmax over those that were left."""
    config = config_of("example", "batch", "stored", 4)
    batch = problems.make_batch(6, NUM_ROWS, kinked_rows=[2])
    _, aux = presence_gradients(
        problems.loss_fun, params, batch, None, temperature=1.0, config=config
    )
    kept = np.arange(NUM_ROWS) % 4 != 2
    scores = np.asarray(aux.scores, np.float64)
    z = np.clip((scores - scores.mean()) / scores.std(), -3, 3)
    expected = np.where(kept, np.exp(z), 0.0)
    np.testing.assert_allclose(aux.weights, expected / expected.sum(), atol=TOLERANCE)


@pytest.mark.parametrize("units", EXACT, ids="-".join)
def test_nothing_alive_gives_zeros_and_keeps_the_state(units, params):
    config = config_of(*units, 2)
    state = history_state(config)
    for batch in (
        problems.make_batch(7, 4, padding_rows=range(4)),
        problems.make_batch(7, 4, nonfinite_rows=range(4)),
    ):
        gradients, aux = presence_gradients(
            problems.loss_fun, params, batch, None, temperature=1.0, config=config, state=state
        )
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))
        assert int(aux.num_live_units) == 0 and float(jnp.sum(aux.weights)) == 0
        assert aux.state == state


def test_metrics_are_summed_over_live_units(params):
    batch = problems.make_batch(8, NUM_ROWS, nonfinite_rows=[1])
    for granularity, rows in (("microbatch", NUM_ROWS - 4), ("example", NUM_ROWS - 1)):
        _, aux = presence_gradients(
            problems.loss_fun_with_metrics,
            params,
            batch,
            None,
            temperature=1.0,
            config=PresenceConfig(num_microbatches=4, granularity=granularity),
            has_aux=True,
        )
        assert float(aux.metrics["num_rows"]) == rows
        assert float(aux.metrics["loss"]) == pytest.approx(float(aux.loss_sum), rel=1e-6)


def test_scalar_losses_serve_microbatches(params):
    batch = problems.make_batch(9, NUM_ROWS)

    def scalar_loss(params, rows, rng):
        return tuple(jnp.sum(value) for value in problems.loss_fun(params, rows, rng))

    step = functools.partial(presence_gradients, temperature=1.0)
    by_row, _ = step(problems.loss_fun, params, batch, None)
    by_scalar, _ = step(scalar_loss, params, batch, None)
    np.testing.assert_array_equal(
        by_row["logits_dense"]["kernel"], by_scalar["logits_dense"]["kernel"]
    )


def squared_norm(gradients, loss, tokens):
    """The self-influence, as a function of scored gradients."""
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("loss_fun", "changes"),
    [
        (problems.loss_fun, {}),
        (problems.ProbedLoss(), {}),
        (problems.ProbedLoss(), {"score": squared_norm}),
        (problems.ProbedLoss(), {"layers": ("encoder/layers_0", "encoder/layers_1")}),
    ],
    ids=["rows", "probes", "score function", "a layer without probes"],
)
def test_scores_and_weights_share_dropout_masks(loss_fun, changes, params):
    """With one live example, G is that example's gradient under its key."""
    batch = problems.make_batch(10, 4, padding_rows=[0, 1, 3])
    rng = jax.random.key(3)
    results = []
    for normalizer in ("batch", "none"):  # two sweeps, one sweep
        config = PresenceConfig(
            num_microbatches=2, granularity="example", normalizer=normalizer, **changes
        )
        gradients, aux = presence_gradients(
            loss_fun, params, batch, rng, temperature=1.0, config=config
        )
        tokens = float(batch["mask"][2].sum())
        norm = sum(
            float(jnp.sum((leaf / tokens) ** 2))
            for half, layer in (path.split("/") for path in config.layers)
            for leaf in jax.tree.leaves(gradients[half][layer])
        )
        assert norm == pytest.approx(float(aux.scores[2]), rel=1e-5)
        results.append(aux.loss_sum)
    assert results[0] == results[1]
    _, other = presence_gradients(
        loss_fun, params, batch, jax.random.key(4), temperature=1.0, config=config
    )
    assert other.loss_sum != results[0]


def test_ema_follows_previous_steps_only(params):
    config = config_of("microbatch", "ema", "streaming", 4, ema_decay=0.9)
    state, history = init_presence_state(config), []
    for seed in range(3):
        batch = problems.make_batch(seed, NUM_ROWS)
        gradients, aux = presence_gradients(
            problems.loss_fun, params, batch, None, temperature=1.0, config=config, state=state
        )
        expected, scores, _, _ = oracles.weighted_gradient(
            oracles.unit_gradients(problems.loss_fun, params, batch, rows_of(config)),
            problems.SCORED_PATHS,
            temperature=1.0,
            normalizer="ema",
            loss_constant="num_real_target_tokens",
            moments=oracles.ema_moments(history, 0.9),
        )
        assert oracles.relative_error(gradients, expected) < 10 * TOLERANCE
        if not history:
            np.testing.assert_allclose(aux.weights, 0.25, rtol=1e-6)
        state, history = aux.state, [*history, scores]


@pytest.mark.parametrize("score", ["loss", "callable"])
def test_other_scores(score, params):
    batch = problems.make_batch(11, NUM_ROWS)
    chosen = "loss" if score == "loss" else lambda gradients, loss, tokens: loss / tokens
    config = PresenceConfig(num_microbatches=4, score=chosen)
    gradients, aux = presence_gradients(
        problems.loss_fun, params, batch, None, temperature=1.0, config=config
    )
    expected, scores, _, _ = oracles.weighted_gradient(
        oracles.unit_gradients(problems.loss_fun, params, batch, rows_of(config)),
        problems.SCORED_PATHS,
        temperature=1.0,
        score="loss",
    )
    assert oracles.relative_error(gradients, expected) < TOLERANCE
    np.testing.assert_allclose(aux.scores, scores, rtol=TOLERANCE)


# By name: of a unit's squared gradient norm and mean token loss.
NORM_SCORES = {
    "loss_weighted_influence": lambda norm, loss: norm * loss**2,
    "log_perplexity_influence": lambda norm, loss: np.log(norm * np.exp(loss) ** 2),
}


@pytest.mark.parametrize("units", [EXACT[0], EXACT[5], EXACT[8]], ids="-".join)
@pytest.mark.parametrize("score", NORM_SCORES)
def test_scores_that_join_norm_and_loss(score, units, params):
    config = config_of(*units, 4, score=score)
    batch = problems.make_batch(13, NUM_ROWS, padding_rows=[3])
    moments = oracles.ema_moments(HISTORY, config.ema_decay)
    gradients, aux = presence_gradients(
        problems.loss_fun, params, batch, None, temperature=-1.0, config=config,
        state=history_state(config),
    )  # fmt: skip
    expected, scores, weights, live = oracles.weighted_gradient(
        oracles.unit_gradients(problems.loss_fun, params, batch, rows_of(config)),
        problems.SCORED_PATHS,
        temperature=-1.0,
        normalizer=config.normalizer,
        score=lambda norm, loss: NORM_SCORES[score](norm, loss) if norm else 0.0,
        loss_constant="num_real_target_tokens",
        clip=config.score_clip,
        moments=moments,
    )
    np.testing.assert_allclose(np.asarray(aux.scores)[live], scores[live], rtol=TOLERANCE)
    np.testing.assert_allclose(aux.weights, weights, atol=TOLERANCE)
    assert oracles.relative_error(gradients, expected) < TOLERANCE


def test_score_function_sees_the_scored_layers_only(params):
    seen = []
    config = PresenceConfig(
        num_microbatches=2,
        layers=("layers_1",),
        score=lambda gradients, loss, tokens: seen.append(sorted(gradients)) or loss,
    )
    presence_gradients(
        problems.loss_fun, params, problems.make_batch(), None, temperature=1.0, config=config
    )
    assert seen[0] == ["encoder/layers_1/kernel", "encoder/layers_1/scale"]


def test_target_effective_sample_size_is_met(params):
    batch = problems.make_batch(12, NUM_ROWS)
    for granularity, target in itertools.product(("microbatch", "example"), (3.0, 6.0)):
        config = PresenceConfig(
            granularity=granularity, target_effective_sample_size=target, max_abs_z=None
        )
        _, aux = presence_gradients(
            problems.loss_fun, params, batch, None, temperature=-1.0, config=config
        )
        assert float(aux.effective_sample_size) == pytest.approx(target, rel=1e-3)
        assert float(aux.temperature) < 0


def test_bfloat16_gradients_are_scored_in_float32():
    """Gradients of 1e-20 (squares leave float32's range in bfloat16 sums) still give scores."""

    def loss_fun(params, batch, rng):
        weights = params["encoder"]["layers_0"]
        return (batch @ weights).astype(jnp.float32), jnp.ones(batch.shape[0])

    params = {"encoder": {"layers_0": jnp.ones(4096, jnp.bfloat16)}, "decoder": jnp.ones(1)}
    batch = jnp.full((4, 4096), 1e-15, jnp.bfloat16)
    config = PresenceConfig(num_microbatches=4, layers=("encoder/layers_0",))
    gradients, aux = presence_gradients(
        loss_fun, params, batch, None, temperature=1.0, config=config
    )
    np.testing.assert_allclose(aux.scores, 4096 * 1e-30, rtol=0.02)
    assert gradients["encoder"]["layers_0"].dtype == jnp.float32  # as it was summed


def test_default_layers_on_a_scanned_stack_are_its_first_element():
    stack = {"kernel": jnp.ones((3, 2, 3))}  # [in, layers, out]
    params = {"encoder": {"encoder": stack}, "decoder": {"decoder": stack}}

    def loss_fun(params, batch, rng):
        hidden = batch
        for half in ("encoder", "decoder"):
            for layer in range(2):
                hidden = jnp.tanh(hidden @ params[half][half]["kernel"][:, layer])
        return hidden.sum(-1), jnp.ones(batch.shape[0])

    batch = jnp.arange(12.0).reshape(4, 3) / 10
    for granularity in ("microbatch", "example"):
        config = PresenceConfig(num_microbatches=4, granularity=granularity)
        _, aux = presence_gradients(loss_fun, params, batch, None, temperature=0.0, config=config)
        for row in range(4):
            one = jax.grad(lambda p, row=row: loss_fun(p, batch[row : row + 1], None)[0].sum())(
                params
            )
            score = sum(
                float(jnp.sum(one[half][half]["kernel"][:, 0] ** 2))
                for half in ("encoder", "decoder")
            )
            assert float(aux.scores[row]) == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": PresenceConfig(num_microbatches=3)}, "must divide the 16 rows.*1, 2, 4, 8, 16"),
        ({"temperature": float("nan")}, "temperature=nan must be finite"),
        ({"temperature": "hot"}, "temperature='hot' must be a number"),
        (
            {"config": PresenceConfig(layers=("encoder/layers_2",))},
            "'encoder/layers_2' matches no parameter.*'encoder/layers_",
        ),
        (
            {"config": PresenceConfig(normalizer="ema")},
            "normalizer='ema' needs the previous steps' moments",
        ),
        (
            {"axis_name": "batch", "config": PresenceConfig(row_order="contiguous")},
            "row_order='contiguous' needs the rows of all devices",
        ),
        ({"has_aux": True}, "must return 3 values"),
        ({"batch": {"tokens": jnp.zeros((4, 2)), "mask": jnp.zeros((3, 2))}}, "same leading size"),
    ],
)
def test_wrong_arguments_are_refused(change, message, params):
    arguments = {
        "batch": problems.make_batch(),
        "temperature": 1.0,
        "config": PresenceConfig(),
    } | change
    batch = arguments.pop("batch")
    with pytest.raises(ValueError, match=message):
        presence_gradients(problems.loss_fun, params, batch, None, **arguments)


def test_a_mesh_that_cannot_cut_the_rows_is_refused(params):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    step = functools.partial(presence_gradients, problems.loss_fun, params, temperature=1.0)
    with pytest.raises(
        ValueError, match=r"must divide the 2 rows of each device .*use one of \[1, 2\]"
    ):
        step(problems.make_batch(), None, mesh=mesh)
    other = Mesh(np.array(jax.devices()), ("rows",))
    with pytest.raises(ValueError, match="one must be named 'data'"):
        step(problems.make_batch(), None, mesh=other)


def test_results_follow_the_rows_not_their_place(params):
    """Sharded inputs under plain jit (GSPMD) give the single-device result."""
    config = PresenceConfig(num_microbatches=2)
    batch = problems.make_batch(13, NUM_ROWS)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    sharded = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    step = jax.jit(
        functools.partial(presence_gradients, problems.loss_fun, temperature=1.0, config=config)
    )
    expected, _ = step(params, batch, None)
    gradients, _ = step(params, sharded, None)
    assert oracles.relative_error(gradients, jax.tree.map(np.asarray, expected)) < TOLERANCE


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            PresenceConfig(granularity="shard", normalizer="ema", accumulator="streaming"),
            "granularity='shard' weighs every device's gradient by itself",
        ),
        (
            PresenceConfig(granularity="example", layers=("embedding",)),
            r"granularity='example' cannot score \['embedding'\]",
        ),
    ],
)
def test_units_that_need_their_own_gradient_of_a_cut_table_are_refused(config, message):
    def loss_fun(params, batch, rng):
        raise AssertionError("nothing is traced")

    loss_fun.cut_vocabulary = True
    tree = {
        "embedding": jnp.zeros((16, 4)),
        "encoder": {"layers_0": jnp.zeros(4)},
        "decoder": {"layers_0": jnp.zeros(4)},
    }
    with pytest.raises(ValueError, match=message):
        presence_gradients(
            loss_fun,
            tree,
            jnp.zeros((64, 3)),
            None,
            temperature=1.0,
            config=config,
            state=init_presence_state(config),
            mesh=Mesh(np.asarray(jax.devices()), ("data",)),
        )
