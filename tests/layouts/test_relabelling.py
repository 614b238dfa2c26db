"""Layouts in another detector's class numbers."""

import torch

from detinv.layouts.layout import Layout
from detinv.layouts.relabelling import relabelled

NAMES = ("circle", "square", "traffic light")


def test_relabelled_objects_keep_their_class_names_and_unknown_ones_go():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 5.0, 5.0], [2.0, 2.0, 6.0, 6.0]])
    layout = Layout(boxes, torch.tensor([0, 2, 1]), (8, 8), "a", torch.ones(3, 8, 8, dtype=torch.bool))
    other = ("square", "ring", "circle")
    found = relabelled(layout, NAMES, other)
    assert [other[label] for label in found.labels] == ["circle", "square"]
    assert torch.equal(found.boxes, boxes[[0, 2]])
    assert found.masks is not None
    assert len(found.masks) == 2
    assert relabelled(layout, NAMES, NAMES) is layout
