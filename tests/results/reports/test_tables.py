import math
from collections.abc import Callable
from dataclasses import replace

from detinv.results.reports.curves import loss_curves
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.page_table import PageTable, number_text, percent_text
from detinv.results.reports.tables import Tile, class_table, curve_table, metrics_table, tiles


def _cells(table: PageTable) -> list[list[str]]:
    """Texts of the rows, without the headings; each row has a cell for each heading."""
    assert all(len(row) == len(table.headings) for row in table.rows)
    return [[cell.text for cell in row] for row in table.rows]


def test_class_table_counts_per_class(sample: Callable[..., InversionResult]) -> None:
    result = sample(6)
    # The first image's detections are lost: its objects are not found.
    lost = result.detections[0].above(2.0)
    result = replace(result, member_detections={"tiny": [lost, *result.detections[1:]]})
    rows = {row[0]: row[1:] for row in _cells(class_table(result))}
    for label, name in enumerate(result.class_names):
        objects = sum(int((layout.labels == label).sum()) for layout in result.layouts)
        missing = int((result.layouts[0].labels == label).sum())
        if objects:
            assert rows[name][:3] == [str(objects), str(objects - missing), "0"]
        else:
            assert name not in rows


def test_metrics_table_leaves_classes_and_versions_to_their_own_tables() -> None:
    rows = _cells(metrics_table({"AP": 80, "AP/ring": 1.0, "APl": math.nan, "seed": 3, "versions": {}, "<x>": "<y>"}))
    assert [row[:2] for row in rows] == [
        ["AP", "80.0"],
        ["APl", "\N{EN DASH}"],
        ["seed", "3"],
        ["<x>", "<y>"],
    ]


def test_tiles_show_what_there_is() -> None:
    found = tiles({"AP": 95.25, "objects": 12, "redetected": 11, "seconds": 41.98})
    assert found == [Tile("AP", "95.2"), Tile("objects found", "11", "of 12"), Tile("time", "42.0", "s")]
    assert tiles({}) == []


def test_curve_table_gives_first_and_final_values() -> None:
    losses = [{"step": 0, "batch": 0, "box": 4.0}, {"step": 9, "batch": 0, "box": 0.12345678}]
    assert _cells(curve_table(loss_curves(losses)))[0] == ["box", "4", "0.1235"]


def test_numbers_are_short_and_keep_their_meaning() -> None:
    values = [None, math.nan, 3, 3.0, 0.12345, 41.98, 1e20, math.inf, True, "word"]
    texts = ["\N{EN DASH}", "\N{EN DASH}", "3", "3", "0.123", "42.0", "100000000000000000000.0", "inf", "True", "word"]
    assert [number_text(value) for value in values] == texts
    assert [percent_text(value) for value in (99, 0.04, math.nan, None)] == [
        "99.0",
        "0.0",
        "\N{EN DASH}",
        "\N{EN DASH}",
    ]
