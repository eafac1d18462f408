"""Answers written from the paper in NumPy and plain JAX; imports nothing of the code under test.

The weighted gradient is computed in two passes: every unit's gradient first, kept whole, then
scores, weights and the sum in float64 (Thakkar et al. 2023, section 4 and Algorithm 2).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def unit_rows(num_rows, num_units, row_order):
    """Returns each microbatch's row numbers."""
    rows = np.arange(num_rows)
    if row_order == "strided":
        return [rows[i::num_units] for i in range(num_units)]
    return np.split(rows, num_units)


def shard_rows(num_rows, num_units, num_shards):
    """Returns the row numbers of each (strided microbatch, shard), microbatch by microbatch."""
    size = num_rows // num_shards
    return [
        np.array([r for r in range(d * size, (d + 1) * size) if r % num_units == i])
        for i in range(num_units)
        for d in range(num_shards)
    ]


@functools.cache
def _unit_gradient(loss_fun):
    def total(params, rows):
        loss_sums, num_tokens = loss_fun(params, rows, None)
        return jnp.sum(loss_sums), jnp.sum(num_tokens)

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def unit_gradients(loss_fun, params, batch, rows_of_units):
    """Returns (gradients as float64 trees, loss sums, token counts), one a unit."""
    gradients, losses, tokens = [], [], []
    for rows in rows_of_units:
        part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], batch)
        (loss, count), gradient = _unit_gradient(loss_fun)(params, part)
        gradients.append(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), gradient))
        losses.append(float(loss))
        tokens.append(float(count))
    return gradients, np.array(losses), np.array(tokens)


def softmax(logits):
    """Returns exp(logits) over its sum."""
    exponentials = np.exp(logits - np.max(logits))
    return exponentials / exponentials.sum()


def z_scores(scores, normalizer, epsilon, moments):
    """Returns normalised scores of live units; `moments` are the EMA's mean and mean square."""
    if normalizer == "none":
        return scores
    if normalizer == "batch":
        mean, variance = np.mean(scores), np.var(scores)
    elif moments is None:
        return np.zeros_like(scores)
    else:
        mean, variance = moments[0], max(moments[1] - moments[0] ** 2, 0.0)
    denominator = np.sqrt(variance + epsilon * mean**2)
    return (scores - mean) / denominator if denominator > 0 else np.zeros_like(scores)


def weighted_gradient(
    unit_results,
    scored_paths,
    *,
    temperature,
    normalizer="batch",
    score_loss="mean",
    score="self_influence",
    loss_constant=1.0,
    epsilon=1e-8,
    clip=None,
    moments=None,
):
    """Returns (G, scores, weights, live) for units given by `unit_gradients`.

    Args:
      unit_results: what `unit_gradients` returned.
      scored_paths: pairs of keys into the gradient trees, e.g. ("encoder", "layers_0").
      score: "loss", "self_influence", or a function of (squared norm, mean token loss).
      loss_constant: C, or "num_real_target_tokens".
    """
    gradients, losses, tokens = unit_results
    scores = []
    for gradient, loss, count in zip(gradients, losses, tokens):
        divisor = max(count, 1.0) if score_loss == "mean" else 1.0
        if score == "loss":
            scores.append(loss / max(count, 1.0))
            continue
        leaves = [leaf for a, b in scored_paths for leaf in jax.tree.leaves(gradient[a][b])]
        norm = sum(float(np.sum((leaf / divisor) ** 2)) for leaf in leaves)
        scores.append(score(norm, loss / max(count, 1.0)) if callable(score) else norm)
    scores = np.array(scores)
    live = np.array(
        [
            np.isfinite(loss)
            and np.isfinite(one)
            and count > 0
            and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
            for gradient, loss, count, one in zip(gradients, losses, tokens, scores)
        ]
    )
    weights = np.zeros(len(scores))
    if live.any():
        z = z_scores(scores[live], normalizer, epsilon, moments)
        z = z if clip is None else np.clip(z, -clip, clip)
        weights[live] = softmax(temperature * z)
    constant = tokens.sum() if loss_constant == "num_real_target_tokens" else loss_constant
    total = jax.tree.map(np.zeros_like, gradients[0])
    for i in np.flatnonzero(live):
        factor = live.sum() * weights[i] / constant
        total = jax.tree.map(lambda t, g, f=factor: t + f * g, total, gradients[i])
    return total, scores, weights, live


def ema_moments(history, decay):
    """Returns the bias-corrected averages of mean(s) and mean(s^2) over earlier steps' scores."""
    if not history:
        return None
    factors = np.array([(1 - decay) * decay ** (len(history) - 1 - k) for k in range(len(history))])
    factors /= 1 - decay ** len(history)
    means = np.array([np.mean(scores) for scores in history])
    squares = np.array([np.mean(np.square(scores)) for scores in history])
    return float(factors @ means), float(factors @ squares)


def relative_error(tree, expected):
    """Returns the largest error over the largest entry of the expected tree."""
    largest = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(expected))
    errors = jax.tree.map(lambda a, b: np.max(np.abs(np.asarray(a) - b)), tree, expected)
    return max(jax.tree.leaves(errors)) / max(largest, 1e-30)


def restore_tokens(inputs, targets, lowest_sentinel, eos_id=1):
    """The raw tokens of a corrupted row: what follows a sentinel in the targets replaces it in the
    inputs; padding and EOS are passed over."""
    spans, current = {}, None
    for token in map(int, targets):
        if token >= lowest_sentinel:
            current = spans.setdefault(token, [])
        elif token > eos_id:
            current.append(token)
    tokens = []
    for token in map(int, inputs):
        if token > eos_id:
            tokens += spans.pop(token) if token in spans else [token]
    assert not spans
    return tokens
