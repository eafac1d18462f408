"""All tasks that need no argument, registered on import: for T5X's `MIXTURE_OR_TASK_MODULE`."""

from presence_t5x.tasks import register_all

register_all()
