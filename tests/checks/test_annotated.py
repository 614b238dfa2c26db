"""Mistakes that `forward` and `detect` share are found on annotated photographs."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from detinv.checks.adapter import OF_PHOTOGRAPHS
from detinv.checks.annotated import detections_are_the_annotated_objects
from detinv.checks.trial import AdapterTrial
from detinv.cli import main
from detinv.inversion.preset import load_preset
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import coco_ground_truth
from detinv.results.io.files import write_json, write_png
from detinv.worlds.plain import PlainWorld
from tests.fastestdet_example import example_on_the_import_path, lively, random_images

SIZE = (96, 128)


@pytest.fixture(scope="module")
def right():
    with example_on_the_import_path():
        yield lively(SIZE)


@pytest.fixture(scope="module")
def photographs(right):
    """Images of another size than the network's input, and what the right adapter finds in them."""
    images = random_images((192, 192), 5)
    truth = []
    for number, found in enumerate(right.detect(images)):
        sure = found.above(0.6)
        limit = torch.tensor([192.0] * 4)
        boxes = torch.minimum(sure.boxes.clamp(min=0), limit)
        keep = ((boxes - sure.boxes).abs().amax(1) == 0) & ((boxes[:, 2:] - boxes[:, :2]).amin(1) > 4)
        truth.append(Layout(boxes[keep], sure.labels[keep], (192, 192), str(number)))
    assert sum(map(len, truth)) > 20
    return images, truth


def tried(right, photographs, pixels=lambda image: image, report=lambda found: found):
    class Shared(type(right)):
        """Makes one mistake in forward and in detect."""

        def network_image(self, image):
            return pixels(super().network_image(image))

        def forward(self, given, image_sizes=None, regions=None):
            return super().forward(pixels(given), image_sizes, regions)

        def _infer(self, image):
            return report(super()._infer(image))

    detector = Shared(right.network, right.class_names, SIZE, right.score_thresh, right.nms_thresh)
    images, truth = photographs
    return detections_are_the_annotated_objects(AdapterTrial(detector, load_preset(), (SIZE,), 1, 0, images, truth))


def with_boxes(change):
    return lambda found: replace(found, boxes=change(found.boxes))


def stretched(factor, boxes):
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, factor * (boxes[:, 2:] - boxes[:, :2]) / 2
    return torch.cat([middle - half, middle + half], 1)


def test_a_right_adapter_finds_what_is_annotated(right, photographs):
    found = tried(right, photographs)
    assert found.holds, found
    assert found.measured.startswith("AP50 ") and "in 5 images" in found.measured


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"pixels": lambda image: image.flip(-3)}, "RGB and BGR are exchanged in forward() and in detect()"),
        ({"report": lambda found: replace(found, labels=(found.labels + 1) % 5)}, "classes are off by one"),
        ({"report": with_boxes(lambda boxes: boxes[:, [1, 0, 3, 2]])}, "x and y of the boxes are exchanged"),
        ({"report": with_boxes(lambda boxes: boxes * torch.tensor([128, 96] * 2) / 192)}, "in pixels of each image"),
        ({"report": with_boxes(partial(stretched, 2.0))}, "0.5 times as long"),
        # Half a cell of 16 px, in images that are shrunk to two thirds and to a half.
        ({"report": with_boxes(lambda boxes: boxes + torch.tensor([12.0, 16.0] * 2))}, "shifted by -8 px"),
        ({"report": lambda found: found.above(2.0)}, "nothing is found"),
        (
            {"report": with_boxes(partial(stretched, 1.25))},
            "AP50 is high and AP low",
        ),
    ],
)
def test_a_mistake_that_both_share_is_named(right, photographs, options, advice):
    found = tried(right, photographs, **options)
    assert found.holds is False, found
    assert advice in found.advice, found


def test_the_command_takes_annotations(tmp_path, capsys, monkeypatch):
    # The others are tried elsewhere.
    monkeypatch.setattr("detinv.checks.adapter.CLAIMS", {})
    scene = PlainWorld(seed=5).scene(0)
    truth = coco_ground_truth([scene.layout], PlainWorld.class_names)
    (tmp_path / "images").mkdir()
    write_png(tmp_path / "images" / truth["images"][0]["file_name"], scene.image.permute(1, 2, 0).contiguous().numpy())
    write_json(tmp_path / "layouts.json", truth)
    words = ["check", "detector=shapes_fcos", "steps=6", "image_sizes=[[64,64]]", f"out_dir={tmp_path / 'out'}"]
    words.append(f"annotations={tmp_path / 'layouts.json'}")
    assert main(words) == 2
    assert "give the images as well" in capsys.readouterr().err
    assert main([*words, f"images={tmp_path / 'images'}"]) == 0
    found = json.loads((tmp_path / "out" / "check.json").read_text())["verdicts"]
    assert [verdict["claim"] for verdict in found] == list(OF_PHOTOGRAPHS)
    assert "in 1 images" in found[-1]["measured"]
