"""Figure 12: energy outside the box, agreement of a second detector, and sums over images of each side."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from detinv.errors import ConfigError
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject
from detinv.experiments.paper.context import Context
from detinv.experiments.paper.position import Position
from detinv.experiments.paper.scale import Measured, Scale, agrees, area_outside, energy_outside, summarised
from detinv.metrics.intervals import wilson
from detinv.results.reports.write_findings import write_findings
from tests.experiments.central_fakes import OBJECTS, bench_of

BOX = (8.0, 4.0, 24.0, 20.0)
GREY = torch.full((3,), 100 / 255)


def target(score=0.9, box=BOX):
    return TargetedObject("dog-0", "dog", BOX, BOX, box, score)


def test_energy_outside_is_that_of_a_loop_over_pixels():
    image = torch.randint(256, (3, 24, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    box, colour = (5.3, 2.0, 20.5, 17.6), torch.tensor([0.2, 0.5, 0.4])
    outside = whole = 0.0
    for y in range(24):
        for x in range(32):
            energy = sum((int(image[c, y, x]) / 255 - float(colour[c])) ** 2 for c in range(3))
            whole += energy
            if not (box[0] <= x + 0.5 < box[2] and box[1] <= y + 0.5 < box[3]):
                outside += energy
    assert energy_outside(image, box, colour) == pytest.approx(outside / whole)


def test_energy_lies_where_the_image_differs():
    image = torch.full((3, 24, 32), 100, dtype=torch.uint8)
    assert math.isnan(energy_outside(image, BOX, GREY))
    image[:, 10, 10] = 200
    assert energy_outside(image, BOX, GREY) == pytest.approx(0, abs=1e-9)
    image[:, 0, 0] = 200
    assert energy_outside(image, BOX, GREY) == pytest.approx(0.5)
    assert area_outside(BOX, (24, 32)) == pytest.approx(1 - 256 / (24 * 32))


@pytest.mark.parametrize(
    ("name", "box", "agreed"),
    [("dog", (9.0, 4.0, 24.0, 20.0), True), ("cat", BOX, False), ("dog", (20.0, 4.0, 36.0, 20.0), False)],
)
def test_a_second_detector_agrees_on_class_and_place(name, box, agreed):
    assert agrees(target(), [NamedDetection("cat", 0.9, BOX), NamedDetection(name, 0.8, box)]) is agreed
    assert not agrees(target(), [])
    assert not agrees(target(box=(math.nan,) * 4), [NamedDetection(name, 0.8, box)])


def test_summaries_are_means_and_shares():
    images = [
        Measured(target(0.8), 2, True, 0.5, 0.75),
        Measured(target(1.0), 0, False, 0.3, 0.75),
        Measured(target(0.9), 1, True, math.nan, 0.75),
    ]
    found = summarised(images)
    assert found.images == 3
    assert found.score.value == pytest.approx(0.9)
    assert found.context.value == pytest.approx(1)
    assert found.agreed == wilson(2, 3)
    assert found.energy_outside.value == pytest.approx(0.4)
    assert found.density.value == pytest.approx(0.4 / 0.75)
    assert summarised([Measured(target(), 0, None, 0.5, 0.0)]).agreed is None


def test_a_run_measures_every_side(tmp_path):
    bench = bench_of(tmp_path, ["retinanet", "fcos"])
    findings = Scale(OBJECTS, sides=[30, 16, 16], judge="fcos").run(bench)
    by_side = findings.numbers["by_side"]
    assert list(by_side["retinanet"]) == ["class0", "class1", "class2", "all"]
    assert list(by_side["retinanet"]["all"]) == ["16", "30"]
    assert by_side["retinanet"]["all"]["16"]["images"] == 9
    # No detector is its own second opinion.
    assert by_side["fcos"]["all"]["16"]["agreed"] is None
    assert by_side["retinanet"]["all"]["16"]["agreed"] is not None
    # The larger the box, the less lies outside of it, for images of one kind.
    energies = [by_side["retinanet"]["all"][side]["energy_outside"].value for side in ("16", "30")]
    assert energies[0] > energies[1]
    assert {figure.name for figure in findings.figures} >= {"by_side_context", "by_side_agreed", "sides_retinanet"}
    assert write_findings(findings, tmp_path / "out", "", Scale.title, {}).is_file()


def test_without_a_judge_there_is_no_agreement(tmp_path):
    findings = Scale(OBJECTS, sides=[16]).run(bench_of(tmp_path, ["retinanet"]))
    assert "by_side_agreed" not in {figure.name for figure in findings.figures}
    assert findings.decided["second detector"] == "none"


def test_sides_that_do_not_fit_are_refused_before_anything_is_inverted(tmp_path):
    bench = bench_of(tmp_path, ["retinanet"])
    with pytest.raises(ConfigError, match="makes a box of 100 x 100"):
        Scale(OBJECTS, sides=[16, 100]).check(bench)
    assert not hasattr(bench, "asked")
    with pytest.raises(ConfigError, match="sides"):
        Scale(OBJECTS, sides=[])


@pytest.mark.parametrize("experiment", [partial(Scale, sides=[16]), Context, Position])
def test_a_judge_that_lacks_a_target_class_is_refused_before_anything_is_inverted(tmp_path, experiment):
    bench = bench_of(tmp_path, ["retinanet", "fcos"])
    bench.detector("fcos").class_names = ("class0", "class1", "other")
    with pytest.raises(ConfigError, match="judge=fcos: it does not know retinanet's class 'class2'; choose another"):
        experiment(OBJECTS, judge="fcos").check(bench)
    experiment(replace(OBJECTS, classes=["class0"]), judge="fcos").check(bench)
    assert not hasattr(bench, "asked")
