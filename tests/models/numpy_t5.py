"""A T5.1.1 forward pass in NumPy, written from the papers; shares nothing with the package.

Raffel et al. 2020 (relative positions, pre-norm), Shazeer 2020 (gated GELU), Xue et al. 2021. One
row, one head and one query at a time, in float64, so that no broadcasting rule is shared either.
"""

import math

import numpy as np


def numpy_t5(params, config, inputs, decoder_inputs, targets, segments=None):
    """Returns logits (batch, targets, vocab); `segments` is a pair of (batch, length) arrays."""
    params = _to_float64(params)
    rows = []
    for row in range(len(inputs)):
        input_segments, target_segments = (
            (np.ones_like(inputs[row]), np.ones_like(targets[row]))
            if segments is None
            else (segments[0][row], segments[1][row])
        )
        encoded = _encode(params, config, inputs[row], input_segments)
        rows.append(
            _decode(
                params,
                config,
                encoded,
                (inputs[row], input_segments),
                decoder_inputs[row],
                (targets[row], target_segments),
            )
        )
    return np.stack(rows)


def bucket(distance, bidirectional, num_buckets=32, max_distance=128):
    """The bucket of key position - query position, in exact arithmetic but for one logarithm."""
    if bidirectional:
        half = num_buckets // 2
        offset = half if distance > 0 else 0
        return offset + _one_sided(abs(distance), half, max_distance)
    return _one_sided(max(-distance, 0), num_buckets, max_distance)


def _one_sided(distance, num_buckets, max_distance):
    exact = num_buckets // 2
    if distance < exact:
        return distance
    widening = math.log(distance / exact) / math.log(max_distance / exact) * (num_buckets - exact)
    return min(exact + int(widening + 1e-9), num_buckets - 1)


def _to_float64(tree):
    if isinstance(tree, dict):
        return {name: _to_float64(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def _encode(params, config, tokens, segments):
    stack = params["encoder"]
    table = stack["relpos_bias"]["rel_embedding"]
    seen = [
        [tokens[q] > 0 and tokens[k] > 0 and segments[q] == segments[k] for k in range(len(tokens))]
        for q in range(len(tokens))
    ]
    x = params["token_embedder"]["embedding"][tokens]
    for index in range(config.num_encoder_layers):
        layer = stack[f"layers_{index}"]
        normed = _norm(x, layer["pre_attention_layer_norm"])
        x = x + _attend(layer["attention"], config, normed, normed, seen, table, True)
        x = x + _mlp(layer["mlp"], config, _norm(x, layer["pre_mlp_layer_norm"]))
    return _norm(x, stack["encoder_norm"])


def _decode(params, config, encoded, source, tokens, target):
    stack = params["decoder"]
    table = stack["relpos_bias"]["rel_embedding"]
    (inputs, input_segments), (targets, target_segments) = source, target
    length = len(tokens)
    seen = [
        [
            k <= q
            and targets[q] > 0
            and targets[k] > 0
            and target_segments[q] == target_segments[k]
            for k in range(length)
        ]
        for q in range(length)
    ]
    seen_inputs = [
        [
            targets[q] > 0 and inputs[k] > 0 and target_segments[q] == input_segments[k]
            for k in range(len(inputs))
        ]
        for q in range(length)
    ]
    x = params["token_embedder"]["embedding"][tokens]
    for index in range(config.num_decoder_layers):
        layer = stack[f"layers_{index}"]
        normed = _norm(x, layer["pre_self_attention_layer_norm"])
        x = x + _attend(layer["self_attention"], config, normed, normed, seen, table, False)
        normed = _norm(x, layer["pre_cross_attention_layer_norm"])
        cross = layer["encoder_decoder_attention"]
        x = x + _attend(cross, config, normed, encoded, seen_inputs, None, False)
        x = x + _mlp(layer["mlp"], config, _norm(x, layer["pre_mlp_layer_norm"]))
    x = _norm(x, stack["decoder_norm"])
    if config.logits_via_embedding:
        return x @ params["token_embedder"]["embedding"].T / math.sqrt(config.emb_dim)
    return x @ stack["logits_dense"]["kernel"]


def _norm(x, params):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * params["scale"]


def _attend(params, config, queries, keys, seen, table, bidirectional):
    mixed = np.zeros((len(queries), config.num_heads * config.head_dim))
    for head in range(config.num_heads):
        part = slice(head * config.head_dim, (head + 1) * config.head_dim)
        q = queries @ params["query"]["kernel"][:, part]
        k = keys @ params["key"]["kernel"][:, part]
        v = keys @ params["value"]["kernel"][:, part]
        for i in range(len(queries)):
            visible = [j for j in range(len(keys)) if seen[i][j]] or list(range(len(keys)))
            logits = k[visible] @ q[i]
            if not any(seen[i]):
                logits = np.zeros(len(visible))  # -1e10 swallows everything: a plain mean
            elif table is not None:
                logits = logits + [table[head, bucket(j - i, bidirectional)] for j in visible]
            weights = np.exp(logits - logits.max())
            mixed[i, part] = weights / weights.sum() @ v[visible]
    return mixed @ params["out"]["kernel"]


def _mlp(params, config, x):
    functions = {
        "gelu": lambda a: a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
        "relu": lambda a: np.where(a > 0, a, 0),
        "silu": lambda a: a / (1 + np.exp(-a)),
        "linear": lambda a: a,
    }
    hidden = 1.0
    for index, name in enumerate(config.mlp_activations):
        kernel = "wi" if len(config.mlp_activations) == 1 else f"wi_{index}"
        hidden = hidden * functions[name](x @ params[kernel]["kernel"])
    return hidden @ params["wo"]["kernel"]
