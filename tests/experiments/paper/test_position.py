"""Figure 11: signs of centre differences, measured from the target object where it is seen."""

import pytest

from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject
from detinv.experiments.paper.position import ANCHOR, DETECTION, Offset, Position, Sides, by_name, offsets, sides
from detinv.metrics.intervals import binomial_p
from detinv.results.reports.write_findings import write_findings
from tests.experiments.central_fakes import OBJECTS, bench_of

MIDDLE = (50.0, 50.0, 78.0, 78.0)


def target():
    return TargetedObject("bulb-0", "bulb", MIDDLE, MIDDLE, MIDDLE, 0.98)


def at(name, x, y, score=0.9, half=6.0):
    return NamedDetection(name, score, (x - half, y - half, x + half, y + half))


def test_offsets_are_measured_from_the_seen_object_or_else_from_the_anchor():
    cap = at("cap", 60, 30)
    seen = offsets(target(), [at("bulb", 60, 66, half=14), cap])
    assert seen == [Offset("cap", 0, -36, DETECTION)]
    assert offsets(target(), [cap]) == [Offset("cap", -4, -34, ANCHOR)]


def test_of_each_class_the_most_certain_detection_counts_or_all_of_them():
    seen = [at("bulb", 64, 64, half=14), at("peg", 90, 64, 0.9), at("cap", 64, 30, 0.8), at("peg", 30, 64, 0.7)]
    assert [(one.name, one.x) for one in offsets(target(), seen)] == [("peg", 26), ("cap", 0)]
    assert [(one.name, one.x) for one in offsets(target(), seen, once=False)] == [("peg", 26), ("cap", 0), ("peg", -34)]


def test_sides_count_signs_and_pass_over_what_lies_level():
    found = [Offset("cap", x, y, DETECTION) for x, y in ((-3, -20), (2, -25), (0, -30), (1, 4), (0, 0))]
    assert sides(found) == Sides(above=3, below=1, left=1, right=2)
    assert sides([]) == Sides(0, 0, 0, 0)


def test_offsets_are_grouped_with_the_most_frequent_class_first():
    found = [Offset(name, 0, 0, ANCHOR) for name in ("foot", "cap", "cap")]
    assert [(name, len(mine)) for name, mine in by_name(found).items()] == [("cap", 2), ("foot", 1)]


@pytest.mark.parametrize("once", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_reports_both_axes_with_their_tests(tmp_path, once):
    bench = bench_of(tmp_path, ["fcos"])
    findings = Position(OBJECTS, once=once, least=1).run(bench)
    counted = 0
    for name in ("class0", "class1", "class2"):
        runs = zip(OBJECTS.targeted(bench, "fcos", name), OBJECTS.detections(bench, "fcos", name), strict=True)
        wanted = [offset for pair in runs for offset in offsets(*pair, once=once)]
        for other, reported in findings.numbers["sides"]["fcos"][name].items():
            mine = sides([one for one in wanted if one.name == other])
            assert (reported["above"], reported["below"]) == (mine.above, mine.below)
            assert (reported["left"], reported["right"]) == (mine.left, mine.right)
            assert reported["above_p"] == binomial_p(mine.above, mine.above + mine.below)
            counted += 1
        assert len(findings.numbers["offsets"]["fcos"][name]) == len(wanted)
    assert counted
    assert sum(findings.numbers["measured_from"]["fcos"].values()) == sum(
        map(len, findings.numbers["offsets"]["fcos"].values())
    )
    assert {table.name for table in findings.tables} == {"vertical", "horizontal"}
    assert {figure.name for figure in findings.figures} == {"positions_fcos", "sides_fcos"}
    assert write_findings(findings, tmp_path / "out", "", Position.title, {}).is_file()
