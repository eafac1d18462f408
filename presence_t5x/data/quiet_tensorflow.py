"""seqio and TensorFlow, imported without their start-up chatter; this package takes them here.

Its shared libraries print to the file descriptor before any log level applies, so the descriptor
itself is turned away while they load. Errors are Python exceptions and pass.
"""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def _standard_error_away() -> Iterator[None]:
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


__all__ = ["seqio", "tf"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _standard_error_away():
    import sentencepiece
    import seqio
    import tensorflow as tf

    sentencepiece.set_min_log_level(1)

    for _kind in ("GPU", "TPU"):
        # JAX owns the accelerators; too late only if someone used TensorFlow before.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.set_visible_devices([], _kind)
    tf.constant(0)
