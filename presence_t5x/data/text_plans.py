"""How an objective makes rows of text: how long they are, and which special tokens documents have.

Both readers follow it. Span corruption appends EOS to what it makes of a row and needs none in the
text; the others have EOS where a document ends, and only there, so that no model learns to end in
the middle of one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from presence_t5x.data.masked_tokens import encoder_ids
from presence_t5x.data.raw_rows import NO_FRAME, Frame
from presence_t5x.data.sentinels import sentinels_of
from presence_t5x.data.span_lengths import check_span_corruption

TEXT_OBJECTIVES = ("span_corruption", "masked_tokens", "next_token")
NOISE_DENSITY = 0.15
MEAN_NOISE_SPAN_LENGTH = 3.0


class TextPlan(NamedTuple):
    """How documents are cut.

    Attributes:
      raw_length: tokens of a full row before the objective, those of the frame included.
      frame: special tokens of every document.
    """

    raw_length: int
    frame: Frame = NO_FRAME


def text_plan(
    objective: str,
    lengths: Mapping[str, int],
    vocabulary: Any,
    noise_density: float = NOISE_DENSITY,
    mean_span: float = MEAN_NOISE_SPAN_LENGTH,
) -> TextPlan:
    """Returns the plan of an objective, after every check that rows fit.

    Args:
      objective: of `TEXT_OBJECTIVES`.
      lengths: of the model's rows.
      vocabulary: its EOS and sentinels.
      noise_density: share of the tokens that are noise.
      mean_span: mean length of a noise span, in tokens.

    Raises:
      ValueError: lengths that do not fit, or too few sentinels.
    """
    if objective == "next_token":
        return TextPlan(lengths["targets"], Frame(end=(vocabulary.eos_id,)))
    if objective == "masked_tokens":
        ids = encoder_ids(vocabulary)
        if lengths["inputs"] < 3:
            raise ValueError(
                f"task_feature_lengths['inputs']={lengths['inputs']} must be >= 3 to hold a begin "
                "token, a token and EOS"
            )
        # A row that starts in the middle of a document gets a begin token of its own.
        return TextPlan(lengths["inputs"] - 1, Frame((ids.begin,), (ids.eos,)))
    raw_length = check_span_corruption(
        lengths["inputs"],
        lengths["targets"],
        sentinels_of(vocabulary).num_sentinels,
        noise_density,
        mean_span,
    )
    return TextPlan(raw_length)
