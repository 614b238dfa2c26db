"""Objects at the centre: where they lie, which candidate is the target, and what is kept of the images."""

import math

import pytest
import torch

from detinv.detectors.candidates import read_candidates
from detinv.errors import ConfigError, LayoutError
from detinv.experiments.common import central
from detinv.experiments.common.central import CentralObjects, targeted_rows
from detinv.experiments.common.setup import ExperimentSetup
from detinv.inversion.preset import load_preset
from detinv.inversion.targets.single import SingleObjectRule
from detinv.zoo.weights import weight_hash
from tests.experiments.central_fakes import OBJECTS, SIZE, bench_of
from tests.fakes import block_image, tiny_detector


@pytest.mark.parametrize(("side", "aspect"), [(20.0, 1.0), (24.0, 2.0), (16.0, 0.5)])
def test_boxes_have_the_side_and_aspect_asked_for_and_lie_in_the_centre(side, aspect):
    objects = CentralObjects(seeds=2, side=side, aspect=aspect, image_size=SIZE)
    layouts = objects.layouts(tiny_detector("retinanet"), "class1")
    assert [layout.id for layout in layouts] == ["class1-0", "class1-1"]
    for layout in layouts:
        x0, y0, x1, y1 = layout.boxes[0].tolist()
        assert math.sqrt((x1 - x0) * (y1 - y0)) == pytest.approx(side)
        assert (y1 - y0) / (x1 - x0) == pytest.approx(aspect)
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((32, 32))
        assert layout.labels.tolist() == [1]


def test_sides_are_pixels_of_the_networks_input():
    layout = CentralObjects(side=20, image_size=(128, 128)).layouts(tiny_detector("retinanet"), "class0")[0]
    assert layout.image_size == SIZE
    assert layout.boxes[0].tolist() == [22, 22, 42, 42]


def test_what_cannot_be_asked_for_is_refused():
    detector = tiny_detector("retinanet")
    with pytest.raises(ConfigError, match="does not fit|makes a box"):
        CentralObjects(side=60, aspect=2, image_size=SIZE).layouts(detector, "class0")
    with pytest.raises(LayoutError, match="did you mean 'class0'"):
        CentralObjects(classes=["clas0"]).names(detector)
    for options in ({"seeds": 0}, {"side": 0.0}, {"aspect": -1.0}, {"classes": []}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            CentralObjects(**options)
    with pytest.raises(ConfigError, match="encoder_positive"):
        CentralObjects(terms=["encoder_positive"]).preset(load_preset("default"))
    with pytest.raises(ConfigError, match="positive"):
        CentralObjects(terms=["positiv"]).preset(load_preset("default"))


def test_only_the_named_terms_are_kept():
    preset = CentralObjects(terms=["positive", "rpn_cls"]).preset(load_preset("default"))
    assert set(preset.objective.weights) == {"positive", "rpn_cls"}
    assert isinstance(preset.rule, SingleObjectRule)


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd"])
def test_target_rows_are_those_training_gives_first_and_their_anchors_are_stored(tmp_path, family):
    bench = bench_of(tmp_path, [family])
    detector = bench.detector(family)
    layouts = OBJECTS.layouts(detector, "class2")
    images = [block_image(SIZE, seed) for seed in range(3)]
    rows = targeted_rows(detector, bench.preset, images, layouts)
    with torch.no_grad():
        head = detector(torch.rand(1, 3, *SIZE)).dense.head
    wanted = head.assigner.assign(
        head.anchors, head.level_sizes, layouts[0].boxes[None], torch.ones(1, 1, dtype=torch.bool)
    )
    assert [row.tolist() for row in rows] == [[int(wanted.candidates[0, 0, 0])]] * 3
    for one in OBJECTS.targeted(bench, family, "class2"):
        assert torch.tensor(one.anchor).allclose(head.anchors[rows[0][0]])


def test_numbers_are_those_of_the_saved_images(tmp_path):
    bench = bench_of(tmp_path, ["fasterrcnn"])
    detector = bench.detector("fasterrcnn")
    found = OBJECTS.targeted(bench, "fasterrcnn", "class1")
    layouts, images = OBJECTS.layouts(detector, "class1"), OBJECTS.images(bench, "fasterrcnn", "class1")
    assert targeted_rows(detector, bench.preset, images, layouts) is None
    for one, layout, image in zip(found, layouts, images, strict=True):
        read = read_candidates(detector, image, layout.boxes, layout.labels)
        assert one.anchor == one.asked == tuple(layout.boxes[0].tolist())
        assert one.score == pytest.approx(float(read.scores[0]), abs=1e-5)
        assert one.box == pytest.approx(read.boxes[0].tolist(), abs=1e-3)
        assert (one.id, one.name) == (layout.id, "class1")


def test_what_is_seen_are_the_readers_own_detections(tmp_path):
    bench = bench_of(tmp_path, ["retinanet", "fcos"])
    images = OBJECTS.images(bench, "retinanet", "class0")
    for judge in (None, "fcos"):
        detector = bench.detector(judge or "retinanet")
        found = OBJECTS.detections(bench, "retinanet", "class0", judge)
        wanted = [one.above(0.5) for one in detector.detect(images)]
        assert [len(seen) for seen in found] == [len(one) for one in wanted]
        for seen, one in zip(found, wanted, strict=True):
            assert sorted(sighting.name for sighting in seen) == sorted(
                detector.class_names[label] for label in one.labels.tolist()
            )
    assert sum(map(len, OBJECTS.detections(bench, "retinanet", "class0", "fcos")))


@pytest.mark.parametrize("path", ["/home/me/mine.yaml", "../mine.yaml", "./mine.yaml"])
def test_the_judge_may_be_named_by_its_file(tmp_path, path):
    bench = bench_of(tmp_path, ["retinanet", "fcos"])
    bench.detectors[path] = bench.detector("fcos")
    found = OBJECTS.detections(bench, "retinanet", "class0", path)
    assert found == OBJECTS.detections(bench, "retinanet", "class0", "fcos") != []


def test_finished_parts_are_not_computed_again(tmp_path, monkeypatch):
    first = bench_of(tmp_path, ["retinanet"])
    before = OBJECTS.targeted(first, "retinanet", "class0"), OBJECTS.detections(first, "retinanet", "class0")
    second = bench_of(tmp_path, ["retinanet"])
    computed = []
    monkeypatch.setattr(second, "detect", lambda *args: computed.append(args))
    monkeypatch.setattr(central, "read_candidates_batch", lambda *args: computed.append(args) or [])
    assert OBJECTS.targeted(second, "retinanet", "class0") == before[0]
    assert OBJECTS.detections(second, "retinanet", "class0") == before[1]
    assert not computed


def test_other_images_are_looked_up_again(tmp_path):
    """The same class and folder, but the images have changed: candidate and detections are those of the new images."""
    first, messages = bench_of(tmp_path, ["retinanet"]), []
    before = OBJECTS.targeted(first, "retinanet", "class0"), OBJECTS.detections(first, "retinanet", "class0")
    second = bench_of(tmp_path, ["retinanet"], log=messages.append)
    second.invert = lambda key, label, layouts, *args: [block_image(SIZE, 1000 + k) for k in range(len(layouts))]
    after = OBJECTS.targeted(second, "retinanet", "class0"), OBJECTS.detections(second, "retinanet", "class0")
    assert before[0] != after[0] and before[1] != after[1]
    key = OBJECTS.key(second, "retinanet", "class0")
    assert messages == [
        f"targeted/{key}: computed again; changed: images",
        f"detections/{key}/retinanet: computed again; changed: images",
    ]


def test_images_of_the_first_seeds_are_the_same_files(tmp_path):
    bench = bench_of(tmp_path, ["retinanet"], ExperimentSetup, steps=1)
    before = weight_hash(bench.detector("retinanet"))
    everything = OBJECTS.images(bench, "retinanet", "class0")
    files = sorted(tmp_path.rglob("*.png"))
    assert [file.name for file in files] == ["class0-0.png", "class0-1.png", "class0-2.png"]
    assert torch.equal(OBJECTS.images(bench, "retinanet", "class0", 1)[0], everything[0])
    assert sorted(tmp_path.rglob("*.png")) == files
    assert weight_hash(bench.detector("retinanet")) == before
    assert not torch.equal(everything[0], everything[1])
