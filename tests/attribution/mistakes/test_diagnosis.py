"""What is missed, by size and by crowding: counts, precision and advice."""

import json
from dataclasses import replace

import pytest
import torch

from detinv.attribution.mistakes.crowding import Crowding
from detinv.attribution.mistakes.diagnosis import Diagnosis, Outcome, diagnose
from detinv.attribution.mistakes.kinds import Thresholds
from detinv.attribution.mistakes.report import ErrorReport
from detinv.attribution.mistakes.stages import Stage
from detinv.detectors.load import load_detector
from detinv.layouts.layout import Layout
from detinv.worlds.plain import PlainWorld


def diagnosis(objects, large=(50.0, 60.0)):
    report = ErrorReport([], ("a", "b"), Thresholds())
    return Diagnosis(report, objects, {"all": (40.0, 50.0), "large": large})


def rows_of(found, name):
    (table,) = [table for table in found.tables() if table.name == name]
    return table.columns, {row[0]: row[1:] for row in table.rows}


def test_objects_are_counted_by_size_and_reason():
    sides = [5.0, 16.0, 17.0, 32.0, 33.0, 200.0]
    stages = [Stage.NO_ROW, None, Stage.LOW_SCORE, None, Stage.CLAIMED, None]
    found = diagnosis([Outcome(side, Crowding.ALONE, stage) for side, stage in zip(sides, stages, strict=True)])
    columns, rows = rows_of(found, "sizes")
    assert columns[3:] == (Stage.NO_ROW, Stage.OTHER_CLASS, Stage.LOW_SCORE, Stage.SUPPRESSED, Stage.CLAIMED)
    assert rows == {
        "up to 16 px": (2, 1, 1, 0, 0, 0, 0),
        "16 to 32 px": (2, 1, 0, 0, 1, 0, 0),
        "32 to 64 px": (1, 1, 0, 0, 0, 0, 1),
        "above 128 px": (1, 0, 0, 0, 0, 0, 0),
        "all": (6, 3, 1, 0, 1, 0, 1),
    }
    assert rows_of(found, "precision")[1] == {"all": (6, 40.0, 50.0), "larger than 32² px": (2, 50.0, 60.0)}


def test_large_and_small_objects_have_a_table_of_crowding_each():
    found = diagnosis(
        [
            Outcome(40.0, Crowding.SAME_ROW, Stage.OTHER_CLASS),
            Outcome(40.0, Crowding.ALONE, None),
            Outcome(20.0, Crowding.SAME_ROW, Stage.NO_ROW),
        ]
    )
    assert rows_of(found, "crowding_large")[1]["wants the row of another"] == (1, 1, 0, 1, 0, 0)
    assert rows_of(found, "crowding_small")[1] == {
        "wants the row of another": (1, 1, 1, 0, 0, 0),
        "all": (1, 1, 1, 0, 0, 0),
    }


def test_boxes_that_do_not_fit_are_told():
    one = Outcome(40.0, Crowding.ALONE, None)
    (advice,) = diagnosis([one], (44.0, 92.0)).advice()
    assert "AP50 is 92 and AP 44" in advice and "preset.objective.weights.reg" in advice
    (advice,) = replace(diagnosis([one], (44.0, 92.0)), inverted=False).advice()
    assert advice.endswith("AP50 is 92 and AP 44: they are found, but their boxes do not fit.")
    assert diagnosis([one], (85.0, 95.0)).advice() == []
    assert diagnosis([one], (5.0, 10.0)).advice() == []


@pytest.mark.parametrize("stage", list(Stage))
def test_the_most_frequent_reason_is_told(stage):
    other = Outcome(40.0, Crowding.ALONE, next(one for one in Stage if one != stage))
    (advice,) = diagnosis([other] + [Outcome(40.0, Crowding.ALONE, stage)] * 2, (90.0, 95.0)).advice()
    assert advice.startswith(f"Most often, {stage}: 2 of 3 missed objects.")


def test_a_detector_and_scenes_it_reads():
    scene = PlainWorld(seed=5).scene(0)
    detector = load_detector("shapes_fcos")
    nothing = Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), scene.layout.image_size, "nothing")
    wrong = Layout(scene.layout.boxes, (scene.layout.labels + 1) % 5, scene.layout.image_size, "wrong")
    images = [scene.image] * 3
    seen = []
    found = diagnose(detector, images, [scene.layout, nothing, wrong], track=lambda numbers: seen.append(1) or numbers)
    right, lost = found.objects[: len(scene.layout)], found.objects[len(scene.layout) :]
    assert seen == [1]
    assert [one.stage for one in right] == [None] * len(scene.layout)
    assert {one.stage for one in lost} == {Stage.OTHER_CLASS}
    box = scene.layout.boxes[0]
    assert right[0].side == pytest.approx(float((box[2] - box[0]) * (box[3] - box[1])) ** 0.5)
    entries = json.loads(json.dumps(found.entries()))
    assert [entry["layout"] for entry in entries] == [scene.layout.id, "nothing", "wrong"]
    assert entries[2]["objects"][0]["stage"] == "another class won"
    assert {"side", "crowding"} <= entries[0]["objects"][0].keys()
    assert found.numbers()["missed"] == len(scene.layout)
