"""The first step's time: from the start of the run, and of the first one alone."""

import time

from detinv.inversion.callbacks import first_step
from detinv.inversion.callbacks.first_step import FirstStep
from tests.fakes import tiny_detector
from tests.inversion.modules.test_inversion import LAYOUTS, fit, inversion


def test_the_first_step_alone_is_timed(monkeypatch):
    """By a clock that advances by one second each time it is read."""
    looks = []

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            looks.append(time.perf_counter())
            return 10.0 + len(looks)

    monkeypatch.setattr(first_step, "time", Clock)
    callback = FirstStep()
    assert callback.seconds is None
    fit(inversion(tiny_detector("retinanet"), LAYOUTS[:1], steps=3), callback)
    assert callback.seconds == 1.0
    assert len(looks) == 2
