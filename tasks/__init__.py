"""seqio registrations; the functions they use live in `presence_t5x.data`.

Importing this package registers nothing. `register_all` registers what needs no argument (mC4 and
the encyclopedia) once; `register_local_text` takes the files. Import it as `presence_t5x.tasks`.
"""

from presence_t5x.tasks.encyclopedia import register_encyclopedia
from presence_t5x.tasks.local_text import register_local_text
from presence_t5x.tasks.mc4 import register_mc4

from presence_t5x.data.quiet_tensorflow import seqio

__all__ = ["register_all", "register_encyclopedia", "register_local_text", "register_mc4"]


def register_all() -> None:
    """Registers `mc4`, `mc4.<lang>`, `encyclopedia` and `encyclopedia.<lang>` where absent."""
    if "mc4" not in seqio.MixtureRegistry.names():
        register_mc4()
    register_encyclopedia()
