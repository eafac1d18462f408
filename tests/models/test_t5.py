"""T5 equals a NumPy forward pass and T5X; nothing leaks between positions, padding or examples."""

import functools
import math
import warnings
from pathlib import Path

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gin import config_parser
from models import numpy_t5

from presence_t5x.config_types import T5Config
from presence_t5x.models import attention as attentions
from presence_t5x.models import families, positions, t5

ROOT = Path(__file__).parents[2]
SIZES = {
    "vocab_size": 4096,
    "emb_dim": 64,
    "num_heads": 4,
    "head_dim": 16,
    "mlp_dim": 128,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
}
TINY = T5Config(dtype="float32", **SIZES)
# float32 against float64 through 4 layers; logits are of size 1.
LOGIT_TOLERANCE = 2e-5
# The same float32 sums in another order.
SAME_FUNCTION_TOLERANCE = 1e-5

PARAMETER_COUNTS = {
    "mt5_small": 300_176_768,
    "mt5_base": 582_401_280,
    "mt5_large": 1_229_581_312,
    "mt5_xl": 3_742_619_648,
    "mt5_xxl": 12_921_057_280,
    # 2 * 4096 * 64 ends, 2 * (4 * 32) tables, 2 layers of (4 + 8) * 64 * 64 attention,
    # 2 * 3 * 64 * 128 MLP and (2 + 3) norms of 64, 2 final norms.
    "tiny": 2 * 4096 * 64 + 2 * 128 + 2 * (12 * 64 * 64 + 6 * 64 * 128 + 5 * 64) + 2 * 64,
}


class _GinValues(config_parser.ParserDelegate):
    """Reads gin values without any registry, so that no test changes gin's global state."""

    def configurable_reference(self, scoped_name, evaluate):
        return scoped_name

    def macro(self, name):
        return {"DROPOUT_RATE": 0.25}[name]


def read_bindings(path):
    """Returns {T5Config field: value} of a model file and the files it includes."""
    bindings = {}
    for statement in config_parser.ConfigParser((ROOT / path).read_text(), _GinValues()):
        if isinstance(statement, config_parser.IncludeStatement):
            bindings |= read_bindings(statement.filename)
        else:
            assert statement.selector == "T5Config" or statement.value == "T5Config"
            if statement.selector == "T5Config":
                bindings[statement.arg_name] = statement.value
    return bindings


def example_batch(seed=0, batch=3, inputs=12, targets=9, vocab=4096):
    """Returns inputs, decoder inputs and targets whose rows have different padding."""
    rng = np.random.default_rng(seed)
    x = rng.integers(2, vocab, (batch, inputs))
    y = rng.integers(2, vocab, (batch, targets))
    for row in range(1, batch):
        x[row, inputs - 2 * row :] = 0
        y[row, targets - row :] = 0
    return x, np.pad(y, ((0, 0), (1, 0)))[:, :-1], y


@functools.partial(jax.jit, static_argnums=0)
def logits_of(config, params, *batch):
    return t5.T5(config).apply({"params": params}, *batch, enable_dropout=False)


def random_params(config, seed=0):
    """Returns parameters of sensible size without the seconds that compiling init_params takes."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key == "scale":
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        size = 1.0 if path[-1].key != "kernel" else 1 / math.sqrt(leaf.shape[0])
        if path[-2].key == "query":
            size /= math.sqrt(config.head_dim)
        return (size * rng.normal(size=leaf.shape)).astype(np.float32)

    shapes = jax.eval_shape(lambda: families.init_params(config, jax.random.key(0)))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def tiny_params():
    return families.init_params(TINY, jax.random.key(0))


def test_every_model_file_has_the_published_number_of_parameters():
    for name, count in PARAMETER_COUNTS.items():
        config = T5Config(**read_bindings(f"configs/models/{name}.gin"))
        assert families.num_parameters(config) == count, name
        assert config.dropout_rate == 0.25, name  # the run file's macro


def test_model_files_bind_sizes_and_types():
    xl = read_bindings("configs/models/mt5_xl.gin")
    assert xl["vocab_size"] == 250112 and xl["dtype"] == "bfloat16"
    assert xl["mlp_activations"] == ("gelu", "linear")
    tiny = read_bindings("configs/models/tiny.gin")
    assert {name: tiny[name] for name in SIZES} == SIZES and tiny["dtype"] == "float32"
    assert gin.config_str() == ""  # read without touching gin's registry


def test_the_number_of_parameters_is_that_of_the_parameters(tiny_params):
    assert sum(leaf.size for leaf in jax.tree.leaves(tiny_params)) == PARAMETER_COUNTS["tiny"]
    for scan_layers in (False, True):
        config = T5Config(dtype="float32", scan_layers=scan_layers, remat_policy="full", **SIZES)
        assert families.num_parameters(config) == PARAMETER_COUNTS["tiny"]


def expected_tree():
    """T5X's paths and shapes of the tiny model, written out by hand."""

    def attention(path):
        yield from (
            (f"{path}/{name}/kernel", (64, 64)) for name in ("query", "key", "value", "out")
        )

    def mlp(path):
        yield from ((f"{path}/{name}/kernel", (64, 128)) for name in ("wi_0", "wi_1"))
        yield f"{path}/wo/kernel", (128, 64)

    yield "token_embedder/embedding", (4096, 64)
    for stack in ("encoder", "decoder"):
        yield f"{stack}/relpos_bias/rel_embedding", (4, 32)
        yield f"{stack}/{stack}_norm/scale", (64,)
    yield "decoder/logits_dense/kernel", (64, 4096)
    for i in range(2):
        yield from attention(f"encoder/layers_{i}/attention")
        yield from attention(f"decoder/layers_{i}/self_attention")
        yield from attention(f"decoder/layers_{i}/encoder_decoder_attention")
        yield from mlp(f"encoder/layers_{i}/mlp")
        yield from mlp(f"decoder/layers_{i}/mlp")
        for norm in ("pre_attention_layer_norm", "pre_mlp_layer_norm"):
            yield f"encoder/layers_{i}/{norm}/scale", (64,)
        for norm in ("self_attention", "cross_attention", "mlp"):
            yield f"decoder/layers_{i}/pre_{norm}_layer_norm/scale", (64,)


def flatten(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}


def test_parameter_tree_is_t5x_s(tiny_params):
    tree = {path: leaf.shape for path, leaf in flatten(tiny_params).items()}
    assert tree == dict(expected_tree())
    assert {leaf.dtype for leaf in jax.tree.leaves(tiny_params)} == {jnp.dtype("float32")}


def test_scanned_tree_stacks_layers_on_axis_1():
    config = T5Config(dtype="float32", scan_layers=True, **SIZES)
    tree = jax.eval_shape(lambda: families.init_params(config, jax.random.key(0)))
    shapes = {path: leaf.shape for path, leaf in flatten(tree).items()}
    expected = {
        path.replace("/layers_0/", f"/{path.split('/')[0]}/"): (
            (shape[0], 2, *shape[1:]) if "/layers_0/" in path else shape
        )
        for path, shape in expected_tree()
        if "/layers_1/" not in path
    }
    assert shapes == expected


def test_single_activation_kernel_is_called_wi():
    config = T5Config(dtype="float32", mlp_activations=("relu",), **SIZES)
    mlp = jax.eval_shape(lambda: families.init_params(config, jax.random.key(0)))["encoder"][
        "layers_0"
    ]["mlp"]
    assert sorted(mlp) == ["wi", "wo"]


def test_initial_parameters_have_t5x_s_spread(tiny_params):
    spread = {
        "token_embedder/embedding": 1.0,
        "encoder/layers_1/attention/query/kernel": 1 / math.sqrt(64 * 16),
        "encoder/layers_1/attention/key/kernel": 1 / math.sqrt(64),
        "decoder/layers_0/encoder_decoder_attention/value/kernel": 1 / math.sqrt(64),
        "decoder/layers_0/self_attention/out/kernel": 1 / math.sqrt(64),
        "encoder/layers_0/mlp/wi_0/kernel": 1 / math.sqrt(64),
        "decoder/layers_1/mlp/wo/kernel": 1 / math.sqrt(128),
        "decoder/logits_dense/kernel": 1 / math.sqrt(64),
        "encoder/relpos_bias/rel_embedding": 1 / math.sqrt((4 + 32) / 2),
    }
    params = flatten(tiny_params)
    for path, deviation in spread.items():
        values = np.asarray(params[path])
        five_sigma = 5 / math.sqrt(2 * values.size)  # of a sample deviation, relative
        assert abs(values.std() / deviation - 1) < five_sigma, path
        assert abs(values.mean()) < 5 * deviation / math.sqrt(values.size), path
    # Truncated normals and the uniform table have bounds; normal attention kernels have none.
    assert abs(params["encoder/layers_0/mlp/wi_0/kernel"]).max() < 2 / 0.87962566 / math.sqrt(64)
    assert abs(params["encoder/layers_0/attention/key/kernel"]).max() > 3 / math.sqrt(64)
    assert abs(params["encoder/relpos_bias/rel_embedding"]).max() < math.sqrt(3 / 18)
    assert all((leaf == 1).all() for path, leaf in params.items() if path.endswith("scale"))


def test_scanned_layers_are_drawn_apart_with_unscanned_spread():
    config = T5Config(dtype="float32", scan_layers=True, **SIZES)
    mlp = families.init_params(config, jax.random.key(0))["decoder"]["decoder"]["mlp"]["wo"][
        "kernel"
    ]
    for layer in range(2):
        values = np.asarray(mlp[:, layer])
        assert abs(values.std() * math.sqrt(128) - 1) < 5 / math.sqrt(2 * values.size)
    assert not np.array_equal(mlp[:, 0], mlp[:, 1])


def test_initial_parameters_and_logits_have_not_moved(tiny_params):
    # Regenerate: print `actual`. The parameters are T5X's at commit cc342d4.
    golden = {
        "query": [-0.04349685, 0.02269094, -0.00013606],
        "logits_dense": [0.05755873, 0.00245091, 0.01268294],
        "logits": [0.93115121, 1.34903944, 0.90571886],
    }
    query = tiny_params["encoder"]["layers_0"]["attention"]["query"]["kernel"]
    actual = {
        "query": query[0, :3],
        "logits_dense": tiny_params["decoder"]["logits_dense"]["kernel"][0, :3],
        "logits": logits_of(TINY, tiny_params, *example_batch())[0, 0, :3],
    }
    for name, values in golden.items():
        np.testing.assert_allclose(actual[name], values, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_and_their_layout_equal_the_definition(bidirectional):
    distances = np.arange(-300, 301)
    expected = [numpy_t5.bucket(int(d), bidirectional) for d in distances]
    actual = positions.relative_position_buckets(distances, bidirectional)
    np.testing.assert_array_equal(actual, expected)

    table = jax.random.normal(jax.random.key(1), (3, 32))
    module = positions.RelativePositionBiases(3, bidirectional, jnp.dtype("float32"))
    for query_length, key_length in ((1, 1), (1, 4), (5, 1), (7, 150), (150, 7)):
        bias = module.apply({"params": {"rel_embedding": table}}, query_length, key_length)
        expected = [
            [table[:, numpy_t5.bucket(k - q, bidirectional)] for k in range(key_length)]
            for q in range(query_length)
        ]
        np.testing.assert_array_equal(bias[0], np.moveaxis(np.array(expected), -1, 0))


VARIANTS = {
    "t5.1.1": {},
    "one activation, shared table": {
        "mlp_activations": ("relu",),
        "logits_via_embedding": True,
    },
    "unequal head_dim": {"head_dim": 10, "mlp_activations": ("silu", "linear", "gelu")},
    "float32 attention logits": {"float32_attention_logits": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_numpy(variant):
    config = T5Config(**{**SIZES, "vocab_size": 50, "dtype": "float32", **VARIANTS[variant]})
    params = random_params(config)
    batch = example_batch(vocab=50)
    actual = logits_of(config, params, *batch)
    expected = numpy_t5.numpy_t5(params, config, *batch)
    np.testing.assert_allclose(actual, expected, atol=LOGIT_TOLERANCE * abs(expected).max())


def test_long_rows_equal_numpy():
    sizes = {**SIZES, "vocab_size": 20, "num_encoder_layers": 1, "num_decoder_layers": 1}
    config = T5Config(dtype="float32", **sizes)
    params = random_params(config)
    batch = example_batch(batch=1, inputs=70, targets=60, vocab=20)
    expected = numpy_t5.numpy_t5(params, config, *batch)
    actual = logits_of(config, params, *batch)
    np.testing.assert_allclose(actual, expected, atol=LOGIT_TOLERANCE * abs(expected).max())


def packed_batch():
    """Returns one packed row of two examples with padding, and each example alone in a row."""
    rng = np.random.default_rng(3)
    x = rng.integers(2, 4096, 10)
    y = rng.integers(2, 4096, 8)
    x[9:], y[7:] = 0, 0
    input_segments = np.array([1] * 4 + [2] * 5 + [0])
    segments = np.array([1] * 5 + [2] * 2 + [0])
    decoder_inputs = np.where([True, *list(np.diff(segments) != 0)], 0, np.roll(y, 1))
    packed = [a[None] for a in (x, decoder_inputs, y, input_segments, segments)]

    def alone(inputs_part, targets_part):
        parts = (x[inputs_part], decoder_inputs[targets_part], y[targets_part])
        lengths = (len(x), len(y), len(y))
        return [np.pad(part, (0, n - len(part)))[None] for part, n in zip(parts, lengths)]

    return packed, (alone(slice(0, 4), slice(0, 5)), alone(slice(4, 9), slice(5, 7)))


def test_a_packed_row_is_its_examples(tiny_params):
    packed, (first, second) = packed_batch()
    logits = logits_of(TINY, tiny_params, *packed)[0]
    alone = [logits_of(TINY, tiny_params, *example)[0] for example in (first, second)]
    np.testing.assert_allclose(logits[:5], alone[0][:5], atol=LOGIT_TOLERANCE)
    np.testing.assert_allclose(logits[5:7], alone[1][:2], atol=LOGIT_TOLERANCE)
    # The segment ids are what does it.
    assert abs(logits_of(TINY, tiny_params, *packed[:3])[0, 5:7] - alone[1][:2]).max() > 0.01
    expected = numpy_t5.numpy_t5(tiny_params, TINY, *packed[:3], segments=packed[3:])
    np.testing.assert_allclose(logits, expected[0], atol=LOGIT_TOLERANCE)


def embedding_influence(params, batch, positions, *segments):
    """Returns the size of d(sum of the logits at `positions`) / d(embedding), token by token."""
    chosen = np.isin(np.arange(batch[1].shape[1]), positions)
    gradient = _embedding_gradient(params, chosen, *batch, *segments)
    return np.asarray(jnp.abs(gradient).sum(-1))


@jax.jit
def _embedding_gradient(params, chosen, *batch):
    def summed(embedding):
        changed = params | {"token_embedder": {"embedding": embedding}}
        return jnp.where(chosen[:, None], logits_of(TINY, changed, *batch), 0).sum()

    return jax.grad(summed)(params["token_embedder"]["embedding"])


def distinct_tokens():
    """Returns a row of inputs, decoder inputs and targets in which no token id occurs twice."""
    inputs, decoder_inputs, targets = np.split(np.arange(100, 130), [10, 20])
    return inputs[None], decoder_inputs[None], targets[None]


def test_no_position_sees_later_decoder_inputs(tiny_params):
    inputs, decoder_inputs, targets = distinct_tokens()
    assert len({*inputs[0], *decoder_inputs[0], *targets[0]}) == 30
    for position in (0, 4, 9):
        norm = embedding_influence(tiny_params, (inputs, decoder_inputs, targets), [position])
        assert (norm[decoder_inputs[0, position + 1 :]] == 0).all()
        assert (norm[decoder_inputs[0, : position + 1]] > 0).all()
        assert (norm[inputs[0]] > 0).all()  # the encoder looks both ways
        assert (norm[targets[0]] == 0).all()


def test_padding_is_never_seen(tiny_params):
    inputs, decoder_inputs, targets = (tokens.copy() for tokens in distinct_tokens())
    inputs[0, 6:] = 0
    decoder_inputs[0, 7:] = 3000
    targets[0, 7:] = 0
    norm = embedding_influence(tiny_params, (inputs, decoder_inputs, targets), np.arange(7))
    assert norm[0] == 0 and norm[3000] == 0
    assert (norm[inputs[0, :6]] > 0).all() and (norm[decoder_inputs[0, :7]] > 0).all()
    # ... so its length changes nothing, either.
    longer = [np.pad(tokens, ((0, 0), (0, 5))) for tokens in (inputs, decoder_inputs, targets)]
    np.testing.assert_allclose(
        logits_of(TINY, tiny_params, *longer)[:, :7],
        logits_of(TINY, tiny_params, inputs, decoder_inputs, targets)[:, :7],
        atol=SAME_FUNCTION_TOLERANCE,
    )


def test_no_example_of_a_packed_row_sees_another(tiny_params):
    inputs, decoder_inputs, targets = distinct_tokens()
    segments = np.array([[1] * 6 + [2] * 4])
    args = (tiny_params, (inputs, decoder_inputs, targets))
    for chosen, own, other in (
        (np.arange(6), slice(0, 6), slice(6, 10)),
        (np.arange(6, 10), slice(6, 10), slice(0, 6)),
    ):
        norm = embedding_influence(*args, chosen, segments, segments)
        assert (norm[inputs[0, other]] == 0).all() and (norm[decoder_inputs[0, other]] == 0).all()
        assert (norm[inputs[0, own]] > 0).all() and (norm[decoder_inputs[0, own]] > 0).all()


def test_segment_ids_come_in_pairs(tiny_params):
    packed, _ = packed_batch()
    with pytest.raises(ValueError, match="decoder_segment_ids=None: a packed batch needs"):
        logits_of(TINY, tiny_params, *packed[:4])


def test_a_model_needs_a_vocabulary_size():
    with pytest.raises(ValueError, match="vocab_size=None: set it to the vocabulary's size"):
        families.num_parameters(T5Config())


def test_tokens_outside_the_vocabulary_give_nan(tiny_params):
    inputs, decoder_inputs, targets = distinct_tokens()
    assert np.isfinite(logits_of(TINY, tiny_params, inputs, decoder_inputs, targets)).all()
    inputs = np.where(inputs == 103, 4096, inputs)
    assert np.isnan(logits_of(TINY, tiny_params, inputs, decoder_inputs, targets)).any()


def stack_layers(params):
    """Returns scanned parameters of the unrolled ones."""
    stacked = {}
    for stack, tree in params.items():
        per_layer = [tree[f"layers_{i}"] for i in range(len(tree)) if f"layers_{i}" in tree]
        stacked[stack] = {k: v for k, v in tree.items() if not k.startswith("layers_")}
        if per_layer:
            stacked[stack][stack] = jax.tree.map(lambda *xs: jnp.stack(xs, axis=1), *per_layer)
    return stacked


def loss_and_gradients(config, params):
    batch = [jnp.asarray(tokens) for tokens in example_batch()]
    direction = np.random.default_rng(9).normal(size=4096).astype(np.float32) / 64

    def loss(params):
        logits = t5.T5(config).apply({"params": params}, *batch, enable_dropout=False)
        return jnp.sum(jnp.tanh(logits) @ direction)

    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.fixture(scope="module")
def tiny_loss_and_gradients(tiny_params):
    return loss_and_gradients(TINY, tiny_params)


@pytest.mark.parametrize(
    "scan_layers, remat_policy",
    [(False, "minimal"), (False, "full"), (True, "none"), (True, "minimal"), (True, "full")],
)
def test_scanned_and_rematerialised_models_are_the_same_function(
    tiny_params, tiny_loss_and_gradients, scan_layers, remat_policy
):
    loss, gradients = tiny_loss_and_gradients
    params = tiny_params
    if scan_layers:
        gradients, params = stack_layers(gradients), stack_layers(params)
    config = T5Config(dtype="float32", scan_layers=scan_layers, remat_policy=remat_policy, **SIZES)
    actual_loss, actual_gradients = loss_and_gradients(config, params)
    np.testing.assert_allclose(actual_loss, loss, rtol=SAME_FUNCTION_TOLERANCE)
    assert jax.tree.structure(actual_gradients) == jax.tree.structure(gradients)
    for actual, expected in zip(jax.tree.leaves(actual_gradients), jax.tree.leaves(gradients)):
        tolerance = SAME_FUNCTION_TOLERANCE * abs(expected).max()
        np.testing.assert_allclose(actual, expected, atol=tolerance)


def test_rematerialised_dropout_repeats_its_masks(tiny_params):
    params = stack_layers(tiny_params)
    tokens = jnp.asarray(example_batch()[0])

    def encoder_gradients(remat_policy):
        config = T5Config(
            dtype="float32", dropout_rate=0.3, scan_layers=True, remat_policy=remat_policy, **SIZES
        )
        rngs = {"dropout": jax.random.key(4)}

        def loss(params):
            encoded = t5.T5(config).apply({"params": params}, tokens, rngs=rngs, method="encode")
            return jnp.tanh(encoded[..., :7]).sum()

        return jax.jit(jax.grad(loss))(params)["encoder"]

    for actual, expected in zip(*map(jax.tree.leaves, map(encoder_gradients, ("none", "full")))):
        tolerance = SAME_FUNCTION_TOLERANCE * abs(expected).max()
        np.testing.assert_allclose(actual, expected, atol=tolerance)
        assert abs(expected).max() > 0


def test_bfloat16_activations_give_float32_logits_near_float32(tiny_params):
    batch = example_batch()
    expected = logits_of(TINY, tiny_params, *batch)
    for attention in (False, True):
        config = T5Config(dtype="bfloat16", float32_attention_logits=attention, **SIZES)
        apply = functools.partial(t5.T5(config).apply, enable_dropout=False, method="encode")
        assert jax.eval_shape(apply, {"params": tiny_params}, batch[0]).dtype == jnp.bfloat16
        logits = logits_of(config, tiny_params, *batch)
        assert logits.dtype == jnp.float32
        # bfloat16 has 8 bits: 4 layers of it move logits of size 1 by a few hundredths.
        assert 1e-4 < abs(logits - expected)[:1].max() < 0.15


def test_encode_then_decode_is_the_model(tiny_params):
    batch = [jnp.asarray(tokens) for tokens in example_batch()]
    apply = functools.partial(t5.T5(TINY).apply, {"params": tiny_params}, enable_dropout=False)

    @jax.jit
    def in_two_calls(batch):
        return apply(apply(batch[0], method="encode"), *batch, method="decode")

    logits = logits_of(TINY, tiny_params, *batch)
    np.testing.assert_allclose(in_two_calls(batch), logits, atol=SAME_FUNCTION_TOLERANCE)


def test_dropout_follows_its_key_and_rate_0_needs_none(tiny_params):
    batch = [jnp.asarray(tokens) for tokens in example_batch()]
    model = t5.T5(T5Config(dtype="float32", dropout_rate=0.2, **SIZES))

    @jax.jit
    def logits(seed):
        rngs = {"dropout": jax.random.key(seed, impl="rbg")}
        return model.apply({"params": tiny_params}, *batch, rngs=rngs)

    np.testing.assert_array_equal(logits(1), logits(1))
    assert abs(logits(1) - logits(2)).max() > 0.1
    without = jax.jit(t5.T5(TINY).apply)({"params": tiny_params}, *batch)  # rate 0, no key
    expected = logits_of(TINY, tiny_params, *batch)
    np.testing.assert_allclose(without, expected, atol=SAME_FUNCTION_TOLERANCE)


def test_attention_dropout_drops_a_key_for_all_queries():
    attention = attentions.MultiHeadAttention(1, 6, jnp.dtype("float32"), 0.5, deterministic=False)
    kernels = {"query": 0.0, "key": 0.0, "value": 1.0, "out": 1.0}
    params = {name: {"kernel": factor * jnp.eye(6)} for name, factor in kernels.items()}
    x = jnp.eye(6)[None]  # equal logits: the output row is the mask itself, scaled
    out = attention.apply({"params": params}, x, x, (), rngs={"dropout": jax.random.key(0)})[0]
    np.testing.assert_array_equal(out, jnp.broadcast_to(out[:1], out.shape))
    np.testing.assert_allclose(sorted(set(np.asarray(out[0]).tolist())), [0.0, 2 / 6], rtol=1e-6)


def test_nothing_promotes_ranks_or_types_silently(tiny_params):
    config = T5Config(dtype="bfloat16", dropout_rate=0.1, scan_layers=True, **SIZES)
    batch = [jnp.asarray(tokens) for tokens in example_batch()]
    key = jax.random.key(0)
    params = stack_layers(tiny_params)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        apply = functools.partial(t5.T5(config).apply, rngs={"dropout": key})
        logits = jax.eval_shape(apply, {"params": params}, *batch)
    assert logits.dtype == jnp.float32


def import_t5x_network():
    """Returns T5X's network, or skips."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "t5x.examples.t5.network", reason="T5X is not importable", exc_type=ImportError
        )


@pytest.mark.parametrize(
    "variant, dtype",
    [
        ("t5.1.1", "float32"),
        ("t5.1.1", "bfloat16"),
        ("one activation, shared table", "float32"),
        ("unequal head_dim", "float32"),
        ("float32 attention logits", "bfloat16"),
    ],
)
def test_t5x_gives_the_same_parameters_and_logits_bit_by_bit(variant, dtype):
    network = import_t5x_network()
    settings = {"mlp_activations": ("gelu", "linear"), **SIZES, **VARIANTS[variant]}
    settings |= {"vocab_size": 50, "dropout_rate": 0.1}
    config = T5Config(dtype=dtype, **settings)
    model = t5.T5(config)
    reference = network.Transformer(network.T5Config(dtype=jnp.dtype(dtype), **settings))
    one = jnp.ones((1, 1), jnp.int32)
    key = jax.random.PRNGKey(5)
    params = families.init_params(config, key)
    expected = jax.jit(lambda k: reference.init(k, one, one, one, enable_dropout=False))(key)
    jax.tree.map(np.testing.assert_array_equal, params, dict(expected["params"]))

    x, decoder_inputs, y = (jnp.asarray(tokens) for tokens in example_batch(vocab=50))
    segments = [jnp.where(ids > 0, 1 + (jnp.arange(ids.shape[1]) > 4), 0) for ids in (x, y)]
    # T5X transposes the embedding before it multiplies, which sums in another order.
    tolerance = 2e-6 if config.logits_via_embedding else 0.0
    for args in ((x, decoder_inputs, y), (x, decoder_inputs, y, *segments)):
        for enable_dropout in (False, True):
            kwargs = {"enable_dropout": enable_dropout, "rngs": {"dropout": jax.random.key(6)}}
            expected = reference.apply({"params": params}, *args, **kwargs)
            actual = model.apply({"params": params}, *args, **kwargs)
            atol = tolerance * abs(expected).max()
            np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
