"""The blockwise loss equals autodiff through whole logits, value and gradient, for every cut."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x import cross_entropy
from presence_t5x.cross_entropy import blockwise_cross_entropy

ROWS, LENGTH, WIDTH, VOCABULARY = 3, 7, 5, 11
Z_LOSS = 0.1
TOLERANCE = 1e-5
POSITION_BYTES = 4 * ROWS * VOCABULARY
CUTS = [1, 2 * POSITION_BYTES, 3 * POSITION_BYTES, 10**9]  # 7, 4, 3 (padded) and 1 blocks
PLATFORMS = ["cpu", "tpu"]


@pytest.fixture(params=PLATFORMS)
def platform(request, monkeypatch):
    """Runs here what is compiled for a platform."""

    def choose(*operands, cpu, default):
        return (cpu if request.param == "cpu" else default)(*operands)

    monkeypatch.setattr(cross_entropy.lax, "platform_dependent", choose)
    return request.param


@pytest.fixture(scope="module")
def arguments():
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(ROWS, LENGTH, WIDTH)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(WIDTH, VOCABULARY)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, VOCABULARY, (ROWS, LENGTH)))
    weights = jnp.asarray(rng.integers(0, 2, (ROWS, LENGTH)), jnp.float32).at[2].set(0)
    return hidden, kernel, targets, weights


def plain_losses(hidden, kernel, targets, weights, bias=0.0):
    """Returns row sums from all logits at once, by their definition."""
    logits = hidden @ kernel + bias
    log_probabilities = jax.nn.log_softmax(logits)
    log_z = jax.scipy.special.logsumexp(logits, axis=-1)
    token_losses = -jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]
    return jnp.sum((token_losses + Z_LOSS * log_z**2) * weights, axis=1)


def assert_close(actual, expected):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE * float(jnp.abs(other).max()))


@pytest.mark.parametrize("block_bytes", CUTS)
@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.usefixtures("platform")
def test_value_and_gradient_equal_autodiff(arguments, block_bytes, per_row, has_bias):
    hidden, kernel, targets, weights = arguments
    cotangents = jnp.array([0.5, -2.0, 3.0]) if per_row else jnp.float32(2.5)
    options = {"per_row": per_row, "block_bytes": block_bytes}
    varied = (hidden, kernel, *((jnp.sin(jnp.arange(11.0)),) if has_bias else ()))

    def blockwise(hidden, kernel, bias=None):
        loss, _ = blockwise_cross_entropy(
            hidden, kernel, targets, weights, Z_LOSS, bias=bias, **options
        )
        return jnp.sum(cotangents * loss)

    def plain(hidden, kernel, bias=0.0):
        losses = plain_losses(hidden, kernel, targets, weights, bias)
        return jnp.sum(cotangents * (losses if per_row else losses.sum()))

    assert_close(blockwise(*varied), plain(*varied))
    argnums = tuple(range(len(varied)))
    actual = jax.jit(jax.grad(blockwise, argnums))(*varied)
    assert_close(actual, jax.grad(plain, argnums)(*varied))


def test_sums_to_report(arguments):
    hidden, kernel, targets, weights = arguments
    _, sums = blockwise_cross_entropy(
        hidden, kernel, targets, weights, Z_LOSS, per_row=True, block_bytes=1
    )
    logits = np.asarray(hidden @ kernel)
    hits = (logits.argmax(-1) == np.asarray(targets)) * np.asarray(weights)
    np.testing.assert_array_equal(sums.num_correct, hits.sum(1))
    np.testing.assert_allclose(sums.loss, plain_losses(*arguments), rtol=TOLERANCE)


@pytest.mark.parametrize("per_row", [True, False])
def test_no_array_of_all_logits(arguments, per_row):
    """Neither direction makes an array of more than a block's logits."""
    fun = functools.partial(
        blockwise_cross_entropy, per_row=per_row, z_loss=Z_LOSS, block_bytes=2 * POSITION_BYTES
    )

    def loss(hidden, kernel):
        return jnp.sum(fun(hidden, kernel, *arguments[2:])[0])

    jaxpr = str(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(*arguments[:2]))
    assert f"[{2 * ROWS},{VOCABULARY}]" in jaxpr
    for length in (LENGTH, 8):
        assert f"[{ROWS},{length},{VOCABULARY}]" not in jaxpr
        assert f"[{ROWS * length},{VOCABULARY}]" not in jaxpr


@pytest.mark.parametrize("compiled_for", PLATFORMS)
def test_cpus_hold_smaller_blocks(compiled_for):
    """64 MiB of logits: one block, of which a CPU makes 13."""
    shapes = [(8, 1024, 4), (4, 2048), (8, 1024), (8, 1024)]
    types = [jnp.float32, jnp.float32, jnp.int32, jnp.float32]
    operands = [jax.ShapeDtypeStruct(*each) for each in zip(shapes, types)]
    fun = functools.partial(blockwise_cross_entropy, per_row=False, z_loss=Z_LOSS)
    lowered = jax.jit(fun).trace(*operands).lower(lowering_platforms=(compiled_for,))
    logits = {"cpu": "tensor<632x2048xf32>", "tpu": "tensor<8192x2048xf32>"}
    for name, shape in logits.items():
        assert (shape in lowered.as_text()) == (name == compiled_for)


def test_a_bfloat16_kernel_gets_a_bfloat16_gradient(arguments):
    hidden, kernel, targets, weights = arguments

    def loss(kernel):
        return blockwise_cross_entropy(hidden, kernel, targets, weights, Z_LOSS, per_row=False)[0]

    rounded = kernel.astype(jnp.bfloat16)
    gradient = jax.grad(loss)(rounded)
    exact = jax.grad(loss)(rounded.astype(jnp.float32))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact, rtol=2**-8)
