"""seqio registrations; the functions they use live in `presence_t5x.data`.

Importing this package registers nothing. `register_all` registers what needs no argument (mC4, the
encyclopedia, mT5's fine-tuning tasks, GLUE and SuperGLUE) once; `register_local_text` and
`register_local_examples` take files. Import it as `presence_t5x.tasks`.
"""

from presence_t5x.data.quiet_tensorflow import seqio
from presence_t5x.tasks.encyclopedia import register_encyclopedia
from presence_t5x.tasks.encyclopedia_examples import register_encyclopedia_examples
from presence_t5x.tasks.glue import register_glue
from presence_t5x.tasks.local_examples import register_local_examples
from presence_t5x.tasks.local_text import register_local_text
from presence_t5x.tasks.mc4 import register_mc4
from presence_t5x.tasks.super_glue import register_super_glue
from presence_t5x.tasks.xtreme import UNIONS, register_xtreme

__all__ = [
    "UNIONS",
    "register_all",
    "register_encyclopedia",
    "register_encyclopedia_examples",
    "register_glue",
    "register_local_examples",
    "register_local_text",
    "register_mc4",
    "register_super_glue",
    "register_xtreme",
]


def register_all() -> None:
    """Registers `mc4`, `encyclopedia`, its labelled examples and `mt5_*` where absent."""
    mixtures = {
        "mc4": register_mc4,
        "encyclopedia_nli_zeroshot": register_encyclopedia_examples,
        "mt5_xnli_zeroshot": register_xtreme,
        "mt5_glue_v002_proportional": register_glue,
        "mt5_super_glue_v102_proportional": register_super_glue,
    }
    for name, register in mixtures.items():
        if name not in seqio.MixtureRegistry.names():
            register()
    register_encyclopedia()
