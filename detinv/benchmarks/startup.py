"""How long one waits: for help, and for the first step of an inversion, in fresh processes.

What counts is what a person sees. The inversion runs in a terminal of its own, and the time is up when its progress bar
shows that a step has been taken.
"""

import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from detinv.errors import DetinvError

_DETINV = (sys.executable, "-m", "detinv")
# What the progress bar shows once a step has been taken.
_COUNTED = re.compile(r"inverting\b.*?\b[1-9]\d*/\d+", re.DOTALL)
_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
# Seconds: for anything to happen, and for a process to end once it was interrupted.
_PATIENCE, _GRACE = 120.0, 20.0
_TAIL = 500
_IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def bench_startup(arguments: Sequence[str] = (), *, processes: int = 5) -> dict[str, Any]:
    """Median seconds until `detinv --help` has ended, and until `detinv invert` has taken its first step.

    Args:
        arguments: of `detinv invert`; none for the run that somebody tries first.
        processes: of each kind, in turns; one more before, which counts for nothing, brings files into memory.

    Returns:
        "help_seconds" and "first_step_seconds", medians; "help_all" and "first_step_all"; "imports": seconds that
        packages take to be imported, the longest first.

    Raises:
        DetinvError: when a process ends before its first step.
    """
    helps, firsts = [], []
    for _ in range(processes + 1):
        helps.append(help_seconds())
        firsts.append(first_step_seconds(arguments))
    return {
        "help_seconds": statistics.median(helps[1:]),
        "first_step_seconds": statistics.median(firsts[1:]),
        "help_all": helps[1:],
        "first_step_all": firsts[1:],
        "imports": import_seconds("detinv.commands.invert"),
    }


def help_seconds() -> float:
    """Seconds of one `detinv --help`."""
    started = time.perf_counter()
    subprocess.run([*_DETINV, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step_seconds(arguments: Sequence[str] = ()) -> float:
    """Seconds from the start of `detinv invert` to its first step; it is interrupted then."""
    with tempfile.TemporaryDirectory() as folder:
        screen, terminal = pty.openpty()
        started = time.perf_counter()
        process = subprocess.Popen(
            [*_DETINV, "invert", f"out_dir={folder}", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=os.environ | _TERMINAL,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            _wait_for_step(screen)
            return time.perf_counter() - started
        finally:
            _end(process, screen)
            os.close(screen)


def import_seconds(module: str, most: int = 15) -> list[tuple[str, float]]:
    """Seconds that a module's imports take, added up by top-level package, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"], check=True, capture_output=True, text=True
    )
    return parse_import_times(done.stderr)[:most]


def parse_import_times(text: str) -> list[tuple[str, float]]:
    """Seconds by top-level package, the longest first, from what `python -X importtime` says.

    A module that another package imports counts for its own package.
    """
    seconds: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        found = _IMPORTED.match(line)
        if found:
            seconds[found.group(4).partition(".")[0]] += int(found.group(1)) / 1e6
    return sorted(seconds.items(), key=lambda pair: -pair[1])


def _wait_for_step(screen: int) -> None:
    text = ""
    until = time.monotonic() + _PATIENCE
    while (left := until - time.monotonic()) > 0:
        if not select.select([screen], [], [], left)[0]:
            break
        try:
            piece = os.read(screen, 65536)
        except OSError:  # nobody writes there any more
            piece = b""
        if not piece:
            raise DetinvError(f"detinv invert ended before its first step: {text[-_TAIL:].strip()}")
        text += _CODES.sub("", piece.decode(errors="replace"))
        if _COUNTED.search(text):
            return
    raise DetinvError(f"detinv invert took no step within {_PATIENCE:g} seconds: {text[-_TAIL:].strip()}")


def _end(process: subprocess.Popen, screen: int) -> None:
    """Interrupt the process, as ctrl-c does, and read on: one that writes to a full terminal would wait for ever."""
    process.send_signal(signal.SIGINT)
    until = time.monotonic() + _GRACE
    while process.poll() is None and time.monotonic() < until:
        if select.select([screen], [], [], 0.1)[0]:
            try:
                os.read(screen, 65536)
            except OSError:
                break
    try:
        process.wait(max(until - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
