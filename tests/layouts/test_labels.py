"""Class names to numbers."""

import pytest

from detinv.errors import LayoutError
from detinv.layouts.labels import label_of

NAMES = ("circle", "square", "traffic light")


def test_label_is_the_position():
    assert [label_of(name, NAMES, "here") for name in NAMES] == [0, 1, 2]


@pytest.mark.parametrize(("wrong", "right"), [("sqare", "square"), ("Circle", "circle"), ("trafic_light", "traffic")])
def test_nearest_name_is_suggested(wrong, right):
    with pytest.raises(LayoutError, match=f"^here: unknown class '{wrong}'; did you mean '{right}"):
        label_of(wrong, NAMES, "here")


def test_nothing_is_suggested_when_nothing_is_near():
    with pytest.raises(
        LayoutError, match=r"unknown class 'zebra' \(the detector knows circle, square, traffic light\)"
    ):
        label_of("zebra", NAMES, "here")


def test_long_lists_are_cut():
    with pytest.raises(LayoutError, match=r"c8, c9, \.\.\.\)"):
        label_of("zebra", [f"c{number}" for number in range(90)], "here")


@pytest.mark.parametrize(
    ("other", "name"),
    [("motorbike", "motorcycle"), ("aeroplane", "airplane"), ("sofa", "couch"), ("tvmonitor", "tv")],
)
def test_other_names_of_cocos_classes(other, name):
    assert label_of(other, ("person", name), "here") == label_of(name, ("person", other), "here") == 1
    assert label_of(other, (name, other), "here") == 1, "the detector's own name comes first"
