"""From a seqio task's features to a model's, by objective: seqio's converters and what they lack.

`seqio.LMFeatureConverter` and `seqio.PrefixLMFeatureConverter` are used as they are but for labels
(`preprocessors.LABELS`), which all of these let through beside the features of rows that are not
packed. `MaskedTokensConverter` has its loss on all chosen tokens, where seqio's converter for
encoders has it where the input is the mask.
"""

# seqio and TensorFlow declare no usable types here.
# pyright: reportAttributeAccessIssue=false, reportIncompatibleVariableOverride=false
# pyright: reportArgumentType=false, reportAbstractUsage=false

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from presence_t5x.config_types import DataConfig
from presence_t5x.data.labels import label_numbers
from presence_t5x.data.masked_tokens import encoder_ids
from presence_t5x.data.preprocessors import CHOSEN, LABELS
from presence_t5x.data.quiet_tensorflow import seqio, tf

_Spec = seqio.FeatureConverter.FeatureSpec
_LONGEST_LABEL = 1024  # tokens of a label, of which none may be cut
_LABEL_FEATURES = {name: _Spec(tf.string, rank=0) for name in LABELS}


class MaskedTokensConverter(seqio.EncoderFeatureConverter):
    """`inputs`, `targets` and `marks` of `preprocessors.masked_tokens` to an encoder's features."""

    TASK_FEATURES = dict.fromkeys(("inputs", "targets", "marks"), _Spec(tf.int32))

    def __init__(self, **settings: Any):
        """Args: as every converter of seqio."""
        super().__init__(mask_id=-1, **settings)  # of no use: marks tell where the loss is

    def _convert_features(self, ds: tf.data.Dataset, input_lengths: Mapping[str, int]):
        ds = self._pack_or_pad(ds, input_lengths)
        return ds.map(self._convert_example, num_parallel_calls=tf.data.AUTOTUNE)

    def _convert_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = {
            "encoder_input_tokens": features["inputs"],
            "encoder_target_tokens": features["targets"],
            "encoder_loss_weights": tf.cast(features["marks"] == CHOSEN, tf.int32),
        }
        if self.pack:
            found["encoder_segment_ids"] = features["inputs_segment_ids"]
            found["encoder_positions"] = features["inputs_positions"]
        return found


class LabelConverter(seqio.FeatureConverter):
    """`inputs` and `targets` of a pair to begin token, inputs and the number of the label.

    The inputs must be one token shorter than a row. Nothing is packed.
    """

    TASK_FEATURES = dict.fromkeys(("inputs", "targets"), _Spec(tf.int32))
    MODEL_FEATURES: ClassVar = {
        "encoder_input_tokens": _Spec(tf.int32),
        "labels": _Spec(tf.int32, rank=0),
    }
    PACKING_FEATURE_DTYPES: ClassVar = {}

    def __init__(self, data_config: DataConfig, vocabulary: seqio.Vocabulary, **settings: Any):
        """Args: names the labels; of the targets; as every converter of seqio."""
        super().__init__(pack=False, **settings)
        self._ids = encoder_ids(vocabulary)
        self._numbers = label_numbers(data_config, vocabulary)

    def _number(self, targets: np.ndarray) -> np.int32:
        tokens = targets.tolist()
        if tokens[-1:] == [self._ids.eos]:  # not every task appends it
            tokens.pop()
        found = self._numbers.get(tuple(tokens))
        if found is None:
            raise ValueError(
                f"targets {tokens} are the tokens of none of the labels; name all of them in "
                "label_names, or leave the example out"
            )
        return np.int32(found)

    def _convert_features(self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]):
        def convert(features):
            tokens = tf.concat([[self._ids.begin], features["inputs"]], axis=0)
            number = tf.numpy_function(self._number, [features["targets"]], tf.int32, False)
            number.set_shape([])
            return {
                "inputs": tokens,
                "labels": number,
                **{name: features[name] for name in self._passthrough_features},
            }

        lengths = {"inputs": task_feature_lengths["inputs"] + 1}
        ds = self._pack_or_pad(ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE), lengths)
        return ds.map(self._convert_example, num_parallel_calls=tf.data.AUTOTUNE)

    def _convert_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"encoder_input_tokens": features["inputs"], "labels": features["labels"]}

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> Mapping[str, int]:
        """Returns the length of a row; labels have none."""
        return {"encoder_input_tokens": task_feature_lengths["inputs"] + 1, "labels": 0}


class _KeepsLabels(seqio.FeatureConverter):
    """A converter that lets scalar labels through beside the features."""

    def _pack_or_pad(self, ds: tf.data.Dataset, packed_lengths: Mapping[str, int]):
        lengths = {name: found for name, found in packed_lengths.items() if name not in LABELS}
        return super()._pack_or_pad(ds, lengths)

    def _convert_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        labels = {name: features[name] for name in self._passthrough_features}
        return {**super()._convert_example(features), **labels}

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> Mapping[str, int]:
        """Returns the lengths of the model's features and of labels, which have none."""
        labels = dict.fromkeys(self._passthrough_features, 0)
        return {**super().get_model_feature_lengths(task_feature_lengths), **labels}


class _SpanCorruption(_KeepsLabels, seqio.EncDecFeatureConverter):
    pass


class _NextToken(_KeepsLabels, seqio.LMFeatureConverter):
    pass


class _Prefix(_KeepsLabels, seqio.PrefixLMFeatureConverter):
    pass


class _MaskedTokens(_KeepsLabels, MaskedTokensConverter):
    pass


class _Labels(_KeepsLabels, LabelConverter):
    pass


_CONVERTERS = {
    "span_corruption": _SpanCorruption,
    "next_token": _NextToken,
    "prefix": _Prefix,
    "masked_tokens": _MaskedTokens,
}


def task_lengths(data_config: DataConfig) -> dict[str, int]:
    """Returns the lengths of a task's features from which the rows of a run are made."""
    lengths = data_config.task_feature_lengths
    match data_config.objective:
        case "next_token":
            return {"targets": lengths["targets"]}
        case "masked_tokens":
            return dict.fromkeys(MaskedTokensConverter.TASK_FEATURES, lengths["inputs"])
        case "classification":
            return {"inputs": lengths["inputs"] - 1, "targets": _LONGEST_LABEL}
    return {name: lengths[name] for name in ("inputs", "targets")}


def convert_rows(
    dataset: tf.data.Dataset, data_config: DataConfig, vocabulary: seqio.Vocabulary
) -> tf.data.Dataset:
    """Returns rows of a model's features, with their labels unless they are packed or have none.

    Args:
      dataset: of a task's features, cut to `task_lengths`.
      data_config: the objective, and whether rows are packed.
      vocabulary: of the targets.
    """
    keeps_labels = not data_config.pack and set(LABELS) <= set(dataset.element_spec)
    labels = _LABEL_FEATURES if keeps_labels else None
    lengths = task_lengths(data_config) | dict.fromkeys(labels or (), 0)
    if data_config.objective == "classification":
        return _Labels(data_config, vocabulary, passthrough_features=labels)(dataset, lengths)
    converter = _CONVERTERS[data_config.objective]
    return converter(pack=data_config.pack, passthrough_features=labels)(dataset, lengths)
