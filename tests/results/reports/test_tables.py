import math
import re
from collections.abc import Callable
from dataclasses import replace

from detinv.results.reports.curves import loss_curves
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.tables import class_table, curve_table, metrics_table, tiles, versions_table


def _cells(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_class_table_counts_per_class(sample: Callable[..., InversionResult]) -> None:
    result = sample(6)
    # The first image's detections are lost: its objects are not found.
    lost = result.detections[0].above(2.0)
    result = replace(result, member_detections={"tiny": [lost, *result.detections[1:]]})
    rows = {row[0]: row[1:] for row in _cells(class_table(result))[1:]}
    for label, name in enumerate(result.class_names):
        objects = sum(int((layout.labels == label).sum()) for layout in result.layouts)
        missing = int((result.layouts[0].labels == label).sum())
        if objects:
            assert rows[name][:3] == [str(objects), str(objects - missing), "0"]
        else:
            assert name not in rows


def test_metrics_table_leaves_classes_and_versions_to_their_own_tables() -> None:
    rows = _cells(metrics_table({"AP": 80, "AP/ring": 1.0, "APl": math.nan, "seed": 3, "versions": {}, "<x>": "<y>"}))
    assert [row[:2] for row in rows[1:]] == [
        ["AP", "80.0"],
        ["APl", "&ndash;"],
        ["seed", "3"],
        ["&lt;x&gt;", "&lt;y&gt;"],
    ]


def test_tiles_show_what_there_is() -> None:
    text = re.sub("<[^>]*>", " ", tiles({"AP": 95.25, "objects": 12, "redetected": 11, "seconds": 41.98}))
    assert text.split() == ["AP", "95.2", "objects", "found", "11", "of", "12", "time", "42.0", "s"]
    assert tiles({}) == ""


def test_curve_table_gives_first_and_final_values() -> None:
    losses = [{"step": 0, "batch": 0, "box": 4.0}, {"step": 9, "batch": 0, "box": 0.12345678}]
    assert _cells(curve_table(loss_curves(losses)))[1] == ["box", "4", "0.1235"]


def test_versions_table_is_empty_without_versions() -> None:
    assert versions_table({}) == ""
    assert _cells(versions_table({"versions": {"torch": "2.11"}}))[1] == ["torch", "2.11"]
