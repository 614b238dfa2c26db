"""Outlines: they fill their frame, and differ."""

import numpy as np
import pytest

from detinv.worlds import outlines

SIDE = 201
X, Y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
AREAS = {
    outlines.circle: np.pi,
    outlines.square: 1.8**2,
    outlines.triangle: 2.0,
    outlines.diamond: 2.0,
    outlines.star: 5 * 0.45 * np.sin(np.pi / 5),
    outlines.cross: 2 * 2 * 0.68 - 0.68**2,
    outlines.ring: np.pi * 0.75,
}


@pytest.mark.parametrize("outline", AREAS, ids=lambda outline: outline.__name__)
def test_outline_has_its_area_and_touches_its_frame(outline):
    inside = outline(X, Y)
    assert inside.mean() * 4 == pytest.approx(AREAS[outline], rel=0.03)
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    for line in (rows, columns):
        assert line[0] <= 0.1 * SIDE and line[-1] >= 0.89 * SIDE
    assert not outline(np.array([1.5]), np.array([-1.5]))[0]


def test_outlines_differ():
    drawn = [outline(X, Y) for outline in AREAS]
    for first in range(len(drawn)):
        for second in range(first):
            assert (drawn[first] != drawn[second]).mean() > 0.05
