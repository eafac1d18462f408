"""Documents of a token store as text again, without seqio or TensorFlow.

What a vocabulary does not keep (runs of spaces, signs it does not know) is not in the text either.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Int

from presence_t5x.data.token_store import VOCABULARY_NAME, TokenStore

_ARROW = "\n→ "  # between the inputs and the targets of a pair
_NUM_SPECIAL_BYTE_IDS, _NUM_BYTES = 3, 256


def read_texts(store: TokenStore, documents: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Yields id and text of documents, in the order given.

    Raises:
      ValueError: the store's vocabulary is missing, or a record is damaged.
    """
    decode = _Decoder(store.directory / VOCABULARY_NAME, store.manifest["vocabulary"]["kind"])
    for document in documents:
        found = store[document]
        inputs, targets = map(decode, found.pair)
        yield found.id, f"{inputs}{_ARROW}{targets}" if found.num_inputs else targets


class _Decoder:
    """Ids -> text, of one vocabulary; ids beyond its pieces (sentinels) are left out."""

    def __init__(self, model: Path, kind: str):
        self._processor = None
        if kind != "sentencepiece":
            return
        if not model.is_file():
            raise ValueError(f"{model} is missing: the store cannot be read as text")
        sentencepiece.set_min_log_level(1)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model.read_bytes())

    def __call__(self, ids: Int[np.ndarray, " tokens"]) -> str:
        if self._processor is None:
            content = ids[(ids >= _NUM_SPECIAL_BYTE_IDS)] - _NUM_SPECIAL_BYTE_IDS
            return bytes(content[content < _NUM_BYTES].astype(np.uint8)).decode("utf-8", "replace")
        return self._processor.decode(ids[ids < self._processor.vocab_size()].tolist())
