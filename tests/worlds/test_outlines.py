"""Outlines: they fill their frame, and differ."""

import numpy as np
import pytest

from detinv.worlds.plain import KINDS

SIDE = 201
X, Y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
AREAS = {
    "circle": np.pi,
    "square": 1.8**2,
    "triangle": 2.0,
    "diamond": 2.0,
    "star": 5 * 0.45 * np.sin(np.pi / 5),
    "cross": 2 * 2 * 0.68 - 0.68**2,
    "ring": np.pi * 0.75,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_outline_has_its_area_and_touches_its_frame(kind):
    inside = kind.outline(X, Y)
    assert inside.mean() * 4 == pytest.approx(AREAS[kind.name], rel=0.03)
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    for line in (rows, columns):
        assert line[0] <= 0.1 * SIDE and line[-1] >= 0.89 * SIDE
    assert not kind.outline(np.array([1.5]), np.array([-1.5]))[0]


def test_outlines_differ():
    drawn = [kind.outline(X, Y) for kind in KINDS]
    for first in range(len(drawn)):
        for second in range(first):
            assert (drawn[first] != drawn[second]).mean() > 0.05
