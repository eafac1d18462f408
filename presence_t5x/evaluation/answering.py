"""How a model answers: in words or by labels, from what it is and what it was trained on."""

from typing import Any, NamedTuple

from presence_t5x.config_types import (
    DataConfig,
    DecoderOnlyConfig,
    DecodingConfig,
    EncoderOnlyConfig,
    ModelConfig,
)
from presence_t5x.data.labels import check_num_classes, label_names
from presence_t5x.evaluation.predictor import LabelPredictor, Predictor, TextPredictor


class Answering(NamedTuple):
    """One of the two is there.

    Attributes:
      decoding: of a model that answers in words.
      labels: the names of a model's classes, in their order.
    """

    decoding: DecodingConfig | None
    labels: tuple[str, ...] | None

    def describe(self) -> dict[str, Any]:
        """Returns how answers are found, as results tell it."""
        if self.decoding is None:
            return {"decoding": "most probable label", "labels": self.labels}
        is_greedy = self.decoding.num_beams is None
        return {
            "decoding": "greedy" if is_greedy else f"beam search ({self.decoding.convention})",
            "max_length": self.decoding.max_length,
            "num_beams": self.decoding.num_beams,
            "alpha": None if is_greedy else self.decoding.alpha,
        }


def answering_of(
    model: ModelConfig,
    data: DataConfig,
    trained: DataConfig | None,
    *,
    eos_id: int,
    num_beams: int | None = None,
    alpha: float = 0.6,
) -> Answering:
    """Returns how a model answers.

    A decoder-only model that was trained on pairs sees all of an input at once, as the "prefix"
    objective has it; any other reads from left to right.

    Args:
      model: whose answers.
      data: what is asked.
      trained: what the model was trained on; None is not known: classes are then in the task's
        order.
      eos_id: ends an answer.
      num_beams: None is greedy decoding.
      alpha: exponent of the length penalty of beam search.

    Raises:
      ValueError: a model that answers nothing, beams of one that has labels, or other labels than
        the task's.
    """
    if model.answers == "label":
        if num_beams is not None:
            raise ValueError(
                f"num_beams={num_beams} belongs to models that answer in words; "
                f"{type(model).__name__} chooses a label: remove it"
            )
        return Answering(None, _labels(model, data, trained))
    if model.answers is None:
        raise ValueError(
            f"{type(model).__name__} without classes answers nothing; fine-tune it with "
            "objective='classification', or take a checkpoint that was"
        )
    decoding = DecodingConfig(
        max_length=data.task_feature_lengths["targets"],
        num_beams=num_beams,
        alpha=alpha,
        eos_id=eos_id,
        causal_inputs=isinstance(model, DecoderOnlyConfig)
        and (trained is None or trained.objective != "prefix"),
    )
    return Answering(decoding, None)


def make_predictor(
    model: ModelConfig, answering: Answering, vocabulary: Any, **options: Any
) -> Predictor:
    """Returns what answers; `options` are `Predictor`'s."""
    if answering.decoding is not None:
        return TextPredictor(model, answering.decoding, vocabulary, **options)
    assert answering.labels is not None
    return LabelPredictor(model, answering.labels, vocabulary, **options)


def _labels(model: ModelConfig, data: DataConfig, trained: DataConfig | None) -> tuple[str, ...]:
    """Returns the names of a classifier's classes, which must be those of what is asked."""
    asked = label_names(data)
    labels = asked if trained is None else label_names(trained)
    if {*labels} != {*asked}:
        raise ValueError(
            f"the model's classes are {list(labels)}, but task {data.mixture_or_task_name!r} is "
            f"answered by {list(asked)}; take a model that was trained on these"
        )
    assert isinstance(model, EncoderOnlyConfig)
    check_num_classes(data.mixture_or_task_name, asked, model.num_classes)
    return labels
