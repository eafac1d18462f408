"""A run that is asked to stop: by SIGTERM (preemption) or Ctrl-C it saves first, within a set time.

The first signal is noted and the loop saves at the end of its step; a second one, or no end of the
step in time, ends the process at once. A signal before the first step ends it at once as well:
there is nothing to save. Whatever happens, the same command continues bit for bit.

Of several hosts, JAX's preemption service agrees on the step at which all of them stop. It takes
SIGTERM over, so that the set time begins with that step; with Ctrl-C on the host that got it.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence

import jax
from jax.experimental import multihost_utils
from rich.console import Console

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopError(RuntimeError):
    """A run ended before its last step for a reason that its one line tells."""


class StopRequest:
    """Whether the process was asked to stop; without `install` it never is.

    Attributes:
      command: that continues the run.
      grace_seconds: how long the end of a step and its save may take, of several hosts the save
        alone; None is for ever.
      stopped_status: exit status after SIGTERM.
    """

    def __init__(self, command: Sequence[str] = (), grace_seconds: float | None = None):
        self.command = " ".join(command)
        self.grace_seconds = grace_seconds
        self.stopped_status = 0
        self._signals: list[int] = []
        self._saves = False
        self._saved = False
        self._timer: threading.Timer | None = None

    def install(self) -> None:
        """Takes over the signals of this process; call it from the main thread.

        Call it before `jax.distributed.initialize`, whose preemption service takes SIGTERM over.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # A thread of its own: Python runs handlers between bytecodes of the main thread, which may
        # be in a compilation or a collective for minutes.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._listen, args=(reader,), daemon=True, name="stop").start()

    def start_saving(self) -> None:
        """From now on there are steps to lose: a signal is noted instead of obeyed at once."""
        self._saves = True

    def reached(self, step: int) -> bool:
        """Tells whether to save and stop after this step; the same on every host."""
        if jax.distributed.is_initialized():
            reached = multihost_utils.reached_preemption_sync_point(step)
        else:
            reached = bool(self._signals)
        if reached:
            self._start_timer()  # of SIGTERM, and of another host's signal, this is the first sign
        return reached

    def saved(self) -> None:
        """The last save is on the disk: nothing that is left to do has to end in time."""
        self._saved = True

    @property
    def status(self) -> int:
        """The exit status of a run that saved early: 130 after Ctrl-C, so that scripts stop too."""
        return 130 if signal.SIGINT in self._signals else self.stopped_status

    def how_to_resume(self) -> str:
        """Returns the line that tells how to go on."""
        return f"resume with {self.command or 'the same command'}"

    def _listen(self, reader: int) -> None:
        """Notes signals as they come; ends the process where waiting has no use."""
        while True:
            number = os.read(reader, 1)[0]
            if number not in _SIGNALS:
                continue
            if not self._saves:
                self._signals.append(number)
                self._end("before the first step; nothing was lost", 0)
            if self._signals:
                self._end("at once; the steps since the newest checkpoint will be done again", 1)
            self._signals.append(number)
            if jax.distributed.is_initialized():
                os.kill(os.getpid(), signal.SIGTERM)  # the service's: it tells the other hosts
            name = signal.Signals(number).name
            limit = "" if self.grace_seconds is None else f", in {self.grace_seconds:g} s at most"
            print(f"{name}: saving after this step{limit}", file=sys.stderr, flush=True)
            self._start_timer()

    def _start_timer(self) -> None:
        """From now on there is so much time to save, if it is not running yet."""
        if self.grace_seconds is None or self._timer is not None:
            return
        self._timer = threading.Timer(self.grace_seconds, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _give_up(self) -> None:
        if not self._saved:
            self._end(
                f"without a new checkpoint: none was written within {self.grace_seconds:g} s "
                "(STOP_SECONDS); the steps since the newest one will be done again",
                1,
            )

    def _end(self, how: str, status: int) -> None:
        """Ends the process as `kill -9` would: safe, since every file is whole or not there."""
        Console(stderr=True).show_cursor()  # a progress bar hides it
        print(f"stopped {how}; {self.how_to_resume()}", file=sys.stderr, flush=True)
        os._exit(status or self.status)
