"""Raw predictions, put through a slow and plain post-processing, are the library's own inference."""

import math

import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.detectors.regions import Regions
from tests.fakes import FAMILIES, in_float64, tiny_detector

SIZES = [(64, 96), (64, 80), (48, 96)]


def random_image(size, seed=0):
    return torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def on_canvas(detector, images, canvas_size):
    """Pixels of 8-bit images at the upper left of canvases that hold the padding colour elsewhere."""
    pixels = detector.pixel_mean[None, :, None, None].expand(len(images), 3, *canvas_size).clone()
    for row, image in enumerate(images):
        pixels[row, :, : image.shape[1], : image.shape[2]] = image.float() / 255
    return pixels


def predict(detector, images, canvas_size, rois=None):
    if rois is None:
        rois = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(images), 1, 1)
    sizes = [tuple(image.shape[1:]) for image in images]
    valid = torch.ones(rois.shape[:2], dtype=torch.bool)
    return detector(on_canvas(detector, images, canvas_size), sizes, Regions(rois, valid))


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def clipped(box, size):
    height, width = size
    limits = (width, height, width, height)
    return [min(max(value, 0.0), limit) for value, limit in zip(box, limits, strict=True)]


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def survivors(candidates, nms_thresh, limit):
    """Greedy suppression of (score, label, box), class by class."""
    kept = []
    for score, label, box in sorted(candidates, key=lambda candidate: -candidate[0]):
        if all(other != label or iou(rival, box) <= nms_thresh for _, other, rival in kept):
            kept.append((score, label, box))
    return kept[:limit]


def dense_reference(predictions: DensePredictions, image: int, size):
    head, candidates, start = predictions.head, [], 0
    boxes = predictions.boxes()[image].tolist()
    for rows in head.level_sizes:
        level = []
        for row in range(start, start + rows):
            for label, logit in enumerate(predictions.logits[image, row].tolist()):
                score = sigmoid(logit)
                if predictions.quality_logits is not None:
                    score = math.sqrt(score * sigmoid(predictions.quality_logits[image, row].item()))
                if score > head.post.score_thresh:
                    level.append((score, label, clipped(boxes[row], size)))
        candidates += sorted(level, key=lambda candidate: -candidate[0])[: head.post.topk_candidates]
        start += rows
    return survivors(candidates, head.post.nms_thresh, head.post.detections_per_image)


def roi_reference(roi: RoIPredictions, image: int, size):
    candidates = []
    scores = roi.logits[image].softmax(-1)
    anchors = roi.rois[image][:, None].expand_as(roi.deltas[image])
    boxes = roi.codec.decode(roi.deltas[image], anchors).tolist()
    for row in range(roi.rois.shape[1] - roi.given):
        for label in range(roi.deltas.shape[2]):
            box, score = clipped(boxes[row][label], size), scores[row, label].item()
            large = min(box[2] - box[0], box[3] - box[1]) >= 1e-2
            if roi.valid[image, row] and score > roi.post.score_thresh and large:
                candidates.append((score, label, box))
    return survivors(candidates, roi.post.nms_thresh, roi.post.detections_per_image)


def reference(predictions, image, size):
    if predictions.roi is not None:
        return roi_reference(predictions.roi, image, size)
    return dense_reference(predictions.dense, image, size)


def assert_same(found, wanted):
    """`found`, a list of (score, label, box), is what `wanted`, the library's result, says, in the same order."""
    assert len(found) == len(wanted)
    torch.testing.assert_close(torch.tensor([score for score, _, _ in found]), wanted.scores, atol=1e-5, rtol=0)
    assert [label for _, label, _ in found] == wanted.labels.tolist()
    torch.testing.assert_close(torch.tensor([box for _, _, box in found]), wanted.boxes, atol=0.01, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_raw_predictions_and_plain_postprocessing_equal_the_librarys_inference(family, size):
    detector = in_float64(tiny_detector(family, image_size=(64, 96)))
    image = random_image(size)
    assert detector.network_size(size) == size
    wanted = detector.detect([image])[0]
    predictions = predict(detector, [image], (64, 96))
    assert len(wanted) > 10
    assert len(set(wanted.labels.tolist())) > 1
    assert_same(reference(predictions, 0, size), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_topk_per_level_is_the_librarys(family):
    detector = in_float64(tiny_detector(family, image_size=(64, 96)))
    model = detector.model
    if hasattr(model, "rpn"):
        model.rpn._pre_nms_top_n["testing"] = 20
    else:
        model.topk_candidates = 20
    detector = type(detector)(model, detector.class_names)
    image = random_image((64, 96), seed=3)
    assert_same(reference(predict(detector, [image], (64, 96)), 0, (64, 96)), detector.detect([image])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_two_sizes_on_one_canvas_equal_the_librarys_batch(family):
    detector = in_float64(tiny_detector(family, image_size=(64, 96)))
    images = [random_image((64, 96), 1), random_image((48, 96), 2)]
    predictions = predict(detector, images, (64, 96))
    with torch.no_grad():
        outputs = detector.model([image.float() / 255 for image in images])
    for index, (image, output) in enumerate(zip(images, outputs, strict=True)):
        size = tuple(image.shape[1:])
        assert_same(reference(predictions, index, size), detector._detections(output, size))


@pytest.mark.parametrize("family", FAMILIES)
def test_larger_canvas_changes_as_little_as_in_the_library(family):
    detector = in_float64(tiny_detector(family, image_size=(64, 96)))
    image, wide = random_image((64, 64), 4), random_image((64, 96))
    alone = reference(predict(detector, [image], (64, 64)), 0, (64, 64))
    padded = reference(predict(detector, [image, wide], (64, 96)), 0, (64, 64))
    # The library pads by the largest image of a batch.
    with torch.no_grad():
        outputs = detector.model([image.float() / 255, wide.float() / 255])
    assert_same(alone, detector.detect([image])[0])
    assert_same(padded, detector._detections(outputs[0], (64, 64)))


def test_masks_at_given_boxes_are_the_librarys():
    detector = in_float64(tiny_detector("maskrcnn", image_size=(64, 96)))
    image = random_image((64, 80), 5)
    wanted = detector.detect([image])[0]
    assert wanted.masks is not None
    assert 0.02 < wanted.masks.float().mean() < 0.98
    roi = predict(detector, [image], (64, 96), rois=wanted.boxes[None]).roi
    chosen = roi.mask_logits[0, torch.arange(len(wanted)), wanted.labels].sigmoid()
    pasted = paste_masks_in_image(chosen[:, None], wanted.boxes, (64, 80))[:, 0] > 0.5
    # Boxes of the first test agree to 0.01 pixel, so a mask may differ where it is as good as undecided.
    assert (pasted != wanted.masks).float().mean() < 1e-4


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_given_boxes_come_last_and_get_what_a_proposal_there_would(family):
    detector = in_float64(tiny_detector(family, image_size=(64, 96)))
    image = random_image((64, 96), 6)
    first = predict(detector, [image], (64, 96)).roi
    again = predict(detector, [image], (64, 96), rois=first.rois[:, 3:7]).roi
    assert again.given == 4
    assert again.rois.shape[1] == 50 + 4
    torch.testing.assert_close(again.rois[:, -4:], first.rois[:, 3:7], atol=0, rtol=0)
    torch.testing.assert_close(again.logits[:, -4:], first.logits[:, 3:7])
    torch.testing.assert_close(again.deltas[:, -4:], first.deltas[:, 3:7])
