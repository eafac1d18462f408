"""A model's answers to examples: text in, text out, a batch at a time.

Models that generate answer in words (`TextPredictor`), classifiers by the name of their most
probable class (`LabelPredictor`).
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from presence_t5x.config_types import DecodingConfig, ModelConfig
from presence_t5x.data.encoder_rows import frame_inputs
from presence_t5x.data.masked_tokens import encoder_ids
from presence_t5x.data.raw_rows import trim_tokens
from presence_t5x.data.tokenizers import Tokenizer
from presence_t5x.decode import Decoded, make_decoder
from presence_t5x.layouts import jit_over_rows
from presence_t5x.models.families import build_model
from presence_t5x.partitioning import num_row_parts, replicated

ReportDone = Callable[[int], None]  # told how many more examples are done


class Inputs(NamedTuple):
    """What a model reads, padded with 0.

    Attributes:
      num_cut: of how many examples tokens were cut off to fit.
    """

    tokens: Int[np.ndarray, "examples inputs"]
    num_cut: int


class Answers(NamedTuple):
    """What it answered, in order, with a score: the log-probability of a label or of a text; of one
    found by beam search over the length penalty.
    """

    texts: list[str]
    scores: list[float]


class Predictor(abc.ABC):
    """Answers examples with one compiled function.

    An answer depends on no other example: the last batch is filled up with rows of padding, whose
    results are dropped.
    """

    def __init__(
        self,
        vocabulary: Any,
        *,
        input_length: int,
        batch_size: int,
        mesh: jax.sharding.Mesh | None = None,
    ):
        """Compiles nothing yet.

        Args:
          vocabulary: seqio's, of inputs and targets.
          input_length: in tokens, special ones included; longer inputs are cut.
          batch_size: rounded up to what the devices of the mesh divide.
          mesh: None is a single device.
        """
        parts = 1 if mesh is None else num_row_parts(mesh)
        self.batch_size = -(-batch_size // parts) * parts
        self.input_length = input_length
        self._tokenizer = Tokenizer.from_vocabulary(vocabulary)

    def read(self, texts: Sequence[str]) -> Inputs:
        """Returns texts as the model reads them."""
        encoded = self._tokenizer.encode_batch(texts)
        tokens = np.zeros((len(texts), self.input_length), np.int32)
        num_cut = 0
        for row, ids in zip(tokens, encoded):
            framed = self._frame(np.asarray(ids, np.int32))
            row[: len(framed)] = framed
            num_cut += len(framed) < len(ids) + self._num_special
        return Inputs(tokens, num_cut)

    def answer(self, params: PyTree, inputs: Inputs, report: ReportDone | None = None) -> Answers:
        """Returns the model's answers, the best one to each example.

        Args:
          params: on the devices of the mesh, or anywhere without one.
          inputs: of any number of examples.
          report: is told of every batch that is done.
        """
        texts, scores = [], []
        for start in range(0, len(inputs.tokens), self.batch_size):
            rows = inputs.tokens[start : start + self.batch_size]
            padded = np.zeros((self.batch_size, self.input_length), np.int32)
            padded[: len(rows)] = rows
            found = self._answer_rows(params, padded)
            texts += found.texts[: len(rows)]
            scores += found.scores[: len(rows)]
            if report is not None:
                report(len(rows))
        return Answers(texts, scores)

    _num_special: int  # tokens of a row beside those of its text

    @abc.abstractmethod
    def _frame(self, tokens: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " framed"]:
        """Returns a text as it is read, cut to `input_length`."""

    @abc.abstractmethod
    def _answer_rows(self, params: PyTree, rows: Int[np.ndarray, "rows inputs"]) -> Answers:
        """Returns an answer to every row; of padding, anything."""


class TextPredictor(Predictor):
    """Generates answers. As seqio's evaluation has it, an answer ends before EOS, and ids beyond
    the vocabulary's pieces are unknown.

    Inputs end in EOS, except those of a model that was trained on next tokens alone: it has never
    seen a text go on behind one.
    """

    def __init__(
        self, model: ModelConfig, decoding: DecodingConfig, vocabulary: Any, **options: Any
    ):
        """Compiles nothing yet.

        Args:
          model: of the parameters.
          decoding: how answers are generated.
          vocabulary, options: a `Predictor`'s.
        """
        super().__init__(vocabulary, **options)
        self._vocabulary = vocabulary
        self._num_special = 0 if decoding.causal_inputs else 1
        self._decode = _compile_ready_decoder(_plain(model), decoding, options.get("mesh"))

    def _frame(self, tokens: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " framed"]:
        if self._num_special == 0:
            return tokens[: self.input_length]
        return trim_tokens(tokens, self.input_length, self._vocabulary.eos_id)

    def _answer_rows(self, params: PyTree, rows: Int[np.ndarray, "rows inputs"]) -> Answers:
        tokens, scores = jax.device_get(self._decode(params, rows))
        texts = [self._vocabulary.decode(ids) for ids in tokens[:, 0].tolist()]
        return Answers(texts, scores[:, 0].tolist())


class LabelPredictor(Predictor):
    """Answers by the name of the most probable class; of equals, the first. Probabilities that are
    not finite are no answer, and score NaN.
    """

    _num_special = 2

    def __init__(self, model: ModelConfig, labels: Sequence[str], vocabulary: Any, **options: Any):
        """Compiles nothing yet.

        Args:
          model: of the parameters, with as many classes as there are labels.
          labels: the names of its classes, in their order.
          vocabulary, options: a `Predictor`'s.
        """
        super().__init__(vocabulary, **options)
        self._labels = tuple(labels)
        self._ids = encoder_ids(vocabulary)
        self._classify = _compile_ready_classifier(_plain(model), options.get("mesh"))

    def _frame(self, tokens: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " framed"]:
        return frame_inputs(tokens, self.input_length, self._ids)

    def _answer_rows(self, params: PyTree, rows: Int[np.ndarray, "rows inputs"]) -> Answers:
        log_probs = np.asarray(jax.device_get(self._classify(params, rows)))
        best, scores = log_probs.argmax(axis=-1).tolist(), log_probs.max(axis=-1).tolist()
        texts = [self._labels[i] if np.isfinite(s) else "" for i, s in zip(best, scores)]
        return Answers(texts, scores)


def _plain(model: ModelConfig) -> ModelConfig:
    """Returns the settings without those that change no answer: fewer models to compile."""
    return dataclasses.replace(model, dropout_rate=0.0, remat_policy="none")


@functools.cache
def _compile_ready_decoder(
    model: ModelConfig, decoding: DecodingConfig, mesh: jax.sharding.Mesh | None
) -> Callable[..., Decoded]:
    """Returns the decoder, compiled once a process for all checkpoints of a model."""
    # Every process needs every answer: the metrics are of all of them.
    whole = None if mesh is None else replicated(mesh)
    return jax.jit(make_decoder(model, decoding, mesh), out_shardings=whole)


@functools.cache
def _compile_ready_classifier(
    model: ModelConfig, mesh: jax.sharding.Mesh | None
) -> Callable[..., Array]:
    """Returns (params, rows) -> log-probabilities, compiled once a process as the decoder."""

    def log_probs(params: PyTree, rows: Array) -> Float[Array, "rows classes"]:
        logits = build_model(model).apply({"params": params}, rows, enable_dropout=False)
        return jax.nn.log_softmax(logits[:, 0])

    return jit_over_rows(log_probs, mesh)
