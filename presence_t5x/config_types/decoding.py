"""How targets are generated."""

import dataclasses
from typing import Literal

from presence_t5x._validate import check_bool, check_choice, check_float, check_int


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig:
    """How targets are generated.

    Attributes:
      max_length: of targets, in tokens, the end-of-sequence token included.
      num_beams: hypotheses a row that beam search goes on with; None decodes greedily.
      alpha: exponent of beam search's length penalty; 0 compares summed log-probabilities.
      eos_id: ends a sequence.
      convention: whose beam search: "t5x" (alpha 0.6 by default there) or "huggingface" (alpha is
        its length_penalty, 1 by default); `search.search_rules` tells how they differ.
      causal_inputs: a decoder-only model sees of its inputs only what stands before, as one that
        was trained on next tokens alone; otherwise all inputs see each other (prefix language
        modelling, Raffel et al. 2020). Such a model has to be told; encoder-decoders have no use
        for it.
    """

    max_length: int
    num_beams: int | None = None
    alpha: float = 0.6
    eos_id: int = 1
    convention: Literal["t5x", "huggingface"] = "t5x"
    causal_inputs: bool | None = None

    def __post_init__(self):
        check_int("max_length", self.max_length, minimum=1)
        if self.num_beams is not None:
            check_int("num_beams", self.num_beams, minimum=1)
        check_float("alpha", self.alpha, minimum=0.0)
        check_int("eos_id", self.eos_id, minimum=1)
        check_choice("convention", self.convention, ("t5x", "huggingface"))
        if self.causal_inputs is not None:
            check_bool("causal_inputs", self.causal_inputs)
