"""Being asked to end: Ctrl-C, SIGTERM and a closed terminal all clean up, and the exit code says which it was."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], Any] | int | None
PR_SET_PDEATHSIG = 1  # prctl(2)
SIGNAL_EXIT = 128  # what a shell adds to the number of the signal that ended a command


class Stopped(KeyboardInterrupt):
    """Raised where a signal was met; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Stops:
    """SIGTERM and SIGHUP taken as Ctrl-C, for a command; `number` is the signal that came."""

    def __init__(self) -> None:
        self.number: int = signal.SIGINT

    def listen(self) -> None:
        """From now on; a signal that our parent chose to ignore (nohup) stays ignored."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._asked)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        # While a job runs Ctrl-C belongs to asyncio, which cancels the job and lets it clean up: so shall these.
        as_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(as_ctrl_c):
            raise KeyboardInterrupt
        as_ctrl_c(signal.SIGINT, frame)


def in_own_session(work: Callable[[], int]) -> int:
    """Run `work` in a child with a session of its own, pass on what asks it to end, and give back its exit code.

    A service manager, `timeout` and a closed terminal signal the whole process group: Ray's daemons would end first,
    and their farm wait a minute for them. Call it before anything has started a thread.
    """
    asked = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)  # until both sides are ready for them
    child = os.fork()
    if child == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # when not even we are left to pass it on
        signal.pthread_sigmask(signal.SIG_SETMASK, asked)
        return work()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in ASKING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked)
    _, status = os.waitpid(child, 0)  # goes on after each signal that was passed on
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else SIGNAL_EXIT - code


class Interrupts:
    """The same while Ray starts, which replaces the handlers and now and then swallows what they raise."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Handler] = {}

    def listen(self) -> None:
        """From now on each raises Stopped, once: a second Ctrl-C must not cut short what the first one began."""
        if not self._before:
            self._before = {number: signal.getsignal(number) for number in ASKING}
        for number, before in self._before.items():
            if before is not signal.SIG_IGN:  # a script that starts us with & ignores Ctrl-C for us
                signal.signal(number, self._asked)

    def check(self) -> None:
        """Raise Stopped if one was swallowed, and listen anew."""
        if self._number is not None:
            raise Stopped(self._number)
        self.listen()

    def ignore(self) -> None:
        """Cleaning up has begun, and is bounded: let it finish."""
        for number in ASKING:
            signal.signal(number, signal.SIG_IGN)

    def give_back(self) -> None:
        """Nothing is left to clean up: whoever had the signals before has them again."""
        for number, before in self._before.items():
            if before is not None:  # a handler that was not installed from Python cannot be put back by it
                signal.signal(number, before)
        self._before = {}

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            raise Stopped(number)
