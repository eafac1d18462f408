"""Noise planted in held-out rows of any corpus, to see whether scores find it.

Words are permuted on token level, so that no text is needed: with a SentencePiece vocabulary the
pieces of a word stay together and keep their ids.
"""

import numpy as np
from jaxtyping import Bool, Int

PERMUTED_WORDS = "permuted_words"
# Below this many words a token the script has no spaces to speak of: single tokens are permuted.
_WORDS_PER_TOKEN = 0.15


def permute_words(
    tokens: Int[np.ndarray, " tokens"],
    word_starts: Bool[np.ndarray, " ids"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " tokens"]:
    """Returns the same tokens with the words in random order.

    Args:
      tokens: of one row, before corruption.
      word_starts: of each id, whether it begins a word.
      rng: the only source of randomness.

    >>> starts = np.array([True, False])  # 0 begins a word, 1 continues it
    >>> permute_words(np.array([0, 1, 0, 1, 1]), starts, np.random.default_rng(3))
    array([0, 1, 1, 0, 1])
    """
    begins = word_starts[tokens]
    begins[:1] = True
    if begins.mean() < _WORDS_PER_TOKEN:
        begins[:] = True
    words = np.split(tokens, np.flatnonzero(begins)[1:])
    return np.concatenate([words[i] for i in rng.permutation(len(words))])
