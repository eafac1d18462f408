"""The analytic count equals the products in the model's own trace, and known figures."""

import dataclasses

import families
import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from presence_t5x.config import load_config
from presence_t5x.config_types import T5Config
from presence_t5x.models.families import init_params
from presence_t5x.models.positions import NUM_BUCKETS
from presence_t5x.models.t5 import T5
from presence_t5x.objective import (
    abstract_batch,
    abstract_state,
    compile_ready_step,
    make_objective,
)
from presence_t5x.planning.analytic import (
    forward_flops,
    training_flops,
    weighted_training_flops,
)
from presence_t5x.planning.hlo_cost import program_cost

INPUTS, TARGETS, ROWS = 12, 5, 3
LENGTHS = {"encoder": INPUTS, "decoder": TARGETS}
ONE_STACK_TOLERANCE = 0.05
FLOPS_TOLERANCE = 0.03  # norms of position tables, and of the output layer's blocks
SIZES = {
    "vocab_size": 40, "emb_dim": 8, "num_heads": 2, "head_dim": 6, "mlp_dim": 20,
    "num_encoder_layers": 2, "num_decoder_layers": 3, "dtype": "float32",
}  # fmt: skip


def traced_flops(jaxpr):
    """Adds up the dot_generals of a trace, those of a scan as often as it runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            width = 1
            for dimension in contracted:
                width *= equation.invars[0].aval.shape[dimension]
            total += 2 * equation.outvars[0].aval.size * width
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            total += times * traced_flops(inner)
    return total


def model_gradient(config):
    """Returns the compiled gradient of a loss that needs every logit."""

    def loss(params, inputs, targets):
        logits = T5(config).apply(
            {"params": params}, inputs, targets, targets, enable_dropout=False
        )
        return jnp.sum(jax.nn.logsumexp(logits, axis=-1))

    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    tokens = [jax.ShapeDtypeStruct((ROWS, length), jnp.int32) for length in (INPUTS, TARGETS)]
    return jax.jit(jax.grad(loss)).lower(params, *tokens).compile()


def position_flops(config):
    """What the relative position tables cost: looked up by a product, which is not counted."""
    return 2 * config.num_heads * NUM_BUCKETS * (INPUTS**2 + TARGETS**2)


@pytest.mark.parametrize("activations", [("gelu", "linear"), ("relu",)])
def test_forward_is_what_the_model_traces(activations):
    config = T5Config(**SIZES, mlp_activations=activations)

    def apply(params, inputs, targets):
        return T5(config).apply({"params": params}, inputs, targets, targets, enable_dropout=False)

    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    tokens = [jax.ShapeDtypeStruct((ROWS, length), jnp.int32) for length in (INPUTS, TARGETS)]
    traced = traced_flops(jax.make_jaxpr(apply)(params, *tokens).jaxpr)
    counted = ROWS * forward_flops(config, LENGTHS).total
    assert traced == counted + position_flops(config)


def positions_by_product(config):
    """What a table of learned positions costs: looked up by a product, which is not counted."""
    if "encoder" not in config.stacks:
        return 0
    return 2 * families.LENGTH * (config.max_positions + 2) * config.emb_dim


@pytest.mark.parametrize("name", families.ONE_STACK)
def test_forward_of_one_stack_is_what_the_model_traces(name):
    config = families.CONFIGS[name]
    batch = families.batch_of(config, packed=False)
    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    jaxpr = jax.make_jaxpr(lambda params, batch: families.apply(config, params, batch))
    lengths = dict.fromkeys(config.stacks, families.LENGTH)
    traced = traced_flops(jaxpr(params, batch).jaxpr)
    counted = families.ROWS * forward_flops(config, lengths).total
    assert traced == counted + families.ROWS * positions_by_product(config)


@pytest.mark.parametrize(
    "name, feature, objective",
    [("decoder_only", "targets", "next_token"), ("encoder_only", "inputs", "masked_tokens")],
)
@pytest.mark.parametrize("granularity", ["microbatch", "example"])
def test_a_step_of_one_stack_is_what_the_compiler_makes(name, feature, objective, granularity):
    run = weighted_run(granularity=granularity)
    data = dataclasses.replace(
        run.data, task_feature_lengths={feature: families.LENGTH}, objective=objective
    )
    model = dataclasses.replace(families.CONFIGS[name], emb_dim=32, mlp_dim=96)
    presence = dataclasses.replace(run.presence, layers=model.first_blocks)
    run = dataclasses.replace(run, model=model, data=data, presence=presence)
    analytic = weighted_training_flops(run)
    assert compiled_step_flops(run) == pytest.approx(analytic, rel=ONE_STACK_TOLERANCE)


@pytest.mark.parametrize("remat_policy", ["minimal", "full"])
def test_training_is_what_the_compiled_gradient_does(remat_policy):
    config = T5Config(**SIZES, scan_layers=True, remat_policy=remat_policy)
    run = load_config(["configs/runs/benchmark.gin"])
    lengths = {"inputs": INPUTS, "targets": TARGETS}
    run = dataclasses.replace(run, model=config)
    run = dataclasses.replace(
        run, data=dataclasses.replace(run.data, batch_size=48, task_feature_lengths=lengths)
    )
    compiled = program_cost(model_gradient(config).as_text()).matmul_flops
    positions = 2 * position_flops(config)  # forward, and the table's gradient
    assert compiled - positions == pytest.approx(training_flops(run) * ROWS / 48, rel=0.01)


def test_mt5_base_as_the_tpu_compiler_counted_it():
    """9,252,698,181,120 FLOPs of convolutions a device, in the unweighted step at d2db3aa."""
    run = load_config(["configs/runs/pretrain_mt5_base_presence.gin"], ['MODEL_DIR="none"'])
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, remat_policy="none"))
    assert training_flops(run) / 128 == pytest.approx(9_252_698_181_120, rel=1e-4)


def test_a_vocabulary_of_no_size():
    with pytest.raises(ValueError, match=r"vocab_size=None: set it, e.g. --gin.T5Config.vocab_"):
        forward_flops(T5Config(), LENGTHS)


def weighted_run(**presence):
    """A run small enough to compile in seconds, one device, eight rows in two microbatches."""
    run = load_config(["configs/runs/benchmark.gin"])
    lengths = {"inputs": INPUTS, "targets": TARGETS}
    data = dataclasses.replace(run.data, batch_size=8, task_feature_lengths=lengths)
    weighting = dataclasses.replace(run.presence, num_microbatches=2, **presence)
    return dataclasses.replace(run, model=T5Config(**SIZES), data=data, presence=weighting)


def compiled_step_flops(run):
    """Matrix products of the whole compiled step, those of the position tables left out."""
    objective = make_objective(run, None)
    step = compile_ready_step(run, objective)
    compiled = step.lower(abstract_state(run, objective), abstract_batch(run, None)).compile()
    return program_cost(compiled.as_text()).matmul_flops


@pytest.mark.parametrize("score", ["self_influence", "loss"])
def test_what_scores_of_examples_add_is_what_the_compiler_adds(score):
    """Two sweeps: where one forward pass is shared, a branch for dead rows has another one."""
    plain, by_row = weighted_run(), weighted_run(granularity="example", score=score)
    analytic = weighted_training_flops(by_row) - weighted_training_flops(plain)
    compiled = compiled_step_flops(by_row) - compiled_step_flops(plain)
    assert compiled == pytest.approx(analytic, rel=FLOPS_TOLERANCE)


def test_microbatches_are_scored_for_nothing():
    run = weighted_run()
    assert weighted_training_flops(run) == training_flops(run)


def test_one_sweep_saves_a_forward_pass():
    two, one = (
        weighted_training_flops(weighted_run(granularity="example", normalizer=normalizer))
        for normalizer in ("batch", "ema")
    )
    assert two - one == 8 * forward_flops(T5Config(**SIZES), LENGTHS).total
    free = weighted_run(granularity="example", normalizer="ema", score="loss")
    assert weighted_training_flops(free) == training_flops(free)
