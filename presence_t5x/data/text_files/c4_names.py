"""Published shards of C4 and mC4 (the layout of allenai/c4), recognised by their names.

They are gzipped JSON lines with `text`, `timestamp` and `url`. The name tells language and split.
"""

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from presence_t5x.data.documents import TRAIN, VALIDATION

_LANGUAGE = r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?"
_MC4 = re.compile(
    rf"c4-({_LANGUAGE})(-validation)?\.tfrecord-\d{{5}}-of-\d{{5}}\.json(?:\.gz|\.zst)?"
)
_C4 = re.compile(r"c4-(train|validation)\.\d{5}-of-\d{5}\.json(?:\.gz|\.zst)?")
_MC4_TASK = "mc4."
_C4_TASK = "c4"


class PublishedShard(NamedTuple):
    """What the name of a shard tells."""

    task: str
    split: str
    language: str
    source: str


def published_shard(path: str) -> PublishedShard | None:
    """Returns what the name of a file tells, None if it is no published shard.

    The second layout has no language in its name: it is English, unless the directory is called
    by the code of a language.

    >>> published_shard("x/c4-zh-Latn-validation.tfrecord-00000-of-00001.json.gz")
    PublishedShard(task='mc4.zh_Latn', split='validation', language='zh-Latn', source='mc4')
    >>> published_shard("realnewslike/c4-train.00000-of-00512.json.gz").language
    'en'
    """
    folder, name = os.path.split(path)
    if match := _MC4.fullmatch(name):
        language, validation = match.groups()
        task = _MC4_TASK + language.replace("-", "_")
        return PublishedShard(task, VALIDATION if validation else TRAIN, language, "mc4")
    if match := _C4.fullmatch(name):
        parent = os.path.basename(folder)
        language = parent if re.fullmatch(_LANGUAGE, parent) else "en"
        return PublishedShard(_C4_TASK, match[1], language, "c4")
    return None


def rates_of_tasks(tasks: Iterable[str]) -> dict[str, float]:
    """Returns pages ** 0.3 for the tasks of mC4 languages and 1.0 for the others.

    Raises:
      ValueError: a language has no page count (all of them are named).
    """
    names = list(tasks)
    if not any(name.startswith(_MC4_TASK) for name in names):
        return dict.fromkeys(names, 1.0)
    from presence_t5x.tasks import mc4  # imports TensorFlow

    rates = {mc4.task_name(code): mc4.sampling_rate(code) for code in mc4.NUM_TRAIN_PAGES}
    unknown = [n for n in names if n.startswith(_MC4_TASK) and n not in rates]
    if unknown:
        languages = [name.removeprefix(_MC4_TASK).replace("_", "-") for name in unknown]
        raise ValueError(
            f"the mC4 files are of the languages {languages}, which have no number of pages in "
            "presence_t5x.tasks.mc4; leave their files out"
        )
    return {name: rates.get(name, 1.0) for name in names}
