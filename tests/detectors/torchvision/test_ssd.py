import math

import pytest
import torch
from torchvision.models import get_model

from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.torchvision.random_weights import randomise_weights
from detinv.detectors.torchvision.ssd import TorchvisionSSD
from detinv.errors import DetectorError
from tests.fakes import block_image, build_ssd, tiny_detector, tiny_model

SIZES = [(64, 64), (64, 96), (48, 80)]


def detector_of(size, columns=None, **constants):
    """Five columns in the model, three of them ours, in another order; column 2 is nobody's."""
    model = tiny_model(build_ssd, 4, size, seed=0)
    for name, value in constants.items():
        setattr(model, name, value)
    return TorchvisionSSD(model, ["a", "b", "c"], [3, 1, 4] if columns is None else columns)


def predict(detector, pixels):
    return detector(pixels)


def pixels_of(size, seed=0):
    return block_image(size, seed).float()[None] / 255


def library_outputs(detector, pixels):
    inputs = (pixels - detector.pixel_mean[:, None, None]) / detector.pixel_std[:, None, None]
    return detector.model.head(list(detector.model.backbone(inputs).values()))


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def reference(dense, size):
    """The detections of one image as (score, label, box), by plain loops."""
    post = dense.head.post
    boxes = [
        [min(max(value, 0.0), limit) for value, limit in zip(box, (size[1], size[0]) * 2, strict=True)]
        for box in dense.boxes()[0].tolist()
    ]
    scores = []
    for row in dense.logits[0].tolist():
        top = max(row)
        powers = [math.exp(value - top) for value in row]
        scores.append([power / sum(powers) for power in powers])
    kept = []
    for label in range(dense.num_classes):
        column = sorted(((row[label], index) for index, row in enumerate(scores)), reverse=True)
        chosen = []
        for score, index in [pair for pair in column if pair[0] > post.score_thresh][: post.topk_candidates]:
            if all(iou(boxes[index], box) <= post.nms_thresh for _, _, box in chosen):
                chosen.append((score, label, boxes[index]))
        kept += chosen
    return sorted(kept, reverse=True)[: post.detections_per_image]


def assert_same(found, wanted):
    assert [label for _, label, _ in found] == wanted.labels.tolist()
    torch.testing.assert_close(torch.tensor([score for score, _, _ in found]), wanted.scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.tensor([box for _, _, box in found]), wanted.boxes, atol=0.01, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_plain_postprocessing_of_raw_predictions_is_the_librarys_inference(size):
    detector = tiny_detector("ssd", num_classes=4, image_size=size)
    wanted = detector.detect([block_image(size)])[0]
    assert detector.network_size(size) == size
    assert len(wanted) > 40
    assert len(set(wanted.labels.tolist())) == 4
    predictions = predict(detector, pixels_of(size))
    assert_same(reference(predictions.dense, size), wanted)
    found = postprocess(predictions, [size])[0]
    assert found.labels.tolist() == wanted.labels.tolist()
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.scores, wanted.scores, atol=1e-6, rtol=0)


def test_candidates_are_limited_for_each_class():
    size = (64, 96)
    model = tiny_model(build_ssd, 3, size, seed=1)
    model.topk_candidates, model.score_thresh = 12, 0.2
    detector = TorchvisionSSD(model, ["a", "b", "c"])
    wanted = detector.detect([block_image(size, 3)])[0]
    assert set(wanted.labels.bincount().tolist()) <= set(range(1, 13))
    assert wanted.scores.min() > 0.2
    assert_same(reference(predict(detector, pixels_of(size, 3)).dense, size), wanted)


def test_background_is_the_last_column_and_unused_columns_join_it():
    detector = detector_of((64, 64))
    pixels = pixels_of((64, 64))
    dense, outputs = predict(detector, pixels).dense, library_outputs(detector, pixels)
    scores = outputs["cls_logits"].softmax(-1)
    torch.testing.assert_close(dense.logits.softmax(-1)[..., :3], scores[..., [3, 1, 4]])
    torch.testing.assert_close(dense.logits.softmax(-1)[..., 3], scores[..., [0, 2]].sum(-1))
    torch.testing.assert_close(dense.scores(), scores[..., [3, 1, 4]])
    torch.testing.assert_close(dense.logits[..., :3], outputs["cls_logits"][..., [3, 1, 4]])


def test_classes_without_a_name_are_dropped_from_the_librarys_result():
    part = detector_of((64, 64))
    whole = TorchvisionSSD(part.model, ["k1", "k2", "k3", "k4"])
    everything, some = (detector.detect([block_image((64, 64))])[0] for detector in (whole, part))
    known = everything.labels != 1
    assert 0 < len(some) < len(everything)
    assert torch.equal(some.boxes, everything.boxes[known])
    assert torch.equal(some.labels, torch.tensor([1, -1, 0, 2])[everything.labels[known]])


def test_boxes_and_anchors_are_the_librarys():
    detector = detector_of((64, 96))
    pixels = pixels_of((64, 96))
    head, outputs = predict(detector, pixels).dense.head, library_outputs(detector, pixels)
    assert head.level_sizes == (8 * 12 * 4, 4 * 6 * 6, 2 * 3 * 4)
    # The first cell's squares, and its boxes of aspect 2 and 1/2: a share of each side, so not square in pixels.
    scales = [0.15, 0.3]
    step = math.sqrt(scales[0] * scales[1])
    for row, (width, height) in enumerate(
        [(scales[0], scales[0]), (step, step), (scales[0] * 2**0.5, scales[0] / 2**0.5), (0.15 / 2**0.5, 0.15 * 2**0.5)]
    ):
        wanted = torch.tensor([4 - 48 * width, 4 - 32 * height, 4 + 48 * width, 4 + 32 * height])
        torch.testing.assert_close(head.anchors[row], wanted)
    wanted = detector.model.box_coder.decode_single(outputs["bbox_regression"][0], head.anchors)
    torch.testing.assert_close(predict(detector, pixels).dense.boxes()[0], wanted)


def test_constants_are_the_models():
    detector = detector_of((64, 64), score_thresh=0.07, nms_thresh=0.3, topk_candidates=9, detections_per_img=11)
    head = predict(detector, pixels_of((64, 64))).dense.head
    post = head.post
    assert (post.score_thresh, post.nms_thresh, post.topk_candidates, post.detections_per_image) == (0.07, 0.3, 9, 11)
    assert post.topk_per == "class"
    assert head.codec.weights == (10.0, 10.0, 5.0, 5.0)
    assert head.assigner == AnchorAssigner(0.5, 0.5, 0.5)
    assert detector.detections_per_image == 11
    assert detector.size_divisor == 1
    assert detector.pixel_mean.tolist() == [0.5, 0.5, 0.5]
    assert detector.pixel_std.tolist() == [0.5, 0.25, 0.5]


def test_every_image_is_resized_to_one_size_whatever_its_aspect():
    detector = detector_of((48, 80))
    assert {detector.network_size(size) for size in ((48, 80), (500, 31), (7, 900))} == {(48, 80)}
    # Odd sides need no padding.
    assert predict(detector, pixels_of((45, 77))).dense.logits.isfinite().all()
    image = block_image((96, 40), 5)
    with torch.no_grad():
        output = detector.model([image.float() / 255])[0]
        resized = detector.model.transform([image.float() / 255])[0]
    assert resized.tensors.shape == (1, 3, 48, 80)
    found = detector.detect([image])[0]
    assert found.image_size == (96, 40)
    kept = output["labels"] != 2
    assert torch.equal(found.boxes, output["boxes"][kept])
    assert found.boxes[:, 3].max() > 80


def test_an_image_of_the_networks_size_is_not_resampled():
    detector = detector_of((48, 80))
    image = torch.rand(3, 48, 80)
    assert torch.equal(detector.model.transform.resize(image)[0], image)


def test_number_of_class_names_must_fit():
    with pytest.raises(DetectorError, match="2 class names for a model with 4 classes"):
        TorchvisionSSD(tiny_model(build_ssd, 4, (64, 64), 0), ["a", "b"])


@pytest.mark.slow
def test_the_original_ssd_of_vgg_is_the_same_kind():
    model = get_model("ssd300_vgg16", weights=None, weights_backbone=None, num_classes=4)
    randomise_weights(model, side=300)
    detector = TorchvisionSSD(model, ["a", "b", "c"])
    assert detector.network_size((640, 480)) == (300, 300)
    wanted = detector.detect([block_image((300, 300))])[0]
    found = postprocess(predict(detector, pixels_of((300, 300))), [(300, 300)])[0]
    assert len(wanted) > 10
    assert found.labels.tolist() == wanted.labels.tolist()
    torch.testing.assert_close(found.boxes, wanted.boxes, atol=0.01, rtol=0)
    torch.testing.assert_close(found.scores, wanted.scores, atol=1e-5, rtol=0)
