"""Greedy and beam search over a model's cached steps.

At every position the 2 * num_beams best continuations of a row's hypotheses are candidates: those
that end go to the finished ones, the best others go on. A finished hypothesis counts by its
log-probability over a penalty of its length; num_beams of them are kept. What else a search has to
settle differs between libraries (`SearchRules`): ours are T5X's (`t5x/decoding.py` behaviour) or
Hugging Face's (`generate` of transformers 5 with its defaults).

Of equals, a finished hypothesis beats one that finishes later, then the hypothesis that stood
higher, then the smaller token id. (T5X leaves this to its sorts.)
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from presence_t5x.config_types import DecodingConfig

_NEVER = -jnp.inf  # the score of what is not a hypothesis


class Decoded(NamedTuple):
    """What was generated, best hypothesis first.

    Attributes:
      tokens: the end-of-sequence token included, 0 behind it. Greedy decoding gives one beam.
      scores: log-probability, of finished hypotheses of beam search over their length penalty;
        -inf where a row has fewer hypotheses than beams (tokens are 0 there).
    """

    tokens: Int[Array, "rows beams max_length"]
    scores: Float[Array, "rows beams"]


class Stepper(NamedTuple):
    """A model as a search sees it.

    Attributes:
      step: (cache, tokens [rows, beams]) -> (logits of the next token [rows, beams, vocab], cache).
      reorder: (cache, beams [rows, beams]) -> cache whose hypothesis b was hypothesis beams[:, b].
    """

    step: Callable[[PyTree, Array], tuple[Array, PyTree]]
    reorder: Callable[[PyTree, Array], PyTree]


class SearchRules(NamedTuple):
    """Where libraries differ about beam search.

    Attributes:
      penalty: divides a finished hypothesis' log-probability; of its length in tokens, end
        included; it must not fall with the length.
      num_ending: of the candidates at a position, best first, how many may end; the rest only fill
        up those that go on.
      attainable_at: (position, max_length) -> the length by whose penalty the best hypothesis that
        goes on is judged: a row is done when it falls behind the worst of num_beams finished ones.
      cuts_off: at max_length, hypotheses are finished. Otherwise they are dropped if any other is
        finished, and returned with their log-probabilities if none is.
    """

    penalty: Callable[[Any], Any]
    num_ending: int
    attainable_at: Callable[[Any, int], Any]
    cuts_off: bool


def search_rules(decoding: DecodingConfig) -> SearchRules:
    """Returns the rules of a convention.

    "t5x": ((5 + length) / 6) ** alpha (Wu et al. 2016, equation 14); every candidate may end; the
    longest hypothesis has the largest penalty, so that no result is missed.
    "huggingface": length ** alpha; the num_beams best may end; a row is done when the best
    hypothesis would not do if it ended now, though it might do later (early_stopping=False).
    """
    alpha, beams = decoding.alpha, decoding.num_beams or 1
    if decoding.convention == "t5x":
        return SearchRules(
            penalty=lambda length: ((5.0 + length) / 6.0) ** alpha,
            num_ending=2 * beams,
            attainable_at=lambda position, max_length: max_length,
            cuts_off=False,
        )
    return SearchRules(
        penalty=lambda length: (1.0 * length) ** alpha,
        num_ending=beams,
        attainable_at=lambda position, max_length: position,
        cuts_off=True,
    )


def greedy_search(
    stepper: Stepper, cache: PyTree, is_real: Bool[Array, " rows"], decoding: DecodingConfig
) -> Decoded:
    """Returns the most probable token at every position, given those before it.

    Args:
      cache: before the first position, of one hypothesis a row.
      is_real: rows that are decoded; the others give zeros.
    """
    rows, length = is_real.shape[0], decoding.max_length

    def goes_on(state) -> Array:
        position, _, _, _, active = state[:5]
        return (position < length) & jnp.any(active)

    def extend(state):
        position, tokens, last, scores, active, cache = state
        logits, cache = stepper.step(cache, last[:, None])
        log_probs = jax.nn.log_softmax(logits[:, 0])
        best = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        scores += jnp.where(active, jnp.max(log_probs, axis=-1), 0.0)
        best = jnp.where(active, best, 0)
        tokens = tokens.at[:, position].set(best)
        return position + 1, tokens, best, scores, active & (best != decoding.eos_id), cache

    start = jnp.zeros(rows, jnp.int32)
    tokens = jnp.zeros((rows, length), jnp.int32)
    state = (jnp.zeros((), jnp.int32), tokens, start, jnp.zeros(rows), is_real, cache)
    _, tokens, _, scores, _, _ = jax.lax.while_loop(goes_on, extend, state)
    return Decoded(tokens[:, None], scores[:, None])


class _Hypotheses(NamedTuple):
    """Some hypotheses of every row, best first."""

    tokens: Int[Array, "rows beams max_length"]
    scores: Float[Array, "rows beams"]


class _Search(NamedTuple):
    """The state of a beam search at a position; `live` scores are log-probabilities.

    Rows that are not active any more keep their finished hypotheses.
    """

    position: Int[Array, ""]
    active: Bool[Array, " rows"]
    live: _Hypotheses
    finished: _Hypotheses
    cache: PyTree


def beam_search(
    stepper: Stepper, cache: PyTree, is_real: Bool[Array, " rows"], decoding: DecodingConfig
) -> Decoded:
    """Returns the `num_beams` best finished hypotheses of every row (see the module's text).

    Args:
      cache: before the first position, of `num_beams` hypotheses a row.
      is_real: rows that are decoded; the others give zeros.
    """
    rules = search_rules(decoding)
    beams, length = decoding.num_beams or 1, decoding.max_length
    tokens = jnp.zeros((is_real.shape[0], beams, length), jnp.int32)
    never = jnp.full(tokens.shape[:2], _NEVER)
    # One empty hypothesis: copies of it would only find the same continuations.
    live, finished = _Hypotheses(tokens, never.at[:, 0].set(0.0)), _Hypotheses(tokens, never)
    search = _Search(jnp.zeros((), jnp.int32), is_real, live, finished, cache)
    search = jax.lax.while_loop(
        lambda search: (search.position < length) & jnp.any(search.active),
        functools.partial(_extend, stepper, decoding, rules),
        search,
    )
    is_finished = (search.finished.scores[:, 0] > _NEVER)[:, None]
    scores = jnp.where(is_finished, search.finished.scores, search.live.scores)
    tokens = jnp.where(is_finished[..., None], search.finished.tokens, search.live.tokens)
    is_hypothesis = is_real[:, None] & (scores > _NEVER)
    return Decoded(
        tokens=jnp.where(is_hypothesis[..., None], tokens, 0),
        scores=jnp.where(is_real[:, None], scores, 0.0),
    )


def _extend(
    stepper: Stepper, decoding: DecodingConfig, rules: SearchRules, search: _Search
) -> _Search:
    """Adds one token to every live hypothesis and sorts out those that end."""
    position, active, live, finished, cache = search
    rows, beams, max_length = live.tokens.shape
    before = jnp.maximum(position - 1, 0)
    last = jax.lax.dynamic_index_in_dim(live.tokens, before, axis=2, keepdims=False)
    logits, cache = stepper.step(cache, last)
    log_probs = live.scores[..., None] + jax.nn.log_softmax(logits)
    vocab_size = log_probs.shape[-1]
    # Twice as many as go on: half of them may end here.
    scores, chosen = jax.lax.top_k(log_probs.reshape(rows, -1), 2 * beams)
    parents = chosen // vocab_size
    tokens = _take(live.tokens, parents).at[:, :, position].set(chosen % vocab_size)
    length = position + 1
    ends = chosen % vocab_size == decoding.eos_id
    going_on, which = _best(_Hypotheses(tokens, jnp.where(ends, _NEVER, scores)), beams)
    if rules.cuts_off:
        ends |= length == max_length
    counts = ends & (jnp.arange(2 * beams) < rules.num_ending) & active[:, None]
    ending = _Hypotheses(tokens, jnp.where(counts, scores / rules.penalty(length), _NEVER))
    both = jax.tree.map(lambda old, new: jnp.concatenate([old, new], axis=1), finished, ending)
    finished, _ = _best(both, beams)
    attainable = going_on.scores[:, 0] / rules.penalty(rules.attainable_at(length, max_length))
    active &= attainable > finished.scores[:, -1]
    cache = stepper.reorder(cache, jnp.take_along_axis(parents, which, axis=1))
    return _Search(length, active, going_on, finished, cache)


def _best(hypotheses: _Hypotheses, num_beams: int) -> tuple[_Hypotheses, Array]:
    """Returns the best hypotheses and which they are; of equals, the first ones."""
    scores, which = jax.lax.top_k(hypotheses.scores, num_beams)
    return _Hypotheses(_take(hypotheses.tokens, which), scores), which


def _take(tokens: Array, which: Array) -> Array:
    """Returns tokens[r, which[r, b]] of every row r."""
    return jnp.take_along_axis(tokens, which[..., None], axis=1)
