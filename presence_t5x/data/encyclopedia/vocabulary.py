"""The shipped SentencePiece vocabulary, and how it is trained.

4,096 pieces with the ids T5 uses: 0 `<pad>`, 1 `</s>`, 2 `<unk>`, no beginning-of-sentence. Bytes
stand for characters that are no piece, so that nothing is ever unknown. The 100 sentinels are the
last ids, as mT5 has them: `<extra_id_0>` is 4095 and `<extra_id_99>` is 3996. They are user-defined
pieces: text yields one only where it contains the literal `<extra_id_0>`, which no document does.
Text is not normalized, so that decoding gives back exactly what was encoded.

Regenerate the file with `python -m presence_t5x.data.encyclopedia.vocabulary OUTPUT`.
"""

import hashlib
import importlib.resources
import sys
from collections.abc import Iterator

from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig, generate_documents
from presence_t5x.data.encyclopedia.documents import word_forms
from presence_t5x.data.encyclopedia.knowledge import build_world
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES, get_lexicon
from presence_t5x.data.vocabulary_training import append_sentinels, train_pieces
from presence_t5x.files import write_bytes_atomically

VOCABULARY_SIZE = 4096
NUM_SENTINELS = 100
VOCABULARY_SHA256 = "ad82be4312555f8888167704da357553dba0b8ef2fe537d8d8bc1b01b7ffa6af"
# Other versions of SentencePiece train slightly other pieces (0.2.2: 111 of them); this one needs
# protobuf 7, which Apache Beam does not take, so it is not the one in constraints.txt.
TRAINED_WITH_SENTENCEPIECE = "0.2.3"
_NUM_TRAINING_DOCUMENTS = 24_000
_FILE_NAME = "encyclopedia.model"
_PUNCTUATION = {"zh": ("，", "。")}
_NUM_REPEATS = {"latin": 1, "cyrillic": 2, "devanagari": 2, "arabic": 2, "han": 3}


def vocabulary_file() -> str:
    """The path of the shipped model.

    Returns:
      A path for `sentencepiece.SentencePieceProcessor(model_file=...)`.

    >>> vocabulary_file().endswith("encyclopedia.model")
    True
    """
    return str(importlib.resources.files("presence_t5x.data.encyclopedia") / _FILE_NAME)


def training_texts() -> Iterator[str]:
    """The sentences it is trained on: clean train documents, and every word form.

    The Latin alphabet shares the pieces of names between languages; sentences in other scripts are
    repeated, which evens out the tokens per word. Each word form appears once more before a comma
    and a full stop, because the trainer considers only strings that occur in at least two different
    contexts between spaces: without them a word that is never followed by punctuation could not be
    a piece (tokens per word rise from 1.4 to 2.1).
    """
    config = EncyclopediaConfig(num_train_documents=_NUM_TRAINING_DOCUMENTS, noise_rate=0.0)
    for document in generate_documents(config, split="train"):
        num_repeats = _NUM_REPEATS[get_lexicon(document.language).script]
        for start, end in document.sentences:
            yield from [document.separator.join(document.words[start:end])] * num_repeats
    for language in LANGUAGES:
        comma, stop = _PUNCTUATION.get(language, (", ", "."))
        for form in word_forms(build_world(config.world), language):
            yield form + comma + form + stop
    yield "—, —."


def train_vocabulary(output_file: str) -> str:
    """Trains the vocabulary and writes it; about ten seconds on one core.

    Guarantees: the same version of SentencePiece writes the same bytes. The shipped file was
    trained by version 0.2.3; 0.2.1 and 0.2.2 replace about 100 of the 3,737 trained pieces.

    Args:
      output_file: where to write the model.

    Returns:
      The SHA-256 of the file in hexadecimal.
    """
    pieces = train_pieces(
        training_texts(),
        vocabulary_size=VOCABULARY_SIZE,
        num_sentinels=NUM_SENTINELS,
        character_coverage=1.0,
        normalization="identity",
    )
    model = append_sentinels(pieces, NUM_SENTINELS)
    write_bytes_atomically(model, output_file)
    return hashlib.sha256(model).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m presence_t5x.data.encyclopedia.vocabulary OUTPUT")
    print(train_vocabulary(sys.argv[1]))
