"""The embedded corpus: a generated encyclopedia in eight languages and five scripts.

No download and no network; everything is a pure function of a config. In flow order: `punctuation`,
`names` and `lexicons` (how things are written), `knowledge` (what is true), `documents` (clean text
with the spans of its facts), `out_of_domain` and `noise` (how it is spoiled), `corpus` (splits,
languages, noise rate), `labelled` (inference, question answering, entity tags), `vocabulary`.
"""

from presence_t5x.data.encyclopedia.corpus import EncyclopediaConfig, generate_documents
from presence_t5x.data.encyclopedia.documents import (
    SPLITS,
    Document,
    Fact,
    generate_document,
    word_forms,
)
from presence_t5x.data.encyclopedia.knowledge import SOURCES, World, WorldConfig, build_world
from presence_t5x.data.encyclopedia.labelled import generate_ner, generate_nli, generate_qa
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES
from presence_t5x.data.encyclopedia.noise import NOISE_KINDS, plant_noise

__all__ = [
    "LANGUAGES",
    "NOISE_KINDS",
    "SOURCES",
    "SPLITS",
    "Document",
    "EncyclopediaConfig",
    "Fact",
    "World",
    "WorldConfig",
    "build_world",
    "generate_document",
    "generate_documents",
    "generate_ner",
    "generate_nli",
    "generate_qa",
    "plant_noise",
    "word_forms",
]
