"""Seconds until `detinv --help` ends, and until an inversion takes its first step, in fresh processes.

The inversion runs in a pseudo-terminal; the clock stops when its progress bar shows the first step.
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
# What the progress bar shows after the first step.
_COUNTED = re.compile(r"inverting\b.*?\b[1-9]\d*/\d+", re.DOTALL)
_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
# Seconds: until the first step, and until an interrupted process ends.
_PATIENCE, _GRACE = 120.0, 20.0
_TAIL = 500
_IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def bench_startup(arguments: Sequence[str] = (), *, processes: int = 5) -> dict[str, Any]:
    """Median seconds until `detinv --help` has ended, and until `detinv invert` has taken its first step.

    Args:
        arguments: of `detinv invert`; by default none.
        processes: of each kind, in turns, after one of each that warms the file cache and is not counted.

    Returns:
        "help_seconds" and "first_step_seconds", medians; "help_all" and "first_step_all"; "imports": import times of
        packages in seconds, the longest first.

    Raises:
        DetinvError: if a process ends before its first step.
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
    """Measure the seconds that `detinv --help` takes."""
    started = time.perf_counter()
    subprocess.run([*_DETINV, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step_seconds(arguments: Sequence[str] = ()) -> float:
    """Measure the seconds from the start of `detinv invert` to its first step, then interrupt it."""
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
            wait_for_step(screen)
            return time.perf_counter() - started
        finally:
            interrupt(process, screen)
            os.close(screen)


def import_seconds(module: str, most: int = 15) -> list[tuple[str, float]]:
    """Measure the import times of a module in a fresh process, in seconds by top-level package."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"], check=True, capture_output=True, text=True
    )
    return parse_import_times(done.stderr)[:most]


def parse_import_times(text: str) -> list[tuple[str, float]]:
    """Parse the output of `python -X importtime` into seconds by top-level package, the longest first.

    The time of a module counts for its own package, whichever package imports it.
    """
    seconds: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        found = _IMPORTED.match(line)
        if found:
            seconds[found.group(4).partition(".")[0]] += int(found.group(1)) / 1e6
    return sorted(seconds.items(), key=lambda pair: -pair[1])


def wait_for_step(screen: int, seconds: float = _PATIENCE) -> None:
    """Read a terminal until its progress bar shows a step.

    Args:
        screen: file descriptor of the terminal's other side.
        seconds: to wait at most.

    Raises:
        DetinvError: if no step is shown in that time, or nothing can be written to the terminal any more.
    """
    text = ""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if not select.select([screen], [], [], left)[0]:
            break
        try:
            piece = os.read(screen, 65536)
        except OSError:  # the other side is closed
            piece = b""
        if not piece:
            raise DetinvError(f"detinv invert ended before its first step: {text[-_TAIL:].strip()}")
        text += _CODES.sub("", piece.decode(errors="replace"))
        if _COUNTED.search(text):
            return
    raise DetinvError(f"detinv invert took no step within {seconds:g} seconds: {text[-_TAIL:].strip()}")


def interrupt(process: subprocess.Popen, screen: int) -> None:
    """Interrupt a process as Ctrl-C does, reading its terminal: it would block on writing to a full one."""
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
