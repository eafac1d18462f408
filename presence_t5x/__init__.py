"""PRESENCE: self-influence weighted pre-training of encoder-decoders in JAX.

The names below work in any JAX training loop; importing them brings in neither seqio, TensorFlow
nor T5X.
"""

from presence_t5x.config_types import PresenceConfig
from presence_t5x.gradients import PresenceAux, presence_gradients, unweighted_gradients
from presence_t5x.weighting import PresenceState, init_presence_state

__all__ = [
    "PresenceAux",
    "PresenceConfig",
    "PresenceState",
    "init_presence_state",
    "presence_gradients",
    "unweighted_gradients",
]
