"""Counterfactual scenes differ from their originals only in what was exchanged or taken away."""

import numpy as np
import pytest
import torch

from detinv.worlds.context import COMPANIONS, ContextWorld
from detinv.worlds.counterfactual import ExchangedBodies, ExchangedPatches, HiddenCompanions
from detinv.worlds.part import PartWorld
from detinv.worlds.scene import Scene

SCENES = range(12)


def changed(first: Scene, second: Scene) -> np.ndarray:
    return (first.image != second.image).any(0).numpy()


@pytest.mark.parametrize("number", SCENES)
def test_exchanged_patches_change_the_upper_right_of_bodies_alone(number: int):
    before, after = PartWorld(seed=5).scene(number), ExchangedPatches(seed=5).scene(number)
    assert torch.equal(before.layout.boxes, after.layout.boxes)
    assert torch.equal((before.layout.labels + 1) % 4, after.layout.labels)
    # What is drawn around the patches: boxes, less their upper right quarter, which turns by up to 12 degrees.
    outside = np.ones(before.image.shape[1:], dtype=bool)
    for x0, y0, x1, y1 in before.layout.boxes.tolist():
        middle, lower = (x0 + x1) / 2 - 0.25 * (x1 - x0), (y0 + y1) / 2 + 0.25 * (y1 - y0)
        outside[int(y0) - 1 : int(lower) + 1, int(middle) : int(x1) + 2] = False
    assert changed(before, after).any() and not changed(before, after)[outside].any()


def test_exchanged_bodies_keep_classes_and_places():
    for number in SCENES:
        before, after = PartWorld(seed=5).scene(number), ExchangedBodies(seed=5).scene(number)
        assert torch.equal(before.layout.labels, after.layout.labels)
        centres = [(scene.layout.boxes[:, :2] + scene.layout.boxes[:, 2:]) / 2 for scene in (before, after)]
        torch.testing.assert_close(*centres, atol=4.0, rtol=0)
        assert changed(before, after).any()


def test_hidden_companions_leave_everything_else_in_its_place():
    names, seen = ContextWorld.class_names, 0
    hidden = {companion.name for companion in COMPANIONS.values()}
    for number in SCENES:
        before, after = ContextWorld(seed=5).scene(number), HiddenCompanions(seed=5).scene(number)
        companions = torch.tensor([names[label] in hidden for label in before.layout.labels.tolist()])
        assert torch.equal(before.layout.boxes[~companions], after.layout.boxes)
        assert torch.equal(before.layout.labels[~companions], after.layout.labels)
        inside = np.zeros(before.image.shape[1:], dtype=bool)
        for x0, y0, x1, y1 in before.layout.boxes[companions].int().tolist():
            inside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True
        assert not changed(before, after)[~inside].any()
        assert bool(companions.any()) == changed(before, after).any()
        seen += int(companions.sum())
    assert seen
