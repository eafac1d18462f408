"""The loss of a T5X model cut into units, against T5X's own of the whole batch."""

import functools

import clu.metrics
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import t5x_peer as peer

from presence_t5x import PresenceConfig, presence_gradients
from presence_t5x.data.packing import pack_examples

LOSSES = 1e-6
GRADIENTS = 1e-5  # norm-relative, of float32 sums in another order
METRICS = 1e-6
FACTORS = [None, 80.0, "NUM_REAL_TARGET_TOKENS", "NUM_TOTAL_TARGET_TOKENS", "AVERAGE_PER_SEQUENCE"]

pytestmark = pytest.mark.filterwarnings("ignore")  # of T5X and what it imports


def packed_batch():
    """Rows in which several examples share a row, as seqio packs them."""
    rng = np.random.default_rng(3)
    examples = [
        {
            name: rng.integers(2, peer.TINY["vocab_size"], rng.integers(1, most)).astype(np.int32)
            for name, most in (("inputs", 4), ("targets", 3))
        }
        for _ in range(40)
    ]
    features = pack_examples(examples, {"inputs": peer.INPUTS, "targets": peer.TARGETS})
    rows = {name: values[:8] for name, values in features.items()}
    assert rows["decoder_segment_ids"].max() > 1
    return rows


def step_loss(model, batch, per_row=False):
    return peer.need("presence_t5x.t5x_loss").step_loss(model, batch, per_row=per_row)


@pytest.mark.parametrize(
    ("factor", "packed"), [*((factor, False) for factor in FACTORS), (FACTORS[-1], True)]
)
def test_losses_of_units_add_up_to_the_batch(factor, packed):
    """T5X without microbatches says what a normaliser means here, for any number of units."""
    model = peer.make_model("t5", True, loss_normalizing_factor=factor)
    batch = packed_batch() if packed else peer.make_batch(0)
    size = len(batch["decoder_target_tokens"]) // 2

    @jax.jit
    def both(params):
        loss = step_loss(model, batch)
        halves = [
            loss.fun(params, {name: rows[part] for name, rows in loss.batch.items()}, None)
            for part in (slice(size), slice(size, None))
        ]
        total, num_tokens, metrics = functools.reduce(add, halves)
        ours = total / loss.normalizer, loss.metrics_fn(metrics)
        return ours, num_tokens, model.loss_fn(params, batch, None)

    ours, num_tokens, theirs = both(peer.initial_state("t5", True).params)
    assert float(ours[0]) == pytest.approx(float(theirs[0]), rel=LOSSES)
    assert values(ours[1]) == pytest.approx(values(theirs[1]), rel=METRICS)
    expected = np.sum(batch["decoder_loss_weights"])
    if factor == "AVERAGE_PER_SEQUENCE":
        expected = batch["decoder_segment_ids"].max(1).sum() if packed else peer.ROWS
    assert float(num_tokens) == pytest.approx(expected)


def add(one, other):
    return jax.tree.map(lambda a, b: a + b, one, other)


def test_gradients_of_units_add_up_to_the_batch():
    model = peer.make_model("t5", True, loss_normalizing_factor="AVERAGE_PER_SEQUENCE")
    params = peer.initial_state("t5", True).params
    batch = packed_batch()

    @jax.jit
    def ours(params):
        loss = step_loss(model, batch)
        config = PresenceConfig(num_microbatches=4, row_order="contiguous")
        gradients, _ = presence_gradients(
            loss.fun, params, loss.batch, None, temperature=0.0, config=config, has_aux=True
        )
        return jax.tree.map(lambda leaf: leaf / loss.normalizer, gradients)

    expected = jax.jit(jax.grad(lambda params: model.loss_fn(params, batch, None)[0]))(params)
    assert peer.distance(ours(params), expected) < GRADIENTS


@pytest.fixture(scope="module")
def own_loss():
    """The loss and metrics that T5X computes from this package's logits."""
    model = peer.make_model("own", True, loss_normalizing_factor=80.0)
    batch = peer.make_batch(0)
    return jax.jit(lambda params: model.loss_fn(params, batch, None))(own_params())


def own_params():
    return peer.initial_state("own", True).params


@pytest.mark.parametrize("per_row", [False, True])
def test_own_model_reports_t5x_metrics_without_its_logits(per_row, own_loss):
    model = peer.make_model("own", True, loss_normalizing_factor=80.0)
    batch = peer.make_batch(0)
    shape = (peer.ROWS,) if per_row else ()

    @jax.jit
    def ours(params):
        loss = step_loss(model, batch, per_row)
        losses, num_tokens, sums = loss.fun(params, loss.batch, None)
        assert losses.shape == num_tokens.shape == shape
        return jnp.sum(losses) / loss.normalizer, loss.metrics_fn(sums)

    total, metrics = ours(own_params())
    expected, expected_metrics = own_loss
    assert float(total) == pytest.approx(float(expected), rel=LOSSES)
    assert values(metrics) == pytest.approx(values(expected_metrics), rel=METRICS)


def test_own_model_with_smoothed_labels_takes_t5x_loss(own_loss):
    settings = {"loss_normalizing_factor": 80.0, "label_smoothing": 0.1}
    model = peer.make_model("own", True, **settings)
    batch = peer.make_batch(0)

    @jax.jit
    def ours(params):
        loss = step_loss(model, batch)
        return loss.fun(params, loss.batch, None)[0] / loss.normalizer

    smoothed, plain = float(ours(own_params())), float(own_loss[0])
    expected, _ = jax.jit(lambda params: model.loss_fn(params, batch, None))(own_params())
    assert smoothed == pytest.approx(float(expected), rel=LOSSES)
    assert abs(smoothed - plain) > 1e-3


def test_a_batch_without_loss_weights_counts_padding_as_t5x_does():
    model = peer.make_model("t5", True)
    batch = peer.make_batch(0)
    del batch["decoder_loss_weights"]

    @jax.jit
    def both(params):
        loss = step_loss(model, batch)
        return loss.fun(params, loss.batch, None)[:2], model.loss_fn(params, batch, None)[0]

    (total, num_tokens), expected = both(peer.initial_state("t5", True).params)
    assert float(total) == pytest.approx(float(expected), rel=LOSSES)
    assert float(num_tokens) == peer.ROWS * peer.TARGETS


def test_a_batch_without_tokens_divides_by_one():
    model = peer.make_model("t5", True, loss_normalizing_factor="NUM_REAL_TARGET_TOKENS")
    batch = peer.make_batch(0)
    batch["decoder_loss_weights"] *= 0

    @jax.jit
    def ours(params):
        loss = step_loss(model, batch)
        return loss.normalizer, *loss.fun(params, loss.batch, None)[:2]

    assert tuple(map(float, ours(peer.initial_state("t5", True).params))) == (1.0, 0.0, 0.0)


def test_a_metric_that_does_not_add_up_is_refused():
    model = peer.make_model("t5", True)
    metrics = {"latest": clu.metrics.LastValue.from_model_output(jnp.ones(1))}
    with pytest.raises(ValueError, match=r"metric 'latest' is a LastValue.* use clu\.metrics"):
        step_loss(model, peer.make_batch(0)).metrics_fn(metrics)


def test_a_metric_that_adds_up_passes():
    @flax.struct.dataclass
    class Count(clu.metrics.Metric):
        count: jax.Array

        def merge(self, other):
            return Count(self.count + other.count)

    metrics = {"rows": Count(jnp.ones((), jnp.int32))}
    loss = step_loss(peer.make_model("t5", True), peer.make_batch(0))
    assert loss.metrics_fn(metrics) == metrics


def values(metrics):
    """Returns what T5X shows of a step, but for times."""
    shown = peer.need("t5x.metrics").set_step_metrics_num_steps(metrics, 1)
    return {
        name: float(metric.compute())
        for name, metric in shown.items()
        if not name.startswith("timing/")
    }
