import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detinv.results.reports.curves import curves_svg, loss_curves


def _rows(values: list[float]) -> list[dict[str, float]]:
    return [{"step": step, "batch": 0, "total": value} for step, value in enumerate(values)]


def _labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_loss_curves_average_batches_at_each_step() -> None:
    rows = [
        {"step": 5, "batch": 0, "total": 2.0, "box": 1.0},
        {"step": 0, "batch": 0, "total": 4.0},
        {"step": 0, "batch": 1, "total": 8.0},
        {"step": 5, "batch": 1, "total": math.nan, "box": 3.0},
    ]
    curves = {curve.term: curve.points for curve in loss_curves(rows)}
    assert curves == {"total": ((0, 6.0), (5, 2.0)), "box": ((5, 2.0),)}
    assert loss_curves([]) == []


def test_curves_svg_puts_values_where_they_belong() -> None:
    root = ElementTree.fromstring(curves_svg(loss_curves(_rows([0.0, 5.0, 10.0]))))
    line = root.find("polyline")
    assert line is not None
    (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split(",")) for p in line.attrib["points"].split())
    assert x0 < x1 < x2 and x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y1 > y2 and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)


def test_curves_svg_chooses_the_scale() -> None:
    assert "logarithmic" in curves_svg(loss_curves(_rows([100.0, 1.0, 0.01])))
    assert "linear" in curves_svg(loss_curves(_rows([3.0, 2.0, 1.0])))
    # A negative value has no logarithm.
    assert "linear" in curves_svg(loss_curves(_rows([100.0, 1.0, -0.01])))
    # On the logarithmic axis decades are equally far apart.
    root = ElementTree.fromstring(curves_svg(loss_curves(_rows([100.0, 1.0, 0.01]))))
    line = root.find("polyline")
    assert line is not None
    ys = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2)


def test_curves_svg_leaves_a_gap_where_there_is_no_logarithm() -> None:
    root = ElementTree.fromstring(curves_svg(loss_curves(_rows([100.0, 50.0, 0.0, 1.0, 0.5]))))
    assert len(root.findall("polyline")) == 2


def test_curves_svg_names_round_ticks() -> None:
    labels = _labels(curves_svg(loss_curves([{"step": s, "batch": 0, "total": 3 - s / 150} for s in range(0, 300, 5)])))
    assert {"0", "50", "100", "250", "step", "1", "2", "3"} <= set(labels)


def test_curves_svg_keeps_first_and_last_of_many_points() -> None:
    svg = curves_svg(loss_curves(_rows([1 + math.sin(k) for k in range(5001)])))
    assert len(svg) < 12_000
    root = ElementTree.fromstring(svg)
    line = root.find("polyline")
    assert line is not None and line.attrib["points"].startswith("64.0,") and " 848.0," in line.attrib["points"]


def test_curves_svg_escapes_terms() -> None:
    assert "<b>" not in curves_svg(loss_curves([{"step": 0, "batch": 0, "<b>": 1.0}]))


def test_curves_svg_of_nothing_is_nothing() -> None:
    assert curves_svg([]) == ""
    assert curves_svg(loss_curves(_rows([math.nan]))) == ""


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=8))
def test_curves_svg_stays_inside_for_any_values(values: list[float]) -> None:
    root = ElementTree.fromstring(curves_svg(loss_curves(_rows(values))))
    for line in root.findall("polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 860 and -0.1 <= y <= 300.1
    assert len(root.findall("text")) >= 3
