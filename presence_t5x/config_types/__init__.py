"""The settings of a run: frozen keyword-only dataclasses, validated on construction.

Each class is what one part of the package takes; `config.load_config` builds them from gin files.
Nothing here touches a device, and the core (`influence`, `weighting`, `accumulation`) takes these
types without needing gin, seqio or TensorFlow.
"""

from presence_t5x.config_types.data import DataConfig
from presence_t5x.config_types.decoding import DecodingConfig
from presence_t5x.config_types.families import DecoderOnlyConfig, EncoderOnlyConfig, T5Config
from presence_t5x.config_types.features import BatchFeatures
from presence_t5x.config_types.model import ModelConfig
from presence_t5x.config_types.optimizer import OptimizerConfig
from presence_t5x.config_types.run import PartitioningConfig, RunConfig, TaskEvaluationConfig
from presence_t5x.config_types.weighting import PresenceConfig, TemperatureConfig

__all__ = [
    "BatchFeatures",
    "DataConfig",
    "DecoderOnlyConfig",
    "DecodingConfig",
    "EncoderOnlyConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PartitioningConfig",
    "PresenceConfig",
    "RunConfig",
    "T5Config",
    "TaskEvaluationConfig",
    "TemperatureConfig",
]
