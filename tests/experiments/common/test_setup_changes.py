"""What is finished is made again when anything that it depends on has changed, and a line says what."""

import json

import pytest
import torch
from PIL import Image

from detinv.experiments.common import setup
from detinv.inversion.preset import load_preset
from detinv.layouts.sources import FileLayouts
from detinv.results.io.images import read_image
from tests.experiments.setups import SIZE, classes_only, same, setup_of
from tests.fakes import tiny_detector


def test_an_edited_layout_file_is_inverted_anew(tmp_path, painted):
    """The same path and folder: only the image whose layout has changed is out of date, and the log says so."""
    path, messages = tmp_path / "mine.json", []

    def images(x):
        boxes = {"first": [4, 4, 30, 30], "second": [x, 4, 60, 60]}
        layouts = [{"id": name, "objects": [{"label": "class0", "box": box}]} for name, box in boxes.items()]
        path.write_text(json.dumps({"layouts": layouts}))
        one = setup_of(tmp_path, source=FileLayouts(path, SIZE), batch_size=1, log=messages.append)
        return one.invert("a", "retinanet", one.layouts("retinanet"))

    before = images(10)
    del painted[:], messages[:]
    assert same(images(10), before) and not painted and not messages
    after = images(20)
    assert torch.equal(after[0], before[0]) and not torch.equal(after[1], before[1])
    assert painted == ["second"]
    assert messages == ["a: 1 of 2 images are made again; changed: layout", "a: inverting retinanet, batch 2 of 2"]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"steps": 3}, "steps"),
        ({"seed": 1}, "seed"),
        ({"preset": classes_only(load_preset())}, "preset"),
        ({"trainer": {"accelerator": "cpu", "precision": "bf16-mixed"}}, "precision"),
        ({"compile_mode": "default"}, "compile_mode"),
        ({"trainer": {"accelerator": "cpu", "precision": "32"}}, ""),
        ({"batch_size": 1}, ""),
    ],
)
def test_images_made_with_other_settings_are_made_again(tmp_path, painted, options, changed):
    first, messages = setup_of(tmp_path), []
    layouts = first.layouts("retinanet")
    before = first.invert("a", "retinanet", layouts)
    del painted[:]
    after = setup_of(tmp_path, log=messages.append, **options).invert("a", "retinanet", layouts)
    assert same(after, before) is not bool(changed)
    assert painted == ([layout.id for layout in layouts] if changed else [])
    assert messages[:1] == ([f"a: 3 of 3 images are made again; changed: {changed}"] if changed else [])


@pytest.mark.parametrize("change", ["weights", "option", "buffer", "classes"])
def test_images_of_a_detector_that_has_changed_are_made_again(tmp_path, painted, change):
    first, other = setup_of(tmp_path), setup_of(tmp_path)
    detector = other.detectors["retinanet"]
    if change == "weights":
        next(detector.parameters()).data.view(-1)[0] += 1e-3
    elif change == "option":
        detector.model.score_thresh += 0.01
    elif change == "buffer":
        detector.pixel_mean += 0.01
    else:
        detector.class_names = tuple(reversed(detector.class_names))
    layouts = first.layouts("retinanet")[:1]
    first.invert("a", "retinanet", layouts)
    other.invert("a", "retinanet", layouts)
    assert painted == [layouts[0].id] * 2


def test_images_made_by_another_release_are_made_again(tmp_path, painted, monkeypatch):
    first, messages = setup_of(tmp_path), []
    layouts = first.layouts("retinanet")[:1]
    first.invert("a", "retinanet", layouts)
    monkeypatch.setattr(setup, "package_versions", lambda: {"detinv": "next", "torch": "next"})
    setup_of(tmp_path, log=messages.append).invert("a", "retinanet", layouts)
    assert len(painted) == 2
    assert messages[0].startswith("a: 1 of 1 images are made again; changed: detinv, ")


@pytest.mark.parametrize("content", ["an image without a record", "half a file"])
def test_images_that_do_not_say_how_they_were_made_are_made_again(tmp_path, painted, content):
    first, messages = setup_of(tmp_path), []
    layouts = first.layouts("retinanet")[:1]
    first.invert("a", "retinanet", layouts)
    (path,) = (tmp_path / "images" / "a").iterdir()
    if content == "half a file":
        path.write_bytes(path.read_bytes()[:-400])
    else:
        Image.new("RGB", SIZE).save(path)
    found = setup_of(tmp_path, log=messages.append).invert("a", "retinanet", layouts)
    assert len(painted) == 2 and torch.equal(found[0], read_image(path))
    assert messages[0].startswith("a: 1 of 1 images are made again; changed: everything")


def test_joint_images_of_other_detectors_are_made_again(tmp_path, painted):
    messages = []
    for families in (("retinanet", "fcos"), ("retinanet", "fasterrcnn")):
        one = setup_of(tmp_path, families, log=messages.append)
        one.invert_jointly("joint", one.layouts("retinanet")[:1])
    assert len(painted) == 2
    assert messages[1] == "joint: 1 of 1 images are made again; changed: detector fasterrcnn, detector fcos"


def test_values_depend_on_their_judges(tmp_path):
    """A table is computed again when a judge has changed, and the log names the judge."""
    messages, computed = [], []
    for seed in (0, 0, 1):
        one = setup_of(tmp_path, ("retinanet", "fcos"), log=messages.append)
        one.detectors["fcos"] = tiny_detector("fcos", seed=seed)
        one.keep("table", one.provenance("retinanet", "fcos", images="123"), lambda: computed.append(1))
    assert len(computed) == 2
    assert messages == ["table: computed again; changed: detector fcos"]
