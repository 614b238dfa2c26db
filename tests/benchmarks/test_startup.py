"""What is read off the terminal, and from what Python tells of imports."""

import os
import pty
import subprocess
import sys

import pytest

from detinv.benchmarks import startup
from detinv.errors import DetinvError

IMPORTS = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   zipimport
import time:      2000 |       2000 |     torch._C
import time:   1500000 |    1502000 |   torch
import time:       500 |        500 |       numpy.linalg
import time:    250000 |     250500 | numpy
something else on stderr
"""


def test_import_times_are_added_up_by_package():
    found = startup.parse_import_times(IMPORTS)
    assert [name for name, _ in found] == ["torch", "numpy", "zipimport"]
    assert dict(found) == {
        "torch": pytest.approx(1.502),
        "numpy": pytest.approx(0.2505),
        "zipimport": pytest.approx(1e-4),
    }


def test_imports_are_those_of_a_fresh_process():
    found = dict(startup.import_seconds("json"))
    assert found["json"] > 0
    assert "torch" not in found


def seen_in_terminal(text: str, seconds: float = 60) -> None:
    """Let a process write `text` to a terminal, and wait for a step there."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys, time; sys.stdout.write({text!r}); sys.stdout.flush(); time.sleep(30)"],
        stdout=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        startup.wait_for_step(screen, seconds)
    finally:
        startup.interrupt(process, screen)
        os.close(screen)
    assert process.returncode is not None


def test_a_step_is_seen_on_the_progress_bar():
    seen_in_terminal(
        "hello\n\x1b[2Kinverting \x1b[38;5;237m----\x1b[0m  0/200 steps\r\x1b[2Kinverting ----  1/200 steps"
    )


def test_no_step_is_seen_before_it_is_taken():
    with pytest.raises(DetinvError, match="no step within 1 seconds"):
        seen_in_terminal("12/3 inverting \x1b[38;5;237m----\x1b[0m  0/200 steps", seconds=1)


@pytest.mark.slow
def test_a_process_that_fails_says_why():
    with pytest.raises(DetinvError, match=r"before its first step.*--?steps|before its first step.*steps"):
        startup.first_step_seconds(["steps=many"])
