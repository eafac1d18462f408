"""GLUE (Wang et al. 2019) on TFDS, with the names, text, metrics and rates of T5's code.

`mt5_glue_cola_v002` and so on, as mT5 names them; `glue_cola_v002`, as T5 does, with a vocabulary
of one's own. Mixtures: `..._glue_v002_proportional`, in which a task is drawn as often as it has
examples, and `..._glue_mnli_and_dev_v002`. AX and MNLI's two validation sets have no train split,
so that they are judged and not trained on, at rate 0; WNLI is in no mixture, as in T5.

Test splits of GLUE have no labels (-1): they cannot be scored here. Version 1.0.0 is T5's.
"""

from presence_t5x.data.text_tasks import replace_mixture
from presence_t5x.data.vocabularies import MT5_VOCABULARY_FILE, find_vocabulary
from presence_t5x.tasks.adding import TaskAdder, tfds_source

VERSION = "1.0.0"
_EVERY = ("train", "validation", "test")
_HELD_OUT = ("validation", "test")
_MNLI = ("train", *(f"{split}_{kind}" for split in _HELD_OUT for kind in ("matched", "mismatched")))
# By configuration of TFDS: family, splits, and rate in the mixture (its training examples).
_TASKS = {
    "cola": ("cola", _EVERY, 8_551),
    "sst2": ("sst2", _EVERY, 67_349),
    "mrpc": ("mrpc", _EVERY, 3_668),
    "qqp": ("qqp", _EVERY, 363_849),
    "stsb": ("stsb", _EVERY, 5_749),
    "mnli": ("mnli", _MNLI, 392_702),
    "qnli": ("qnli", _EVERY, 104_743),
    "rte": ("rte", _EVERY, 2_490),
    "mnli_mismatched": ("mnli", _HELD_OUT, 0),
    "mnli_matched": ("mnli", _HELD_OUT, 0),
    "ax": ("ax", ("test",), 0),
    "wnli": ("wnli", _EVERY, None),
}


def register_glue(vocabulary_file: str = MT5_VOCABULARY_FILE, prefix: str = "mt5_") -> None:
    """Registers all tasks and mixtures; another vocabulary than last time replaces them.

    Args:
      vocabulary_file: mT5's, which is not read here, or any other (see `load_vocabulary`).
      prefix: of all names; "" for T5's.
    """
    add = TaskAdder(find_vocabulary(vocabulary_file))
    names = {config: f"{prefix}glue_{config}_v002" for config in _TASKS}
    if add.is_in_use(names["wnli"]):
        return
    for config, (family, splits, _) in _TASKS.items():
        source = tfds_source(f"glue/{config}:{VERSION}", splits)
        add.task(names[config], f"glue_{family}", source, language="en")
    rates = {names[config]: rate for config, (*_, rate) in _TASKS.items() if rate is not None}
    replace_mixture(f"{prefix}glue_v002_proportional", rates)
    mnli = [name for config, name in names.items() if config.startswith("mnli")]
    replace_mixture(f"{prefix}glue_mnli_and_dev_v002", mnli)
