"""Standard output and standard error that cost no result: what cannot be shown is shown otherwise, or not at all.

A terminal may not know a letter, the reader of a pipe may go away (`detinv ... | head`), the disk of a log may be full.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Of a terminal that does not know its size some programs say that it is 0.
_SIZES = ("COLUMNS", "LINES")


class LastingStream:
    """A text stream that is no longer written to when that fails.

    Args:
        stream: standard output or standard error.

    Attributes:
        problem: why it failed; None also where the reader just went away.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.problem: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text as far as that is possible; return its length."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._leave(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts; see `write`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what has been written, as far as that is possible."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.problem = error
        try:
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:
            return
        # What is still waiting to be written goes nowhere, and so does the rest.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[LastingStream | None]:
    """Make standard output and error last within the block; letters that they cannot encode are written as escapes.

    Returns:
        Standard output; None where there is none.
    """
    before = sys.stdout, sys.stderr
    escaping = [(stream, stream.errors) for stream in before if isinstance(stream, io.TextIOWrapper)]
    sizes = {name: os.environ.pop(name) for name in _SIZES if os.environ.get(name) == "0"}
    for stream, _ in escaping:
        stream.reconfigure(errors="backslashreplace")
    output, errors = (None if stream is None else LastingStream(stream) for stream in before)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        for one in (output, errors):
            if one is not None:
                one.flush()
        sys.stdout, sys.stderr = before
        for stream, handling in escaping:
            stream.reconfigure(errors=handling)
        os.environ.update(sizes)


def open_missing_descriptors() -> None:
    """Open what a program was started without (`detinv ... >&-`): else its first files would take the place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
