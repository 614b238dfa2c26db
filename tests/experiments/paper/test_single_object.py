"""Figures 8 and 9: shares of sure and of seen objects, and what a run leaves behind."""

from dataclasses import replace

import pytest

from detinv.errors import ConfigError
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.single_object import SingleObject, seen_share, sure_share
from detinv.metrics.intervals import wilson
from detinv.results.reports.write_findings import write_findings
from tests.experiments.central_fakes import OBJECTS, SIZE, bench_of

BOX = (20.0, 20.0, 40.0, 40.0)


def run(score, *seen):
    return TargetedObject("dog-0", "dog", BOX, BOX, BOX, score), [NamedDetection(*one) for one in seen]


def test_shares_count_images():
    runs = [
        run(0.95, ("dog", 0.9, BOX), ("dog", 0.8, BOX)),
        run(0.9, ("cat", 0.9, BOX)),
        run(0.91, ("dog", 0.9, (0.0, 0.0, 10.0, 10.0))),
    ]
    assert sure_share(runs) == wilson(2, 3)
    assert seen_share(runs) == wilson(1, 3)


def test_every_class_and_seed_is_reported(tmp_path):
    bench = bench_of(tmp_path, ["retinanet", "maskrcnn"])
    findings = SingleObject(OBJECTS, examples=2).run(bench)
    for label in ("retinanet", "maskrcnn"):
        images = findings.numbers["images"][label]
        assert [one["id"] for one in images] == [f"class{k}-{seed}" for k in range(3) for seed in range(3)]
        sure = sum(one["score"] > 0.9 for one in images)
        assert findings.numbers["sure"][label] == wilson(sure, 9)
        assert set(findings.numbers["sure_by_class"][label]) == {"class0", "class1", "class2"}
    by_name = {table.name: table for table in findings.tables}
    assert len(by_name["classes"].rows) == 6
    assert len(by_name["images"].rows) == 18
    assert {figure.name for figure in findings.figures} == {"sure", "objects_retinanet", "objects_maskrcnn"}
    assert write_findings(findings, tmp_path / "out", "", SingleObject.title, {}).is_file()


def test_images_are_inverted_with_the_terms_asked_for(tmp_path):
    bench = bench_of(tmp_path, ["fasterrcnn"], ExperimentSetup, steps=2)
    objects = CentralObjects(seeds=2, side=20, image_size=SIZE, classes=["class1"], terms=["roi_cls", "rpn_cls"])
    findings = SingleObject(objects).run(bench)
    assert len(list(tmp_path.rglob("*.png"))) == 2
    assert [one["name"] for one in findings.numbers["images"]["fasterrcnn"]] == ["class1"] * 2
    assert "rpn_cls" in findings.decided["maximised"]
    anchors = {tuple(one["anchor"]) for one in findings.numbers["images"]["fasterrcnn"]}
    assert anchors == {(22.0, 22.0, 42.0, 42.0)}


def test_no_picture_is_made_where_none_is_asked_for(tmp_path):
    objects = replace(OBJECTS, classes=["class0"])
    findings = SingleObject(objects, examples=0).run(bench_of(tmp_path, ["retinanet"]))
    assert [figure.name for figure in findings.figures] == ["sure"]
    with pytest.raises(ConfigError, match="examples"):
        SingleObject(objects, examples=-1)
