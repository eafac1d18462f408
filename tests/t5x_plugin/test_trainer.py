"""What PRESENCE's trainer refuses, hands to its parent, and keeps in T5X's train state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import t5x_peer as peer

from presence_t5x import PresenceConfig
from presence_t5x.config_types import TemperatureConfig
from presence_t5x.weighting import PresenceState

EMA = PresenceConfig(num_microbatches=4, normalizer="ema")

pytestmark = pytest.mark.filterwarnings("ignore")  # of T5X and what it imports


def minus_one(step):
    return jnp.full((), -1.0)


def make(normalizer="batch", state=None, model=None, model_settings=None, **arguments):
    model = model or peer.make_model("t5", True, normalizer=normalizer, **model_settings or {})
    return peer.make_trainer(
        peer.need("presence_t5x.t5x_trainer").PresenceTrainer,
        model,
        state or peer.initial_state("t5", True, normalizer),
        **{"temperature_fn": minus_one} | arguments,
    )


def metric_names(trainer):
    """Returns what a step would report, without compiling it."""
    step_fn = trainer._partitioned_train_step
    _, metrics = jax.eval_shape(step_fn, trainer.train_state, peer.make_batch(0))
    trainer.close()
    return set(metrics)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"temperature_fn": TemperatureConfig()},
            r"temperature_fn=TemperatureConfig\(.*must be a function of the step, .* or None",
        ),
        (
            {"presence_config": PresenceConfig(layers=["encoder/layer_0"])},
            r"pattern 'encoder/layer_0' matches no parameter; near matches: .*encoder/layers_0",
        ),
        (
            {"presence_config": PresenceConfig(loss_normalizer=7.0)},
            r"presence_config.loss_normalizer=7.0 but the model's loss_normalizing_factor=None",
        ),
        (
            {"presence_config": EMA},
            r"normalizer='ema' needs score moments in the train state: set MODEL = @t5x_model",
        ),
        (
            {"presence_config": EMA, "normalizer": "ema", "num_microbatches": 1},
            r"normalizer='ema': T5X's own step .* cannot carry score moments; set .*'batch'",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_compiles(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_variables_that_units_would_change_in_turn_are_refused():
    state = peer.initial_state("t5", True)
    state = state.replace_flax_mutables({"batch_stats": {"mean": np.zeros(2)}})
    with pytest.raises(ValueError, match=r"mutable variables \['batch_stats'\] would be changed"):
        make(state=state)


def test_a_model_without_t5x_loss_is_refused():
    class Model(peer.need("t5x.models").BaseModel):
        def loss_fn(self, params, batch, dropout_rng): ...
        def predict_batch_with_aux(self, params, batch, rng=None): ...
        def score_batch(self, params, batch, return_intermediates=False): ...
        def get_initial_variables(self, rng, input_shapes, input_types=None): ...

    trainer = peer.need("presence_t5x.t5x_trainer").PresenceTrainer
    with pytest.raises(ValueError, match=r"model=Model: .* t5x\.models\.BaseTransformerModel"):
        trainer(
            Model(None),
            peer.initial_state("t5", True),
            peer.make_partitioner(),
            *([], None, None, None, None, 4),
            temperature_fn=minus_one,
        )


def test_rows_that_do_not_divide_are_named_while_tracing():
    trainer = make(num_microbatches=5)
    with pytest.raises(
        ValueError, match=r"num_microbatches=5 must divide the 16 rows of the batch"
    ):
        metric_names(trainer)


@pytest.mark.parametrize("factor", [7, "NUM_REAL_TARGET_TOKENS"])
def test_a_loss_normalizer_said_twice_is_taken_once(factor):
    config = PresenceConfig(loss_normalizer=factor)
    make(model_settings={"loss_normalizing_factor": factor}, presence_config=config).close()


@pytest.mark.parametrize("num_microbatches", [None, 1])
def test_a_single_unit_is_left_to_t5x(num_microbatches):
    names = metric_names(make(num_microbatches=num_microbatches))
    assert "loss" in names and not any(name.startswith("presence/") for name in names)


def test_without_a_temperature_the_step_is_t5x_s():
    build = peer.need("presence_t5x.t5x_trainer").build_temperature_fn
    names = metric_names(make(temperature_fn=build(TemperatureConfig(schedule="unweighted"))))
    assert not any(name.startswith("presence/") for name in names)


def test_single_rows_of_one_microbatch_are_weighed():
    config = PresenceConfig(granularity="example", row_order="contiguous")
    names = metric_names(make(num_microbatches=None, presence_config=config))
    assert {"presence/scores", "presence/weight_max", "learning_rate"} <= names


def test_the_trainer_counts_the_microbatches_in_t5x_order():
    trainer = make(num_microbatches=2)
    assert (trainer._config.num_microbatches, trainer._config.row_order) == (2, "contiguous")
    trainer.close()
    strided = make(num_microbatches=2, presence_config=PresenceConfig(num_microbatches=8))
    assert (strided._config.num_microbatches, strided._config.row_order) == (2, "strided")
    strided.close()


def test_moments_survive_t5x_checkpoints(tmp_path):
    """Written and read by T5X's Orbax manager and by its own older checkpointer."""
    model_module = peer.need("presence_t5x.t5x_model")
    moments = PresenceState(np.int32(3), np.float32(1.25), np.float32(2.5))
    state = peer.initial_state("t5", True, "ema").replace_step(np.int32(3))
    state = state.replace_flax_mutables(model_module.pack_moments(moments))
    model = peer.make_model("t5", True, normalizer="ema")
    partitioner = peer.make_partitioner()
    initializer = peer.make_initializer(model, partitioner)
    checkpoints = peer.need("t5x.checkpoints")
    for folder in ("older", "orbax"):
        (tmp_path / folder).mkdir()
    older = checkpoints.Checkpointer(
        initializer.global_train_state_shape, partitioner, str(tmp_path / "older")
    )
    orbax = checkpoints.OrbaxCheckpointManagerInterface(
        str(tmp_path / "orbax"), initializer.global_train_state_shape, partitioner, period=1
    )
    older.save(state)
    assert orbax.save(state)
    orbax.wait_until_finished()
    restored = [
        older.restore(path=str(tmp_path / "older" / "checkpoint_3")),
        orbax.restore(path=str(tmp_path / "orbax" / "checkpoint_3")),
    ]
    for found in restored:
        assert jax.device_get(model_module.unpack_moments(found.flax_mutables)) == moments
        same = jax.tree.map(np.array_equal, jax.device_get(found.params), state.params)
        assert all(jax.tree.leaves(same))


def test_every_microbatch_has_its_own_dropout():
    """So that four equal microbatches have unequal scores; T5X drops the same in all of them."""
    trainer = make(model=peer.make_model("t5", True, dropout_rate=0.5))
    batch = {name: np.tile(rows[:4], (4, 1)) for name, rows in peer.make_batch(0).items()}
    scores = trainer.train(iter([batch]), 1).result()["presence/scores"].value
    trainer.close()
    assert len(set(np.asarray(scores).tolist())) == peer.NUM_MICROBATCHES


def test_evaluation_ignores_the_moments():
    trainer = make("ema", presence_config=dataclasses.replace(EMA, row_order="contiguous"))
    state, batch = trainer.train_state, peer.make_batch(0)
    metrics = jax.eval_shape(trainer._partitioned_eval_step, state, batch)
    trainer.close()
    assert "accuracy" in metrics
