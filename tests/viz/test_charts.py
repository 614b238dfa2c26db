"""Charts: pictures that differ when the values do, whatever is missing."""

import math

import numpy as np
import pytest

from detinv.viz.charts import bars, heat_map, lines

NAN = math.nan
ROWS, COLUMNS = ("retinanet", "fcos"), ("a", "b", "c")
MATRIX = [[91.6, 59.4, 0.0], [56.2, 95.3, 100.0]]
BARS = {
    "texture": {"small": (10.0, 8.0, 13.0), "large": (60.0, 50.0, 70.0)},
    "outline": {"small": (80.0, 75.0, 90.0), "none": (5.0, 0.0, 9.0)},
}
LINES = {"one": [(16.0, (0.1, 0.0, 0.2)), (32.0, (0.5, 0.4, 0.6))], "two": [(16.0, (0.3, 0.2, 0.4))]}


def check(picture):
    height, width, channels = picture.shape
    assert picture.dtype == np.uint8 and channels == 3
    assert 60 < height < 2000 and 100 < width < 2500
    # Drawn on white, and something is drawn.
    assert (picture[0, 0] == 255).all()
    assert (picture < 128).any()
    return picture


def differ(first, second):
    return first.shape != second.shape or (first != second).any()


def test_heat_map_shows_its_values():
    picture = check(heat_map(MATRIX, ROWS, COLUMNS, title="t", row_title="by", column_title="of"))
    assert not differ(picture, heat_map(MATRIX, ROWS, COLUMNS, title="t", row_title="by", column_title="of"))
    other = [[91.7, *MATRIX[0][1:]], MATRIX[1]]
    assert differ(picture, heat_map(other, ROWS, COLUMNS, title="t", row_title="by", column_title="of"))
    assert differ(picture, heat_map(MATRIX, ROWS, COLUMNS, title="u", row_title="by", column_title="of"))
    assert differ(picture, heat_map(MATRIX, ("x", "y"), COLUMNS, title="t", row_title="by", column_title="of"))


def test_heat_map_s_colours_follow_the_limits():
    """Cells are coloured between the limits: the highest light, the lowest dark."""
    low, high = (heat_map([[value]], ["r"], ["c"]).mean() for value in (0.0, 100.0))
    assert high > low + 20
    assert heat_map([[1.0]], ["r"], ["c"], limits=(0.0, 1.0)).mean() > low + 20


def test_heat_map_leaves_cells_without_a_number_empty():
    missing = check(heat_map([[None, NAN, 50.0]], ["r"], COLUMNS))
    assert not differ(missing, heat_map([[NAN, None, 50.0]], ["r"], COLUMNS))
    assert (missing == 255).all(-1).mean() > (heat_map([[50.0] * 3], ["r"], COLUMNS) == 255).all(-1).mean() + 0.1


@pytest.mark.parametrize(("values", "rows", "columns"), [([], (), ()), ([[], []], ROWS, ()), ([], (), COLUMNS)])
def test_heat_map_without_a_cell_is_an_empty_picture(values, rows, columns):
    picture = heat_map(values, rows, columns)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3


def test_heat_map_refuses_numbers_that_do_not_fit_their_names():
    with pytest.raises(ValueError, match="2 rows of 3 numbers for 1 x 3 names"):
        heat_map(MATRIX, ["one"], COLUMNS)


def test_bars_show_values_and_intervals():
    picture = check(bars(BARS, title="t", value_title="%", limits=(0.0, 100.0), line=50.0))
    assert differ(picture, bars(BARS, title="t", value_title="%", limits=(0.0, 100.0)))
    for changed in ((60.0, 40.0, 70.0), (60.0, 50.0, 80.0), (61.0, 50.0, 70.0)):
        other = BARS | {"texture": BARS["texture"] | {"large": changed}}
        assert differ(picture, bars(other, title="t", value_title="%", limits=(0.0, 100.0), line=50.0))


def test_bars_stand_in_order_and_take_any_number():
    turned = {"texture": dict(reversed(BARS["texture"].items())), "outline": BARS["outline"]}
    assert differ(bars(BARS), bars(turned))
    for count in (1, 4, 12):
        check(bars({"only": {f"group {k}": (k - 3.0, k - 4.0, k - 2.5) for k in range(count)}}))


def test_bars_without_a_value_leave_a_gap():
    missing = check(bars({"a": {"x": (NAN, NAN, NAN), "y": (1.0, NAN, NAN), "z": (2.0, 1.0, NAN)}}))
    assert differ(missing, bars({"a": {"x": (1.0, NAN, NAN), "y": (1.0, NAN, NAN), "z": (2.0, 1.0, NAN)}}))
    check(bars({"a": {"x": (NAN, 0.0, 1.0)}}))
    check(bars({}))
    check(bars({"a": {}, "b": {}}))


@pytest.mark.parametrize("logarithmic", [False, True])
def test_lines_show_values_and_intervals(logarithmic):
    picture = check(lines(LINES, title="t", place_title="p", value_title="v", logarithmic=logarithmic))
    for changed in ((0.6, 0.4, 0.6), (0.5, 0.3, 0.6)):
        other = LINES | {"one": [LINES["one"][0], (32.0, changed)]}
        assert differ(picture, lines(other, title="t", place_title="p", value_title="v", logarithmic=logarithmic))


@pytest.mark.parametrize("logarithmic", [False, True])
def test_lines_without_a_value_have_a_gap(logarithmic):
    points = [(2.0, (0.5, 0.4, 0.6)), (4.0, (NAN, NAN, NAN)), (8.0, (0.1, NAN, NAN))]
    check(lines({"a": points, "b": []}, logarithmic=logarithmic))
    check(lines({"a": points[1:2]}, logarithmic=logarithmic))
    check(lines({}, logarithmic=logarithmic))


def test_places_are_marked_on_a_logarithmic_axis():
    assert differ(lines(LINES, logarithmic=True), lines(LINES))


def test_dollars_in_names_are_no_mathematics():
    """As such, these would be refused, or drawn without their dollars."""
    names = [r"$\frac$", "$10$"]
    drawn = heat_map([[1.0, 2.0], [3.0, 4.0]], names, names, title="$^$")
    assert drawn.shape[1] > 0
    assert not np.array_equal(drawn, heat_map([[1.0, 2.0], [3.0, 4.0]], [names[0], "10"], names, title="$^$"))
