"""Searches find what an enumeration of all sequences finds; caches and padding change nothing."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from presence_t5x.config_types import (
    DecoderOnlyConfig,
    DecodingConfig,
    EncoderOnlyConfig,
    PartitioningConfig,
    T5Config,
)
from presence_t5x.decode import make_decoder
from presence_t5x.models import decoder_only_decoding, t5_decoding
from presence_t5x.models.caches import reorder_beams
from presence_t5x.models.decoder_only import DecoderOnly
from presence_t5x.models.families import init_params
from presence_t5x.models.t5 import T5
from presence_t5x.partitioning import make_mesh
from presence_t5x.search import Stepper, beam_search, greedy_search, search_rules

EOS = 1
TINY = T5Config(
    vocab_size=5,
    emb_dim=16,
    num_heads=3,
    head_dim=5,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=2,
    dtype="float32",
)
GROUPED = DecoderOnlyConfig(
    vocab_size=5,
    emb_dim=16,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    mlp_dim=16,
    num_layers=3,
    dtype="float32",
)
NEXT_TOKEN = dataclasses.replace(GROUPED, scan_layers=True, num_kv_heads=None)  # causal inputs
VARIANTS = {
    "unrolled": TINY,
    "scanned": dataclasses.replace(TINY, scan_layers=True),
    "tied": dataclasses.replace(TINY, logits_via_embedding=True),
    "tables in layers": dataclasses.replace(TINY, scan_layers=True, position_biases_per_layer=True),
    "grouped heads": GROUPED,
    "grouped, scanned, tied": dataclasses.replace(
        GROUPED, scan_layers=True, logits_via_embedding=True, float32_attention_logits=True
    ),
    "next token": NEXT_TOKEN,
}
INPUTS = jnp.array([[3, 4, 2, 1, 0, 0], [2, 1, 0, 0, 0, 0], [4, 4, 4, 3, 2, 1]])
MAX_LENGTH = 4
# The same float32 sums in another order, through three layers.
TOLERANCE = 1e-5


@functools.cache
def parameters(config):
    """Parameters whose predictions are far from even, and depend on position and inputs."""
    params = init_params(config, jax.random.key(7))
    return jax.tree.map(lambda leaf: 1.4 * leaf, params)


def settings(config, **decoding):
    return DecodingConfig(max_length=MAX_LENGTH, causal_inputs=config is NEXT_TOKEN, **decoding)


@functools.cache
def decoder(config, mesh=None, **decoding):
    return make_decoder(config, settings(config, **decoding), mesh)


def family(config):
    return decoder_only_decoding if isinstance(config, DecoderOnlyConfig) else t5_decoding


def teacher_forced(config, inputs, decoder_inputs):
    if isinstance(config, DecoderOnlyConfig):
        return behind_inputs(config, inputs, decoder_inputs)
    return _teacher_forced(config, inputs, decoder_inputs)


@functools.partial(jax.jit, static_argnums=0)
def _teacher_forced(config, inputs, decoder_inputs):
    return T5(config).apply(
        {"params": parameters(config)},
        inputs,
        decoder_inputs,
        jnp.ones_like(decoder_inputs),  # an id of 0 may be generated like any other
        enable_dropout=False,
    )


def behind_inputs(config, inputs, decoder_inputs):
    """Logits of targets behind the begin token and a row's own inputs."""
    sizes = [int(np.sum(np.asarray(row) > 0)) for row in inputs]
    length = max(sizes) + decoder_inputs.shape[1]
    tokens, real, prefix = np.zeros((3, len(inputs), length), np.int32)
    for row, size in enumerate(sizes):
        line = [0, *inputs[row][:size], *decoder_inputs[row][1:]]
        tokens[row, : len(line)] = line
        real[row, : len(line)] = 1
        prefix[row, : size + 1] = 1
    logits = _logits(config, tokens, real, None if config is NEXT_TOKEN else prefix)
    return np.stack([row[size:][: decoder_inputs.shape[1]] for row, size in zip(logits, sizes)])


@functools.partial(jax.jit, static_argnums=0)
def _logits(config, tokens, real, prefix):
    params = {"params": parameters(config)}
    return DecoderOnly(config).apply(
        params, tokens, real, decoder_causal_attention=prefix, enable_dropout=False
    )


@functools.partial(jax.jit, static_argnums=0)
def first_cache(config, inputs):
    decoding = settings(config, num_beams=2)
    return family(config).start_cache(config, parameters(config), inputs, decoding)


@functools.cache
def next_log_probs(config, row):
    """Uncached: {sequence so far: log-probabilities of every next token}, of all sequences."""
    tokens = range(config.vocab_size)
    longest = list(itertools.product(tokens, repeat=MAX_LENGTH - 1))
    shifted = np.pad(np.array(longest), ((0, 0), (1, 0)))
    inputs = np.repeat(INPUTS[row : row + 1], len(longest), axis=0)
    logits = teacher_forced(config, inputs, shifted)
    logits = np.asarray(logits, np.float64)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return {
        sequence[:length]: logits[i, length]
        for i, sequence in enumerate(longest)
        for length in range(MAX_LENGTH)
    }


def padded(tokens):
    return [*tokens, *[0] * (MAX_LENGTH - len(tokens))]


def enumerate_finished(config, row, alpha):
    """Every finished sequence with its score, best first, from uncached probabilities."""
    following = next_log_probs(config, row)
    others = [token for token in range(config.vocab_size) if token != EOS]
    finished = []
    for length in range(MAX_LENGTH):
        for prefix in itertools.product(others, repeat=length):
            sequence = (*prefix, EOS)
            total = sum(following[sequence[:i]][sequence[i]] for i in range(len(sequence)))
            finished.append((total / ((5 + len(sequence)) / 6) ** alpha, padded(sequence)))
    finished.sort(key=lambda hypothesis: -hypothesis[0])
    scores, tokens = zip(*finished)
    return np.array(tokens), np.array(scores)


@pytest.mark.parametrize("name", ["unrolled", "tables in layers", "grouped heads", "next token"])
def test_a_wide_beam_finds_what_enumeration_finds(name):
    config = VARIANTS[name]
    found = decoder(config, num_beams=200, alpha=0.6)(parameters(config), INPUTS)
    for row in range(len(INPUTS)):
        tokens, scores = enumerate_finished(config, row, 0.6)
        assert len(scores) == 85 and np.ptp(scores) > 1
        np.testing.assert_allclose(found.scores[row, :85], scores, rtol=TOLERANCE, atol=TOLERANCE)
        np.testing.assert_array_equal(found.tokens[row, :20], tokens[:20])
        assert np.all(np.isneginf(found.scores[row, 85:]))
        assert not np.any(found.tokens[row, 85:])


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_the_penalty_decides_between_lengths(alpha):
    found = decoder(TINY, num_beams=200, alpha=alpha)(parameters(TINY), INPUTS)
    tokens, scores = enumerate_finished(TINY, 0, alpha)
    np.testing.assert_allclose(found.scores[0, :85], scores, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_array_equal(found.tokens[0, :20], tokens[:20])


def search_by_hand(config, row, num_beams, alpha):
    """T5X's rule with lists and uncached probabilities; best first."""
    following = next_log_probs(config, row)
    live, finished = [((), 0.0)], []
    for length in range(1, MAX_LENGTH + 1):
        candidates = [
            ((*tokens, token), score + following[tokens][token])
            for tokens, score in live
            for token in range(config.vocab_size)
        ]
        candidates.sort(key=lambda candidate: -candidate[1])
        candidates = candidates[: 2 * num_beams]
        finished += [
            (tokens, score / ((5 + length) / 6) ** alpha)
            for tokens, score in candidates
            if tokens[-1] == EOS
        ]
        finished = sorted(finished, key=lambda hypothesis: -hypothesis[1])[:num_beams]
        live = [candidate for candidate in candidates if candidate[0][-1] != EOS][:num_beams]
    return finished or live


@pytest.mark.parametrize("num_beams", [1, 2])
def test_a_narrow_beam_forgets_as_it_should(num_beams):
    found = decoder(TINY, num_beams=num_beams)(parameters(TINY), INPUTS)
    for row in range(len(INPUTS)):
        wanted = search_by_hand(TINY, row, num_beams, 0.6)
        for beam, (tokens, score) in enumerate(wanted):
            assert found.tokens[row, beam].tolist() == padded(tokens)
            np.testing.assert_allclose(found.scores[row, beam], score, rtol=TOLERANCE)


@pytest.mark.parametrize("name", VARIANTS)
def test_cached_steps_equal_teacher_forcing(name):
    config = VARIANTS[name]
    params = parameters(config)
    targets = jnp.array([[[2, 3, 4, 1], [4, 0, 2, 3]]] * len(INPUTS))
    cache = first_cache(config, INPUTS)
    is_decoder = isinstance(config, DecoderOnlyConfig)
    model = family(config).CachedDecoderOnly if is_decoder else family(config).CachedT5
    step = jax.jit(
        lambda cache, tokens: model(config).apply(
            {"params": params, "cache": cache}, tokens, INPUTS, MAX_LENGTH, mutable=["cache"]
        )
    )
    shifted = jnp.pad(targets, ((0, 0), (0, 0), (1, 0)))[..., :-1]
    stepwise = []
    for position in range(MAX_LENGTH):
        logits, variables = step(cache, shifted[..., position])
        # Whoever swaps hypotheses twice has them back where they were.
        swapped = reorder_beams(config, variables["cache"], jnp.array([[1, 0]] * len(INPUTS)))
        cache = reorder_beams(config, swapped, jnp.array([[1, 0]] * len(INPUTS)))
        stepwise.append(logits)
    for beam in range(2):
        whole = teacher_forced(config, INPUTS, shifted[:, beam])
        ours = jnp.stack([logits[:, beam] for logits in stepwise], axis=1)
        np.testing.assert_allclose(ours, whole, atol=TOLERANCE, rtol=TOLERANCE)


def test_greedy_takes_the_best_token_every_time():
    found = decoder(TINY)(parameters(TINY), INPUTS)
    assert found.tokens.shape == (3, 1, MAX_LENGTH)
    for row in range(len(INPUTS)):
        tokens, total = (), 0.0
        while len(tokens) < MAX_LENGTH and EOS not in tokens:
            following = next_log_probs(TINY, row)[tokens]
            tokens, total = (*tokens, int(following.argmax())), total + following.max()
        assert found.tokens[row, 0].tolist() == padded(tokens)
        np.testing.assert_allclose(found.scores[row, 0], total, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("config", [TINY, GROUPED])
@pytest.mark.parametrize("num_beams", [None, 3])
def test_padding_changes_nothing(num_beams, config):
    decode = decoder(config, num_beams=num_beams)
    alone = decode(parameters(config), INPUTS)
    among = decode(parameters(config), jnp.pad(INPUTS, ((0, 5), (0, 9))))
    np.testing.assert_array_equal(among.tokens[:3], alone.tokens)
    np.testing.assert_allclose(among.scores[:3], alone.scores, rtol=TOLERANCE)
    assert not np.any(among.tokens[3:]) and not np.any(among.scores[3:])


@pytest.mark.parametrize("name", ["unrolled", "scanned", "grouped heads"])
@pytest.mark.parametrize("num_beams", [None, 3])
def test_eight_devices_are_one(num_beams, name):
    config = VARIANTS[name]
    rows = jnp.concatenate([INPUTS, INPUTS[::-1], jnp.zeros((2, 6), jnp.int32)])
    one = decoder(config, num_beams=num_beams)(parameters(config), rows)
    eight = decoder(config, make_mesh(PartitioningConfig(), config), num_beams=num_beams)(
        parameters(config), rows
    )
    assert len(eight.tokens.sharding.device_set) == 8
    np.testing.assert_array_equal(eight.tokens, one.tokens)
    np.testing.assert_allclose(eight.scores, one.scores, rtol=TOLERANCE)


def test_cut_parameters_decode_alike():
    """Rows on four devices, heads, MLP and vocabulary cut in two."""
    config = dataclasses.replace(TINY, vocab_size=6, num_heads=2, scan_layers=True)
    mesh = make_mesh(PartitioningConfig(num_tensor_partitions=2, num_fsdp_partitions=2), config)
    rows = jnp.concatenate([INPUTS, INPUTS[:1]])
    one = decoder(config, num_beams=2)(parameters(config), rows)
    cut = decoder(config, mesh, num_beams=2)(parameters(config), rows)
    np.testing.assert_array_equal(cut.tokens, one.tokens)
    np.testing.assert_allclose(cut.scores, one.scores, rtol=TOLERANCE)


def test_a_model_without_a_decoder_is_refused():
    with pytest.raises(ValueError, match="EncoderOnlyConfig: a model without a decoder generates"):
        make_decoder(EncoderOnlyConfig(), DecodingConfig(max_length=3))


def test_a_decoder_has_to_be_told_how_it_sees_inputs():
    """Not told so, one that was trained on next tokens would see what it never saw."""
    with pytest.raises(ValueError, match=r"causal_inputs=None: .*causal_inputs=True .*or False"):
        make_decoder(NEXT_TOKEN, DecodingConfig(max_length=3))


def test_rows_that_devices_do_not_divide_are_refused():
    mesh = make_mesh(PartitioningConfig(), TINY)
    with pytest.raises(ValueError, match=r"3 rows must be a multiple of the 8 devices.*padding"):
        decoder(TINY, mesh)(parameters(TINY), INPUTS)


def of_table(table):
    """A model whose next token depends on the position alone: table [length, vocab] of logits."""

    def step(position, tokens):
        logits = jnp.asarray(table)[position]
        return jnp.broadcast_to(logits, (*tokens.shape, logits.shape[-1])), position + 1

    return Stepper(step, lambda cache, beams: cache), jnp.zeros((), jnp.int32)


def search(table, is_real=(True,), **decoding):
    stepper, cache = of_table(table)
    config = DecodingConfig(max_length=len(table), **decoding)
    strategy = greedy_search if config.num_beams is None else beam_search
    return strategy(stepper, cache, jnp.array(is_real), config)


def test_of_equals_the_smaller_token_and_the_earlier_end_win():
    found = search(np.zeros((3, 3)), num_beams=2, alpha=0.0)
    assert found.tokens[0].tolist() == [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(found.scores[0], [np.log(1 / 3), np.log(1 / 9)], rtol=1e-6)
    assert search(np.zeros((3, 3))).tokens[0, 0].tolist() == [0, 0, 0]


def test_the_search_goes_on_while_a_longer_hypothesis_can_win():
    """log(0.3) / penalty(7) = -0.301 beats log(0.7) = -0.357, though log(0.3) does not."""
    first, last = np.log([1e-9, 0.7, 0.3]), np.log([1e-9, 1.0, 1e-9])
    middle = np.log([1e-9, 1e-9, 1.0])
    table = np.array([first, *[middle] * 5, last])
    found = search(table, num_beams=1, alpha=2.0)
    assert found.tokens[0, 0].tolist() == [2, 2, 2, 2, 2, 2, 1]
    np.testing.assert_allclose(found.scores[0, 0], np.log(0.3) / 4, rtol=1e-5)


def test_without_an_end_the_unfinished_are_returned():
    never_ends = [[np.log(0.6), -np.inf, np.log(0.4)]] * 2
    found = search(never_ends, num_beams=2, alpha=1.0)
    assert found.tokens[0].tolist() == [[0, 0], [0, 2]]
    np.testing.assert_allclose(np.exp(found.scores[0]), [0.36, 0.24], rtol=1e-5)


def test_with_one_end_the_unfinished_are_dropped():
    """However probable they are, as in T5X."""
    ends_once = [np.log([0.5, 0.1, 0.4]), [np.log(0.6), -np.inf, np.log(0.4)]]
    found = search(ends_once, num_beams=3, alpha=0.0)
    assert found.tokens[0].tolist() == [[1, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(np.exp(found.scores[0]), [0.1, 0.0, 0.0], rtol=1e-5)


def test_the_penalties_are_those_of_their_papers():
    t5x = search_rules(DecodingConfig(max_length=9, alpha=0.6))
    assert t5x.penalty(7) == pytest.approx(2.0**0.6)
    theirs = search_rules(DecodingConfig(max_length=9, alpha=0.5, convention="huggingface"))
    assert theirs.penalty(4) == pytest.approx(2.0)


def test_hugging_face_lets_the_best_candidates_end_and_cuts_off_the_rest():
    table = [np.log([0.5, 0.1, 0.4]), [np.log(0.6), -np.inf, np.log(0.4)]]
    found = search(table, num_beams=2, alpha=1.0, convention="huggingface")
    assert found.tokens[0].tolist() == [[0, 0], [2, 0]]
    wanted = [np.log(0.5 * 0.6) / 2, np.log(0.4 * 0.6) / 2]
    np.testing.assert_allclose(found.scores[0], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"max_length": 0}, "max_length=0 must be >= 1"),
        ({"num_beams": 0}, "num_beams=0 must be >= 1"),
        ({"alpha": -0.5}, r"alpha=-0.5 must lie in \[0.0"),
        ({"eos_id": 0}, "eos_id=0 must be >= 1"),
        ({"causal_inputs": 1}, "causal_inputs=1 must be"),
        ({"convention": "hf"}, r"convention='hf' must be one of \['huggingface', 't5x'\]"),
    ],
)
def test_settings_out_of_bounds_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        DecodingConfig(**{"max_length": 3, **setting})
