"""Stored maps are found again by everything that they, and what is measured of them, depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from detinv.attribution.archive import AttributionArchive
from detinv.attribution.core.objects import ExplainedObjects, annotated_objects
from detinv.attribution.core.questions import as_questions
from detinv.attribution.explain import ExplainedImage, explain_image
from detinv.attribution.load import load_method
from detinv.detectors.acceleration.full_precision import full_precision, tf32
from detinv.errors import OutputError
from tests.fakes import block_image, tiny_detector


def test_the_key_changes_with_everything_that_maps_depend_on(tmp_path):
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    boxes, labels = torch.tensor([[1.0, 1.0, 5.0, 5.0]]), torch.tensor([0])
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    objects = ExplainedObjects(boxes, labels, torch.ones(1), labels)
    archive = AttributionArchive(tmp_path, {"seed": 0})
    keys = [
        archive.key(image, objects, "image 0"),
        archive.key(image + 1, objects, "image 0"),
        archive.key(image, replace(objects, boxes=boxes + 1), "image 0"),
        archive.key(image, replace(objects, labels=labels + 1), "image 0"),
        archive.key(image, replace(objects, scores=objects.scores / 2), "image 0"),
        archive.key(image, replace(objects, masks=masks), "image 0"),
        archive.key(image, replace(objects, masks=~masks), "image 0"),
        # Seeds of random methods are mixed with it.
        archive.key(image, objects, "image 1"),
        AttributionArchive(tmp_path, {"seed": 1}).key(image, objects, "image 0"),
    ]
    assert len(set(keys)) == len(keys)
    assert archive.key(image.clone(), replace(objects), "image 0") == keys[0]


def test_the_key_changes_with_the_rounding_of_float32_products(tmp_path):
    def key() -> str:
        return AttributionArchive(tmp_path, {}).key(image, ExplainedObjects(boxes, labels, scores, labels))

    image, boxes = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.tensor([[1.0, 1.0, 5.0, 5.0]])
    labels, scores = torch.tensor([0]), torch.ones(1)
    before = key()
    keys = {before}
    for allowed in (True, False):
        with tf32(allowed):
            keys.add(key())
    with full_precision():
        keys.add(key())
    assert len(keys) == 4 and key() == before


def test_what_has_no_map_is_finished_only_with_its_picture(tmp_path, monkeypatch):
    def full(*parts):
        raise OutputError("no space left on device")

    archive, picture = AttributionArchive(tmp_path, {}), np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr("detinv.attribution.archive.write_png", full)
    with pytest.raises(OutputError):
        archive.store("error_01", "key", "a.png", ExplainedImage([], 0, 0), {}, picture)
    assert archive.finished("error_01", "key") is None
    monkeypatch.undo()
    archive.store("error_01", "key", "a.png", ExplainedImage([], 0, 0), {}, picture)
    assert (tmp_path / "pictures" / "error_01.png").is_file()
    assert archive.finished("error_01", "key") is not None


@pytest.mark.parametrize("path", ["maps/a.npz", "pictures/a.png", "progress/a.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"[]", b"PK\x03\x04 cut off", None])
def test_an_image_with_a_missing_or_broken_file_is_made_again(tmp_path, path, content):
    detector, image = tiny_detector("fcos"), block_image((48, 64))
    questions, methods = as_questions(["class"], None, detector.class_names), {"gradient": load_method("gradient")}
    objects = annotated_objects(detector, image, torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([0]))
    archive = AttributionArchive(tmp_path, {})
    made = explain_image(detector, image, objects, questions, methods)
    archive.store("a", "key", "a.png", made, {})
    assert archive.finished("a", "key") is not None
    if content is None:
        (tmp_path / path).unlink()
    else:
        (tmp_path / path).write_bytes(content)
    assert archive.finished("a", "key") is None
    archive.store("a", "key", "a.png", made, {})
    assert archive.finished("a", "key") is not None
