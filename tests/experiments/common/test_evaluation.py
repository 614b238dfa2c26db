"""Images evaluated by a detector whose answers are known."""

import pytest
import torch

from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.codec import DeltaCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.experiments.common.evaluation import MEASURES, Evaluation, best_iou, evaluate
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.edges import border_share, box_region, edge_energy
from detinv.metrics.jackknife import grouped_mean_interval
from tests.fakes import block_image

SIZE = (64, 64)
BOXES = torch.tensor([[4.0, 4.0, 24.0, 24.0], [30.0, 30.0, 60.0, 60.0]])


class Scripted(AbstractDetector):
    """Its dense head scores two classes at three anchors; it reports what it is told to."""

    def __init__(self, anchors, scores, reported):
        super().__init__()
        self.class_names = ("red", "green")
        self.size_divisor, self.detections_per_image = 1, 10
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.scores, self.reported = torch.tensor(scores), reported
        post = PostProcessing(0.3, 0.5, 100, 10)
        self.head = DenseHead(torch.tensor(anchors), (len(anchors),), DeltaCodec(), AnchorAssigner(), post)

    def network_size(self, image_size):
        return image_size

    def forward(self, pixels, image_sizes=None, regions=None):
        logits = torch.logit(self.scores).expand(len(pixels), -1, -1)
        return Predictions(DensePredictions(logits, torch.zeros(len(pixels), len(self.scores), 4), self.head))

    def detect(self, images):
        boxes, scores, labels = (torch.tensor(values) for values in zip(*self.reported, strict=True))
        return [Detections(boxes, scores, labels, SIZE) for _ in images]


@pytest.fixture
def judge():
    return Scripted(
        [[4.0, 4.0, 24.0, 24.0], [30.0, 30.0, 60.0, 60.0], [32.0, 30.0, 60.0, 60.0]],
        [[0.9, 0.2], [0.3, 0.6], [0.8, 0.7]],
        [
            ([4.0, 4.0, 24.0, 12.0], 0.9, 0),  # two fifths of the first object
            ([4.0, 4.0, 24.0, 24.0], 0.2, 1),  # all of it, but hardly sure
            ([30.0, 33.0, 60.0, 60.0], 0.7, 0),  # nine tenths of the second one, of another class
        ],
    )


def layout(labels=(0, 1), masks=None, name="a"):
    return Layout(BOXES, torch.tensor(labels), SIZE, name, masks)


@pytest.mark.parametrize(("score_thresh", "first"), [(0.3, 0.4), (0.1, 1.0)])
def test_boxes_are_told_apart_from_classes(judge, score_thresh, first):
    found = evaluate(judge, [block_image(SIZE)], [layout()], score_thresh)
    (overlaps,) = found.objects["box_iou"]
    assert overlaps == pytest.approx([first, 0.9])
    assert found.objects["found"] == [[float(first > 0.5), 1.0]]
    # Of the rows at the second object the last one is the surest of green, and yet prefers red.
    assert found.objects["class_accuracy"] == [[1.0, 0.0]]
    assert found.objects["class_probability"][0] == pytest.approx([0.9, 0.7])
    # No detection is right about class and box at once.
    assert found.scores["AP50"] == 0


def test_average_precision_needs_both(judge):
    right = evaluate(judge, [block_image(SIZE)], [layout(labels=(1, 0))], 0.1)
    # Both objects are found; before the red one comes a false alarm.
    assert right.scores["AP50"] == pytest.approx((100 + 50) / 2)


def test_edges_are_those_of_the_image_at_boxes_and_masks(judge):
    image = block_image(SIZE, seed=3)
    masks = torch.stack([box_region(box + torch.tensor([2.0, 2.0, -3.0, -3.0]), SIZE) for box in BOXES])
    objects = evaluate(judge, [image], [layout(masks=masks)], 0.1).objects
    energy = edge_energy(image)
    assert objects["box_border"] == [[border_share(energy, box_region(box, SIZE)) for box in BOXES]]
    assert objects["mask_border"] == [[border_share(energy, mask) for mask in masks]]
    assert evaluate(judge, [image], [layout()], 0.1).objects["mask_border"] == [[]]


def test_differences_are_paired_and_means_are_intervals():
    first = Evaluation({}, {"box_iou": [[0.5, 0.9], [0.7]], "mask_border": [[], []]})
    second = Evaluation({}, {"box_iou": [[0.4, 0.8], [0.6]], "mask_border": [[], []]})
    difference = first.minus(second)["box_iou"]
    # Apart, the means' intervals overlap by far; in pairs there is no doubt.
    assert difference == pytest.approx((0.1, 0.1, 0.1))
    assert first.means()["box_iou"] == grouped_mean_interval([[0.5, 0.9], [0.7]])
    assert first.means()["mask_border"].value != first.means()["mask_border"].value
    with pytest.raises(ValueError, match="zip"):
        first.minus(Evaluation({}, {"box_iou": [[0.4]], "mask_border": []}))


def test_objects_that_share_an_image_count_as_one():
    by_image = [[value] * 6 for value in (0.2, 0.5, 0.4, 0.9, 0.7, 0.6, 0.3, 0.8)]
    alone = Evaluation({}, {"box_iou": [[value] for image in by_image for value in image]}).means()["box_iou"]
    shared = Evaluation({}, {"box_iou": by_image}).means()["box_iou"]
    assert shared.value == pytest.approx(alone.value)
    assert shared.high - shared.low > 2 * (alone.high - alone.low)
    assert shared == pytest.approx(Evaluation({}, {"box_iou": [image[:1] for image in by_image]}).means()["box_iou"])


def test_nothing_found_overlaps_nothing():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), SIZE)
    assert best_iou(layout(), nothing) == [0.0, 0.0]


def test_every_measure_is_there_for_every_object(judge):
    layouts = [layout(), layout(name="b")]
    objects = evaluate(judge, [block_image(SIZE), block_image(SIZE, 1)], layouts, 0.1).objects
    assert set(objects) == set(MEASURES)
    sizes = {tuple(map(len, values)) for measure, values in objects.items() if measure != "mask_border"}
    assert sizes == {(2, 2)}
