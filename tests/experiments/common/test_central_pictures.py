"""Pictures of one object: its anchor, or all that is detected, drawn in place."""

import torch

from detinv.experiments.common.central_pictures import anchor_picture, detections_picture
from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject

NAMES = ("cat", "dog")
IMAGE = torch.full((3, 64, 128), 100, dtype=torch.uint8)
BOX = (16.0, 16.0, 48.0, 48.0)
OBJECT = TargetedObject("a", "dog", BOX, (20.0, 20.0, 40.0, 40.0), BOX, 0.9)


def changed(picture, plain):
    """Columns and rows of a picture that drawing has changed, from first to last, as shares of its sides."""
    rows, columns = (picture != plain).any(axis=2).nonzero()
    height, width = picture.shape[:2]
    return rows.min() / height, rows.max() / height, columns.min() / width, columns.max() / width


def test_the_anchor_is_drawn_where_it_lies():
    picture = anchor_picture(IMAGE, OBJECT, NAMES)
    assert picture.shape == (128, 256, 3)
    _, bottom, left, right = changed(picture, 100)
    x0, _, x1, y1 = OBJECT.anchor
    assert abs(bottom - y1 / 64) < 0.05
    assert abs(left - x0 / 128) < 0.05
    assert right >= x1 / 128 - 0.05


def test_detections_are_drawn_and_without_any_there_is_only_the_image():
    assert (detections_picture(IMAGE, [], NAMES) == detections_picture(IMAGE, [], NAMES)[0, 0]).all()
    one = detections_picture(IMAGE, [NamedDetection("dog", 0.9, BOX)], NAMES)
    two = detections_picture(
        IMAGE, [NamedDetection("dog", 0.9, BOX), NamedDetection("cat", 0.5, (60, 10, 80, 30))], NAMES
    )
    assert (one != detections_picture(IMAGE, [], NAMES)).any()
    assert (one != two).any()
