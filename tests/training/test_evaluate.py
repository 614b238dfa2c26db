"""Measuring: a detector that sees everything is perfect, a blind one finds nothing."""

import pytest
import torch

from detinv.detectors.base import AbstractDetector
from detinv.layouts.layout import Detections
from detinv.training.datasets import HeldOutScenes
from detinv.training.evaluate import evaluate
from detinv.worlds.plain import PlainWorld

WORLD = PlainWorld(image_size=(64, 64), seed=4, max_side=30)
COUNT = 20


class Oracle(AbstractDetector):
    """Knows the scenes of the world by heart; reports their layouts, or nothing."""

    class_names = WORLD.class_names
    size_divisor = 1
    detections_per_image = 100

    def __init__(self, blind, masks):
        super().__init__()
        self.blind, self.masks = blind, masks
        self.layouts = {}
        for index in range(COUNT):
            scene = WORLD.scene(index)
            self.layouts[scene.image.numpy().tobytes()] = scene.layout

    @property
    def has_masks(self):
        return self.masks

    def network_size(self, image_size):
        return image_size

    def forward(self, pixels, image_sizes=None, regions=None):
        raise AssertionError("only the detector's own inference is measured")

    def detect(self, images):
        found = []
        for image in images:
            layout = self.layouts[image.numpy().tobytes()]
            layout = layout.select(torch.full((len(layout),), not self.blind))
            masks = layout.masks if self.masks else None
            found.append(Detections(layout.boxes, torch.ones(len(layout)), layout.labels, layout.image_size, masks))
        return found


def test_an_oracle_is_perfect():
    scores = evaluate(Oracle(blind=False, masks=True), HeldOutScenes(WORLD, COUNT))
    assert scores["AP"] == scores["AP50"] == scores["mask_AP"] == pytest.approx(100)
    assert scores["images"] == COUNT
    assert scores["objects"] == sum(len(WORLD.scene(index).layout) for index in range(COUNT))


def test_a_blind_detector_finds_nothing():
    scores = evaluate(Oracle(blind=True, masks=False), HeldOutScenes(WORLD, COUNT))
    assert scores["AP"] == scores["AP50"] == 0
    assert "mask_AP" not in scores
