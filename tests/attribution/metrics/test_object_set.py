"""Which detections count."""

import torch

from detinv.attribution.metrics.object_set import ObjectRule
from detinv.layouts.layout import Detections, Layout


def test_each_detection_is_counted_once_and_each_object_explained_once():
    layout = Layout(
        torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [0.0, 20.0, 10.0, 30.0]]),
        torch.tensor([0, 1, 0]),
        (32, 32),
        "a",
    )
    found = Detections(
        boxes=torch.tensor(
            [
                [0.0, 0.0, 10.0, 9.0],  # right
                [0.0, 0.0, 10.0, 10.0],  # the same object, with a higher score
                [20.0, 0.0, 30.0, 10.0],  # another class
                [0.0, 20.0, 10.0, 26.0],  # overlaps by 0.6
                [15.0, 15.0, 18.0, 18.0],  # nothing there
                [20.0, 0.0, 30.0, 10.0],  # score too low
            ]
        ),
        scores=torch.tensor([0.8, 0.9, 0.7, 0.6, 0.5, 0.1]),
        labels=torch.tensor([0, 0, 0, 0, 1, 1]),
        image_size=(32, 32),
    )
    rows, objects, counts = ObjectRule(0.2, 0.5).matched(found, layout)
    assert (rows.tolist(), objects.tolist()) == ([1, 3], [0, 2])
    assert counts == {"considered": 5, "unmatched": 2, "duplicate": 1, "beyond": 0}
    rows, _, counts = ObjectRule(0.2, 0.7).matched(found, layout)
    assert (rows.tolist(), counts["unmatched"]) == ([1], 3)
    rows, _, counts = ObjectRule(0.2, 0.5, per_image=1).matched(found, layout)
    assert (rows.tolist(), counts["beyond"]) == ([1], 1)
    rows, _, counts = ObjectRule(0.2, 0.5).matched(found, layout.select(torch.zeros(3, dtype=torch.bool)))
    assert (rows.tolist(), counts["unmatched"]) == ([], 5)
