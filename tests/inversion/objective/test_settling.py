"""The last steps of a run, in which boxes settle."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from detinv.errors import ConfigError
from detinv.inversion.objective.objective import Objective
from detinv.inversion.objective.settling import Settling
from detinv.inversion.optim.schedules import Cosine
from detinv.inversion.pixels.precondition import Preconditioner
from detinv.inversion.preset import load_preset
from detinv.inversion.run import invert
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector

LAYOUT = Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0]]), torch.tensor([1]), (64, 64), "one")
BEGIN, STEPS = 3, 5


def constant(step: int, steps: int) -> float:
    return 1.0


def ended(step: int, steps: int) -> float:
    return float(step < BEGIN)


@cache
def image(settling: Settling | None, schedule=constant, **changes) -> torch.Tensor:
    preset = replace(load_preset("default"), settling=settling, schedule=schedule, **changes)
    options = {"steps": STEPS, "trainer": {"accelerator": "cpu"}, "progress": False}
    return invert(tiny_detector("retinanet"), [LAYOUT], preset, **options).images[0]


@pytest.mark.parametrize(
    "options",
    [{"final": 0.1}, {"shapes_every": 2}, pytest.param({"background_rows": 1}, marks=pytest.mark.slow)],
)
def test_only_the_last_steps_are_others(options: dict):
    settling = Settling(BEGIN / STEPS, **options)
    assert not torch.equal(image(settling), image(None))
    assert torch.equal(image(settling, ended), image(None, ended))


def test_the_last_steps_leave_gradients_as_they_are():
    reshaped = Preconditioner()
    plain = image(None)
    assert torch.equal(image(Settling(since=0.0), precondition=reshaped), plain)
    assert torch.equal(image(Settling(since=1.0), precondition=reshaped), image(None, precondition=reshaped))
    assert not torch.equal(image(None, precondition=reshaped), plain)


def test_steps_become_smaller_in_equal_ratios():
    schedule, steps = Cosine(), 10
    settling = Settling(since=0.6, final=0.0625)
    factors = [settling.schedule(schedule)(step, steps) / schedule(step, steps) for step in range(steps)]
    assert factors == pytest.approx([1] * 6 + [0.5, 0.25, 0.125, 0.0625])
    assert settling.begin(steps) == 6


def test_the_objective_changes_where_it_is_told_to():
    objective = Objective({"cls": 1}, shapes_every=3, background_rows=64)
    settled = Settling(shapes_every=2, background_rows=4).objective(objective)
    assert (settled.shapes_every, settled.options.background_rows, settled.weights) == (2, 4, {"cls": 1})
    kept = Settling().objective(objective)
    assert (kept.shapes_every, kept.options) == (3, objective.options)


@pytest.mark.parametrize(
    "options",
    [{"since": 1.1}, {"since": -0.1}, {"final": 0}, {"final": math.nan}, {"shapes_every": 1}, {"background_rows": 0}],
)
def test_values_out_of_range_are_refused(options: dict):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Settling(**options)
