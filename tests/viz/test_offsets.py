"""Panels of offsets: pictures that differ when the places do."""

import numpy as np
import pytest

from detinv.viz.offsets import offset_panels

NAMES = ("bulb", "cap", "foot")
FOUND = {"bulb": {"cap": [(0.0, -25.0), (3.0, -22.0)]}, "cap": {}}


def test_places_names_and_subjects_show():
    picture = offset_panels(FOUND, NAMES, 64)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert (picture == offset_panels(FOUND, NAMES, 64)).all()
    below = {"bulb": {"cap": [(0.0, 25.0), (3.0, 22.0)]}, "cap": {}}
    named = {"bulb": {"foot": FOUND["bulb"]["cap"]}, "cap": {}}
    for other in (below, named, {"ball": FOUND["bulb"], "cap": {}}):
        changed = offset_panels(other, NAMES, 64)
        assert changed.shape != picture.shape or (changed != picture).any()


def test_up_is_up():
    points = [(0.0, -25.0)] * 2
    picture = offset_panels({"bulb": {"cap": points}}, NAMES, 64).astype(int)
    blue = np.abs(picture - (86, 180, 233)).sum(-1) < 60
    panel = blue[: round(0.75 * len(blue))]
    rows = np.nonzero(panel.any(1))[0]
    assert rows.mean() < 0.5 * len(panel)


def test_many_subjects_take_several_rows_and_none_is_an_error():
    one, many = (offset_panels({str(k): {} for k in range(count)}, NAMES, 64) for count in (1, 9))
    assert many.shape[0] > 2 * one.shape[0] and many.shape[1] > 2 * one.shape[1]
    with pytest.raises(ValueError, match="subject"):
        offset_panels({}, NAMES, 64)
