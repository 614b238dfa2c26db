"""How the processes of a job learn that one of them has failed, so that none waits for it."""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import torch

from detinv.errors import DetinvError, ProcessError

# Seconds between two checks whether a process has failed.
_POLL = 0.2
# Seconds for which a failed process stays alive, so that the others learn why.
_LINGER = 10.0
_FAILURE, _NOTICED = "failure", "noticed"


class Child(Protocol):
    """A process that this one has started, such as a `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Return its exit status, -N after signal N; None while it runs."""


class Failures:
    """Reports an error to the other processes, and watches for theirs in a thread of its own.

    Args:
        rank, count: this process's number, and how many there are.
        store: shared by all processes; the first one serves it.
        children: those of the processes that this one has started, in the order of their numbers, which follow its own.
            One that has been killed cannot report anything.

    Attributes:
        other: what happened in another process, once something did.
    """

    def __init__(self, rank: int, count: int, store: torch.distributed.Store, children: Sequence[Child] = ()) -> None:
        self.rank = rank
        self.count = count
        self.other: ProcessError | None = None
        self._store = store
        self._children = list(children)
        self._told = False
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True, name="detinv-failures")
        self._watching.start()
        # A thread that Python stops at its end while it is inside torch's store takes the process down with it:
        # "terminate called without an active exception".
        atexit.register(self.close)

    @classmethod
    def connect(cls, rank: int, count: int, children: Sequence[Child] = ()) -> "Failures | None":
        """Connect all processes of torch's default group; every one of them must call this."""
        if count == 1:
            return None
        host, store = os.environ.get("MASTER_ADDR", "localhost"), None
        if rank == 0:
            store = torch.distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False)
        box: list[int | None] = [None if store is None else store.port]
        torch.distributed.broadcast_object_list(box, src=0)
        if store is None:
            assert box[0] is not None
            store = torch.distributed.TCPStore(host, box[0], is_master=False)
        return cls(rank, count, store, children)

    def close(self) -> None:
        """Stop watching; what is known of other processes stays known."""
        self._ended.set()
        self._watching.join(_LINGER)

    def tell(self, error: BaseException) -> None:
        """Make all other processes end because of `error`, and give them time to learn of it; the first error counts.

        An error that another process has caused is not passed on.
        """
        if self._told or self.other is not None:
            return
        self._told = True
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        reason = reason if isinstance(error, DetinvError) else f"{type(error).__name__}: {reason}"
        deadline = time.monotonic() + _LINGER
        # The store is gone once the first process has ended: nobody is left who would have to learn of it.
        with suppress(RuntimeError):
            self._store.compare_set(_FAILURE, "", f"{self.rank} {reason}")
            if self.rank:
                # Several may fail at once, as by Ctrl-C; then the first one need not wait for this one to learn of it.
                self._store.add(_NOTICED, 1)
            # The first process serves the store, so it must stay; and what ends another process than the first, such
            # as torchrun, must not end the first before it has given the reason.
            while time.monotonic() < deadline and (self.rank or self._store.add(_NOTICED, 0) < self.count - 1):
                time.sleep(_POLL)
                self._store.check([_FAILURE])

    def wait(self, action: Callable[[], object]) -> None:
        """Run `action`, which waits for the other processes, until it returns.

        Raises:
            ProcessError: as soon as another process has failed.
        """
        errors: list[Exception] = []

        def run() -> None:
            try:
                action()
            except Exception as error:  # raised where it is waited for
                errors.append(error)

        # In a thread, because nothing can interrupt torch's own waiting; it is abandoned when a process has failed.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            failed = self.other
            # A process that has ended may have waited for the same thing before, which is done then in a moment.
            thread.join(_POLL)
            if failed is not None and thread.is_alive():
                # See the constructor; torch lets go of it when the process that it waits for has ended.
                atexit.register(thread.join, _LINGER)
                raise failed
        if errors:
            # The error of the process that is gone says more than torch does.
            self._wait_for_reason()
            raise self.other or errors[0]

    def _wait_for_reason(self) -> None:
        deadline = time.monotonic() + 5 * _POLL
        while self.other is None and time.monotonic() < deadline:
            time.sleep(_POLL / 4)

    def _watch(self) -> None:
        while not self._told and not self._ended.is_set():
            try:
                if self._store.check([_FAILURE]):
                    rank, _, reason = self._store.get(_FAILURE).decode().partition(" ")
                    if int(rank) != self.rank:
                        self.other = ProcessError(f"process {rank} failed: {reason}", reported=self.rank != 0)
                        self._store.add(_NOTICED, 1)
                    return
                self._report_children()
            except RuntimeError:
                self.other = ProcessError("the first process ended unexpectedly", reported=False)
                return
            self._ended.wait(_POLL)

    def _report_children(self) -> None:
        """Report, in the place of a child that has ended in failure without a word, that it has."""
        for rank, child in enumerate(self._children, self.rank + 1):
            status = child.poll()
            if status:
                self._store.compare_set(_FAILURE, "", f"{rank} {_how_it_ended(status)}")
                return


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"it ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"it was killed ({name})" + (", as a system does that runs out of memory" if name == "SIGKILL" else "")


NEVER = timedelta(days=30)
"""Of torch's own waiting, which `Failures` ends earlier."""
