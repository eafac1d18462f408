"""A model's answers to examples: text in, text out, a batch at a time."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, PyTree

from presence_t5x.config_types import DecodingConfig, ModelConfig
from presence_t5x.data.tokenizers import Tokenizer
from presence_t5x.decode import Decoded, make_decoder
from presence_t5x.partitioning import num_row_parts, replicated

ReportDone = Callable[[int], None]  # told how many more examples are done


class Inputs(NamedTuple):
    """What a model reads: EOS at the end, padded with 0.

    Attributes:
      num_cut: of how many examples tokens were cut off to fit.
    """

    tokens: Int[np.ndarray, "examples inputs"]
    num_cut: int


class Answers(NamedTuple):
    """What it wrote, in order, with the score that decoding gives: a log-probability, over the
    length penalty with beam search.
    """

    texts: list[str]
    scores: list[float]


@functools.cache
def _compile_ready_decoder(
    model: ModelConfig, decoding: DecodingConfig, mesh: jax.sharding.Mesh | None
) -> Callable[..., Decoded]:
    """Returns the decoder, compiled once a process for all checkpoints of a model."""
    # Every process needs every answer: the metrics are of all of them.
    whole = None if mesh is None else replicated(mesh)
    return jax.jit(make_decoder(model, decoding, mesh), out_shardings=whole)


class Predictor:
    """Answers examples with one compiled function.

    An answer depends on no other example: the last batch is filled up with rows of padding, whose
    results are dropped. As seqio's evaluation has it, an answer ends before EOS, and ids beyond the
    vocabulary's pieces are unknown.
    """

    def __init__(
        self,
        model: ModelConfig,
        decoding: DecodingConfig,
        vocabulary: Any,
        *,
        input_length: int,
        batch_size: int,
        mesh: jax.sharding.Mesh | None = None,
    ):
        """Compiles nothing yet.

        Args:
          model: of the parameters.
          decoding: how answers are generated.
          vocabulary: seqio's, of inputs and targets.
          input_length: in tokens, EOS included; longer inputs are cut.
          batch_size: rounded up to what the devices of the mesh divide.
          mesh: None is a single device.
        """
        parts = 1 if mesh is None else num_row_parts(mesh)
        self.batch_size = -(-batch_size // parts) * parts
        self.input_length = input_length
        self._vocabulary = vocabulary
        self._tokenizer = Tokenizer.from_vocabulary(vocabulary)
        # Neither changes an answer; without them models of one size share a compilation.
        model = dataclasses.replace(model, dropout_rate=0.0, remat_policy="none")
        self._decode = _compile_ready_decoder(model, decoding, mesh)

    def read(self, texts: Sequence[str]) -> Inputs:
        """Returns texts as the model reads them."""
        encoded = self._tokenizer.encode_batch(texts)
        tokens = np.zeros((len(texts), self.input_length), np.int32)
        for row, ids in zip(tokens, encoded):
            kept = ids[: self.input_length - 1]
            row[: len(kept)] = kept
            row[len(kept)] = self._vocabulary.eos_id
        num_cut = sum(len(ids) > self.input_length - 1 for ids in encoded)
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
            tokens, found = jax.device_get(self._decode(params, padded))
            texts += [self._vocabulary.decode(ids) for ids in tokens[: len(rows), 0].tolist()]
            scores += found[: len(rows), 0].tolist()
            if report is not None:
                report(len(rows))
        return Answers(texts, scores)
