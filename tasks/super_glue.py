"""SuperGLUE (Wang et al. 2019) on TFDS, with the names, text, metrics and rates of T5's code.

`mt5_super_glue_boolq_v102` and so on, as mT5 names them; `super_glue_boolq_v102`, as T5 does, with
a vocabulary of one's own. The mixture `..._super_glue_v102_proportional` draws a task as often as
it has examples, WSC from the right referents of `..._wsc_v102_simple_train` and from the pronouns
of DPR; `..._wsc_v102_simple_eval` judges all, at rate 0. AX-b and AX-g have a test split alone and
no metric. `..._super_glue_wsc_v102`, in no mixture, is WSC for models that label (`benchmarks`).

Test splits of SuperGLUE have no labels (-1), but DPR's has: the others cannot be scored here.
"""

from presence_t5x.data.text_tasks import replace_mixture
from presence_t5x.data.vocabularies import MT5_VOCABULARY_FILE, find_vocabulary
from presence_t5x.tasks.adding import TaskAdder, tfds_source

VERSION = "1.0.2"
DPR = "definite_pronoun_resolution:1.1.0"
_EVERY = ("train", "validation", "test")
_TEST = ("test",)
# By family: its splits, and its rate in the mixture (its training examples).
_TASKS = {
    "boolq": (_EVERY, 9_427),
    "cb": (_EVERY, 250),
    "copa": (_EVERY, 400),
    "multirc": (_EVERY, 27_243),
    "record": (_EVERY, 138_854),
    "rte": (_EVERY, 2_490),
    "wic": (_EVERY, 5_428),
    "axb": (_TEST, 0),
    "axg": (_TEST, 0),
}
_DPR_RATE, _WSC_RATE = 1_322, 259


def register_super_glue(vocabulary_file: str = MT5_VOCABULARY_FILE, prefix: str = "mt5_") -> None:
    """Registers all tasks and the mixture; another vocabulary than last time replaces them.

    Args:
      vocabulary_file: mT5's, which is not read here, or any other (see `load_vocabulary`).
      prefix: of all names; "" for T5's.
    """
    add = TaskAdder(find_vocabulary(vocabulary_file))
    wsc = f"{prefix}super_glue_wsc_v102"
    if add.is_in_use(wsc):
        return
    rates = {}
    for family, (splits, rate) in _TASKS.items():
        source = tfds_source(f"super_glue/{family}:{VERSION}", splits)
        name = f"{prefix}super_glue_{family}_v102"
        rates[add.task(name, f"super_glue_{family}", source, language="en")] = rate
    source = tfds_source(DPR, ("train", "test"))
    rates[add.task(f"{prefix}dpr_v001_simple", "dpr", source, language="en")] = _DPR_RATE
    fixed = f"super_glue/wsc.fixed:{VERSION}"
    train = add.task(
        f"{wsc}_simple_train",
        "super_glue_wsc_simple",
        tfds_source(fixed, _EVERY[:1]),
        language="en",
        metric_fns=(),
        is_training=True,
    )
    judged = add.task(
        f"{wsc}_simple_eval",
        "super_glue_wsc_simple",
        tfds_source(fixed, _EVERY[1:]),
        language="en",
    )
    rates |= {train: _WSC_RATE, judged: 0}
    replace_mixture(f"{prefix}super_glue_v102_proportional", rates)
    add.task(wsc, "super_glue_wsc", tfds_source(fixed, _EVERY), language="en")
