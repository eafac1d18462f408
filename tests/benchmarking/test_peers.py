"""Peers do the same work as ours, as far as they are installed; the others are named."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x.benchmarking.contenders import random_batch
from presence_t5x.benchmarking.peers import PEERS, find_absence, find_peers
from presence_t5x.benchmarking.peers_huggingface import check_mt5
from presence_t5x.benchmarking.peers_t5x import check_t5x
from presence_t5x.benchmarking.variants import make_variant
from presence_t5x.config_types import DecoderOnlyConfig, EncoderOnlyConfig, TemperatureConfig
from presence_t5x.losses import cross_entropy_with_z_loss
from presence_t5x.models.families import build_model, init_params

NUM_STEPS = 20
FLOAT32 = 2e-4  # relative, of losses after as many updates in another order of additions
SCORES = 1e-4  # relative, of squared norms in float32

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that are not ours


def need(name):
    missing = find_absence(name)
    if missing is not None:
        pytest.skip(f"{missing.title} is not installed ({missing.reason})")
    return PEERS[name].make


def losses(contender, num_steps=NUM_STEPS):
    return np.array([contender.value_of(contender.step()) for _ in range(num_steps)])


@pytest.fixture(scope="module")
def without_z_loss(config):
    return dataclasses.replace(config, z_loss=0.0)


@pytest.fixture(scope="module")
def our_losses(without_z_loss):
    return losses(make_variant(without_z_loss, "unweighted", random_batch(without_z_loss)))


@pytest.mark.parametrize("name", ["t5x", "t5x_presence"])
def test_t5x_goes_our_way(name, without_z_loss, our_losses):
    """Weighting at temperature 0 leaves T5X's step what it is."""
    level = dataclasses.replace(
        without_z_loss, temperature=TemperatureConfig(schedule="constant", temperature_1=0.0)
    )
    theirs = losses(need(name)(level, random_batch(level)))
    assert our_losses[-1] < our_losses[0] - 1.0
    np.testing.assert_allclose(theirs, our_losses, rtol=FLOAT32)


def test_hugging_face_starts_where_we_do_and_learns_as_much(without_z_loss, our_losses):
    theirs = losses(need("hf")(without_z_loss, random_batch(without_z_loss)))
    np.testing.assert_allclose(theirs[0], our_losses[0], rtol=FLOAT32)
    # Its Adafactor factors second moments of small matrices too, ours from 128 rows on.
    np.testing.assert_allclose(theirs, our_losses, rtol=0.05)


@pytest.fixture(scope="module")
def decoder(without_z_loss):
    """The run of a Llama with grouped heads."""
    model = DecoderOnlyConfig(
        vocab_size=without_z_loss.model.vocab_size,
        emb_dim=32,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_dim=48,
        num_layers=2,
        dtype="float32",
    )
    lengths = {"targets": 24}
    data = dataclasses.replace(
        without_z_loss.data, objective="next_token", task_feature_lengths=lengths
    )
    presence = dataclasses.replace(without_z_loss.presence, layers=("decoder/layers_0",))
    return dataclasses.replace(without_z_loss, model=model, data=data, presence=presence)


def test_llama_starts_where_we_do_and_learns_as_much(decoder):
    batch = random_batch(decoder)
    ours = losses(make_variant(decoder, "unweighted", batch))
    theirs = losses(need("hf_llama")(decoder, batch))
    assert ours[-1] < ours[0] - 0.1
    np.testing.assert_allclose(theirs[0], ours[0], rtol=FLOAT32)
    # Its Adafactor factors second moments of small matrices too, ours from 128 rows on.
    np.testing.assert_allclose(theirs, ours, rtol=0.01)


def test_peers_are_of_the_models_family(config, decoder):
    with pytest.raises(ValueError, match="Llama, PyTorch has no T5Config; use none, all, or"):
        find_peers("hf_llama", config)
    with pytest.raises(ValueError, match="T5X trainer has no DecoderOnlyConfig"):
        find_peers("t5x", decoder)
    present, missing = find_peers("all", decoder)
    assert {*present, *(one.peer for one in missing)} == {"hf_llama", "vmap", "one_by_one"}


@pytest.fixture(scope="module")
def encoder(config):
    """The run of a masked language model."""
    model = EncoderOnlyConfig(
        vocab_size=config.model.vocab_size,
        emb_dim=8,
        num_heads=2,
        head_dim=4,
        mlp_dim=8,
        num_layers=2,
        dtype="float32",
    )
    data = dataclasses.replace(
        config.data, objective="masked_tokens", task_feature_lengths={"inputs": 12}
    )
    presence = dataclasses.replace(config.presence, layers=("encoder/layers_0",))
    return dataclasses.replace(config, model=model, data=data, presence=presence)


@pytest.fixture(scope="module")
def classifier(encoder):
    """The run of a classifier."""
    model = dataclasses.replace(encoder.model, num_classes=3)
    data = dataclasses.replace(encoder.data, objective="classification")
    return dataclasses.replace(encoder, model=model, data=data)


@pytest.mark.parametrize(
    ("name", "run"),
    [
        *(("vmap", run) for run in ("config", "decoder", "encoder", "classifier")),
        ("one_by_one", "config"),
        ("one_by_one", "decoder"),
        ("jax_privacy", "config"),
    ],
)
def test_a_scoring_peer_has_our_scores(name, run, request):
    config, make = request.getfixturevalue(run), need(name)
    batch = random_batch(config)
    theirs = make(config, batch)
    ours = make_variant(config, "scoring", batch)
    scores = ours.value_of(ours.step())
    assert scores.shape == (16,)
    np.testing.assert_allclose(theirs.value_of(theirs.step()), scores, rtol=SCORES)
    np.testing.assert_allclose(scores[:2], row_scores(config, batch, 2), rtol=SCORES)


def test_hugging_face_has_our_scores(without_z_loss):
    """Its loss has no z-loss."""
    make = need("hf_one_by_one")
    batch = random_batch(without_z_loss)
    ours, theirs = make_variant(without_z_loss, "scoring", batch), make(without_z_loss, batch)
    scores = ours.value_of(ours.step())
    np.testing.assert_allclose(theirs.value_of(theirs.step()), scores, rtol=SCORES)


def row_scores(config, batch, num_rows):
    """Squared gradient norms over the first layers, one row at a time."""
    params = init_params(config.model, jax.random.key(config.random_seed))

    features = config.model.features

    def mean_loss(params, row):
        inputs = [row[name] for name in features.inputs]
        logits = build_model(config.model).apply({"params": params}, *inputs, enable_dropout=False)
        targets = row[features.targets].reshape(1, -1)
        weights = row[features.weights] if features.weights else np.ones((1, 1), np.float32)
        sums, num_tokens, _ = cross_entropy_with_z_loss(logits, targets, weights, config.z_loss)
        return sums[0] / num_tokens[0]

    gradient_fn = jax.jit(jax.grad(mean_loss))

    def score(index):
        row = {name: values[index : index + 1] for name, values in batch.items()}
        gradient = gradient_fn(params, row)
        layers = [gradient[stack]["layers_0"] for stack in config.model.stacks]
        return sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(layers))

    return [score(index) for index in range(num_rows)]


def test_no_peers_are_none(config):
    assert find_peers("none", config) == ([], [])


def test_an_unknown_peer_is_refused(config):
    with pytest.raises(ValueError, match="'t5' is no peer; use none, all, or some of t5x,t5x_p"):
        find_peers("t5", config)


def test_absent_peers_are_listed_or_refused_by_name(config, monkeypatch):
    absent = PEERS["jax_privacy"]._replace(modules=("no_such_module",))
    monkeypatch.setitem(PEERS, "jax_privacy", absent)
    for name in ("t5x", "t5x_presence"):
        monkeypatch.setitem(PEERS, name, PEERS["vmap"])
    for name in ("hf", "hf_one_by_one"):
        monkeypatch.setitem(PEERS, name, PEERS["vmap"])
    present, missing = find_peers("all", config)
    assert present == ["t5x", "t5x_presence", "hf", "vmap", "one_by_one", "hf_one_by_one"]
    assert [(one.peer, one.install) for one in missing] == [
        ("jax_privacy", "pip install jax_privacy")
    ]
    assert "no_such_module" in missing[0].reason
    with pytest.raises(ValueError, match=r"jax_privacy is not installed .*; pip install"):
        find_peers("vmap,jax_privacy", config)


@pytest.mark.parametrize(
    ("check", "settings", "message"),
    [
        (
            check_mt5,
            {"dtype": "bfloat16"},
            r"T5Config.dtype='bfloat16': .*='float32' alone",
        ),
        (check_mt5, {"scan_layers": True}, r"T5Config.scan_layers=True: .*=False alone"),
        (check_t5x, {"scan_layers": True}, r"T5Config.scan_layers=True"),
        (check_t5x, {"remat_policy": "full"}, r"T5Config.remat_policy='full'"),
    ],
)
def test_what_a_peer_would_not_run_alike_is_refused(config, check, settings, message):
    model = dataclasses.replace(config.model, **settings)
    with pytest.raises(ValueError, match=message):
        check(dataclasses.replace(config, model=model))


@pytest.mark.parametrize("check", [check_mt5, check_t5x])
def test_another_optimizer_is_refused(config, check):
    optimizer = dataclasses.replace(config.optimizer, name="adamw")
    with pytest.raises(ValueError, match="OPTIMIZER='adamw'"):
        check(dataclasses.replace(config, optimizer=optimizer))


def test_t5x_is_refused_where_it_would_cut_the_model(config):
    with pytest.raises(ValueError, match="T5X would cut the model over the 8 CPU devices"):
        check_t5x(config)


def test_t5x_divides_by_a_number_or_not_at_all(config):
    presence = dataclasses.replace(config.presence, loss_normalizer="num_real_target_tokens")
    with pytest.raises(ValueError, match="LOSS_NORMALIZING_FACTOR='num_real_target_tokens'"):
        check_t5x(dataclasses.replace(config, presence=presence))
