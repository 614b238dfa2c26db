"""Requests to stop, by Ctrl-C, a termination signal or the end of the terminal.

They are followed at once while a program starts, and later when the work can stop.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""Exit status of a program that was interrupted."""

_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    # Of a terminal that is closed, or a connection that is lost.
    _SIGNALS.append(signal.SIGHUP)
_asked = threading.Event()
_starting = threading.Event()


@contextmanager
def signals_interrupt(*, starting: bool) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt within the block, where they would end the process.

    Args:
        starting: until `begin_work` is called, end the process at once instead, with status 130. A KeyboardInterrupt
            in the middle of an import is swallowed by some libraries, and turned into other errors by others.
    """
    _asked.clear()
    if starting:
        _starting.set()
    before: dict[int, Any] = {}
    # Python delivers signals to the main thread only; a program may have handlers of its own, or ignore signals.
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {n: handler for n, handler in found.items() if handler in (signal.SIG_DFL, signal.default_int_handler)}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        _starting.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def begin_work() -> None:
    """Let signals raise KeyboardInterrupt from now on; see `signals_interrupt`."""
    _starting.clear()


def interruption_asked() -> bool:
    """Tell whether a signal has asked to stop since `signals_interrupt`, whatever became of its KeyboardInterrupt."""
    return _asked.is_set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _starting.is_set():
        os.write(2, b"detinv: interrupted\n")
        os._exit(INTERRUPTED)
    _asked.set()
    raise KeyboardInterrupt


class Interruption:
    """Notes the first signal within its `with` block; the second raises KeyboardInterrupt at once.

    Signals that the program ignores, as SIGHUP under `nohup`, stay ignored. Outside the main thread, where Python
    delivers no signals, it does nothing.

    Attributes:
        asked: whether there was a signal.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            # None stands for a handler that was not set from Python, and could not be set again.
            found = {number: signal.getsignal(number) for number in _SIGNALS}
            self._before = {n: handler for n, handler in found.items() if handler not in (signal.SIG_IGN, None)}
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
