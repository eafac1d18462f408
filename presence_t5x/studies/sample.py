"""Clean documents drawn from a corpus, and a file of them in every spoiled form."""

import fnmatch
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from presence_t5x._validate import check_int
from presence_t5x.data.documents import Document, Problem, Source, id_hash
from presence_t5x.files import write_text_atomically
from presence_t5x.studies.separation import CLEAN
from presence_t5x.studies.spoiling import Pool, parse_noise, split_units

_MARK = "|"


class Sampling(NamedTuple):
    """Which documents of a corpus.

    Attributes:
      number: of each language, at most.
      least_units: documents of fewer words (or characters, where a script writes no spaces) are
        left out.
      sources: a glob over the documents' sources.
      seed: of the draw, and of the noise.
      clean: documents that their corpus labels as noise are left out.
    """

    number: int
    least_units: int = 30
    sources: str = "*"
    seed: int = 0
    clean: bool = True


def draw(source: Source, sampling: Sampling) -> list[Document]:
    """Returns documents by language; which ones depends on their ids and the seed alone.

    Raises:
      ValueError: none fits.
    """
    check_int("number", sampling.number, minimum=1)
    heaps: dict[str, list[tuple[int, str, Document]]] = {}
    for document in _documents(source):
        if document.inputs or not fnmatch.fnmatchcase(document.source, sampling.sources):
            continue
        if sampling.clean and document.noise not in ("", CLEAN):
            continue
        if len(split_units(document.text)[0]) < sampling.least_units:
            continue
        entry = (-id_hash(f"study/{sampling.seed}/{document.id}"), document.id, document)
        heap = heaps.setdefault(document.language, [])
        (heapq.heappush if len(heap) < sampling.number else heapq.heappushpop)(heap, entry)
    if not heaps:
        raise ValueError(
            f"no text of at least {sampling.least_units} words has a source like "
            f"{sampling.sources!r}"
        )
    return [
        entry[2] for language in sorted(heaps) for entry in sorted(heaps[language], reverse=True)
    ]


def write_spoiled(
    documents: Sequence[Document],
    kinds: Sequence[str],
    path: Path,
    *,
    out_of_domain: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Writes every document clean and in each kind of noise, as JSON lines.

    Their ids are `KIND|ID`; noise is drawn by id and seed.

    Args:
      documents: clean; "wrong_language" needs two languages.
      kinds: KIND or KIND:DEGREE each, of `spoiling.KINDS`.
      path: of the file.
      out_of_domain: texts for the kind of that name.
      seed: of the noise.

    Raises:
      ValueError: one language alone, and "wrong_language" among the kinds.
    """
    texts: dict[str, list[str]] = {}
    for document in documents:
        texts.setdefault(document.language, []).append(document.text)
    found = {kind: parse_noise(kind) for kind in kinds}
    if len(texts) < 2 and any(noise.kind == "wrong_language" for noise in found.values()):
        raise ValueError("wrong_language needs documents of two languages; leave it out of --kinds")
    pool = Pool(texts=texts, out_of_domain=out_of_domain)
    lines = []
    for kind in (CLEAN, *kinds):
        for document in documents:
            rng = np.random.default_rng(id_hash(f"{seed}/{kind}/{document.id}"))
            text = document.text
            if kind != CLEAN:
                text = found[kind].spoil(text, document.language, pool, rng)
            row = {
                "id": f"{kind}{_MARK}{document.id}",
                "text": text,
                "language": document.language,
                "source": document.source,
            }
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text_atomically("".join(lines), path)


def with_noise(rows: Iterable[Mapping]) -> list[dict]:
    """Returns scored rows with the kind of noise that their ids tell."""
    return [{**row, "noise": kind_of(row["example_id"])} for row in rows]


def kind_of(example_id: str) -> str:
    """Returns the kind of noise, or "clean", of a text of `write_spoiled`."""
    return example_id.split(_MARK)[0]


def _documents(source: Source) -> Iterable[Document]:
    def leave_out(problem: Problem) -> None:
        del problem  # counted when a corpus is prepared

    for part in source.parts():
        for located in source.read(part, leave_out):
            yield located.document
