"""seqio registrations; the functions they use live in `presence_t5x.data`.

Importing this package registers nothing. `register_all` registers what needs no argument (mC4 and the
encyclopedia) once; `register_local_text` takes the files. Import it as `presence_t5x.tasks`.
"""

from presence_t5x.tasks.local_text import register_local_text

__all__ = ["register_all", "register_local_text"]


def register_all() -> None:
    """Registers `mc4`, `mc4.<lang>`, `encyclopedia` and `encyclopedia.<lang>`; reads no file."""
    from presence_t5x.tasks import encyclopedia, mc4

    mc4.register_mc4()
    encyclopedia.register_encyclopedia()
