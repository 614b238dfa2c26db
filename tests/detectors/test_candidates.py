"""Fixed candidates: against a loop over rows, across images, resized, and of detectors without assignment."""

import pytest
import torch

from detinv.detectors.candidates import read_candidates, read_candidates_batch
from detinv.detectors.regions import Regions
from detinv.errors import LayoutError
from detinv.layouts.boxes import pairwise_iou
from tests.fakes import block_image, tiny_detector

BOXES = torch.tensor([[4.0, 6.0, 30.0, 40.0], [20.0, 10.0, 60.0, 50.0], [1.0, 50.0, 9.0, 57.0]])
LABELS = torch.tensor([2, 0, 1])


@pytest.fixture(scope="module")
def detectors():
    return {family: tiny_detector(family) for family in ("retinanet", "fcos", "maskrcnn", "ssd")}


def raw(detector, image):
    pixels = image[None].float() / 255
    with torch.no_grad():
        return detector(pixels, regions=Regions.of(BOXES[None]))


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd"])
def test_dense_candidates_are_those_of_a_loop_over_rows(detectors, family):
    detector, image = detectors[family], block_image((64, 64))
    dense = raw(detector, image).dense
    scores, boxes = dense.scores()[0], dense.boxes()[0].clamp(0, 64)
    found = read_candidates(detector, image, BOXES, LABELS)
    reporting = 0
    for number, (box, label) in enumerate(zip(BOXES, LABELS, strict=True)):
        overlap = [float(pairwise_iou(box[None], other[None])) for other in boxes]
        near = [row for row, iou in enumerate(overlap) if iou >= 0.5]
        row = int(found.rows[number])
        if near:
            reporting += 1
            assert row == max(near, key=lambda row: float(scores[row, label]))
        else:
            wanted = dense.head.assigner.assign(
                dense.head.anchors, dense.head.level_sizes, BOXES[None], torch.ones(1, 3, dtype=torch.bool)
            )
            assert row == wanted.candidates[0, number, 0]
        torch.testing.assert_close(found.boxes[number], boxes[row])
        torch.testing.assert_close(found.scores[number], scores[row, label])
        torch.testing.assert_close(found.class_scores[number], scores[row])
        chance = dense.logits[0, row].softmax(0) if family == "ssd" else dense.logits[0, row].sigmoid()
        torch.testing.assert_close(found.probabilities[number], chance[label])
        torch.testing.assert_close(found.anchors[number], dense.head.anchors[row])
    assert reporting


def test_regions_of_a_second_stage_are_the_boxes_themselves(detectors):
    detector, image = detectors["maskrcnn"], block_image((64, 64))
    found = read_candidates(detector, image, BOXES, LABELS)
    roi = raw(detector, image).roi
    chance = roi.logits[0, -3:].softmax(-1)
    for number, label in enumerate(LABELS.tolist()):
        torch.testing.assert_close(found.scores[number], chance[number, label])
        torch.testing.assert_close(found.probabilities[number], chance[number, label])
        box = roi.codec.decode(roi.deltas[0, number - 3, label], BOXES[number])
        torch.testing.assert_close(found.boxes[number], box.clamp(0, 64))
    torch.testing.assert_close(found.anchors, BOXES)
    torch.testing.assert_close(found.class_scores, chance[:, :-1])
    assert found.rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize("family", ["retinanet", "maskrcnn"])
def test_an_image_in_a_batch_reads_as_alone(detectors, family):
    detector = detectors[family]
    images = [block_image((64, 64), seed) for seed in range(3)]
    boxes, labels = [BOXES, BOXES[:1], BOXES[:0]], [LABELS, LABELS[:1], LABELS[:0]]
    together = read_candidates_batch(detector, images, boxes, labels, batch_size=2)
    for number, image in enumerate(images):
        alone = read_candidates(detector, image, boxes[number], labels[number])
        assert alone.rows.equal(together[number].rows)
        torch.testing.assert_close(alone.scores, together[number].scores)
        torch.testing.assert_close(alone.boxes, together[number].boxes, atol=1e-3, rtol=1e-4)
    assert together[2].class_scores.shape == (0, 3)


def test_given_rows_are_read_in_another_image(detectors):
    detector = detectors["retinanet"]
    before = read_candidates(detector, block_image((64, 64)), BOXES, LABELS)
    other = block_image((64, 64), seed=5)
    after = read_candidates(detector, other, BOXES, LABELS, before.rows)
    assert after.rows.equal(before.rows)
    torch.testing.assert_close(after.class_scores, raw(detector, other).dense.scores()[0, before.rows])
    assert not after.scores.allclose(before.scores)


def test_an_image_is_resized_and_padded_and_boxes_come_back_in_its_pixels():
    # 128 x 96 is seen at 64 x 48, on a canvas that is padded to 64 x 64.
    image, detector = block_image((128, 96)), tiny_detector("retinanet", image_size=(48, 64))
    assert detector.network_size((128, 96)) == (64, 48)
    boxes = torch.tensor([[8.0, 12.0, 60.0, 80.0], [20.0, 20.0, 96.0, 100.0], [2.0, 100.0, 18.0, 114.0]])
    found = read_candidates(detector, image, boxes, LABELS)
    canvas = detector.pixel_mean[None, :, None, None].repeat(1, 1, 64, 64)
    canvas[..., :48] = torch.nn.functional.interpolate(
        image[None].float() / 255, (64, 48), mode="bilinear", align_corners=False, antialias=True
    )
    with torch.no_grad():
        dense = detector(canvas, [(64, 48)]).dense
    torch.testing.assert_close(found.class_scores, dense.scores()[0, found.rows])
    limits = torch.tensor([96.0, 128.0, 96.0, 128.0])
    torch.testing.assert_close(found.boxes, torch.minimum(dense.boxes()[0, found.rows].clamp(min=0) * 2, limits))
    torch.testing.assert_close(found.anchors, dense.head.anchors[found.rows] * 2)
    assert (pairwise_iou(found.boxes, boxes).diagonal() >= 0.5).any()


def test_what_is_found_is_what_the_detector_reports(detectors):
    """A detection is one of the dense head's candidates: asked for its box, the candidate has its score."""
    detector, image = detectors["retinanet"], block_image((64, 64))
    best = detector.detect([image])[0]
    found = read_candidates(detector, image, best.boxes[:1], best.labels[:1])
    torch.testing.assert_close(found.scores, best.scores[:1])
    torch.testing.assert_close(found.boxes, best.boxes[:1])


def test_no_gradient_and_no_labels_of_other_classes(detectors):
    detector, image = detectors["retinanet"], block_image((64, 64))
    assert not read_candidates(detector, image, BOXES, LABELS).scores.requires_grad
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 2"):
        read_candidates(detector, image, BOXES, LABELS + 1)
    with pytest.raises(ValueError, match="one label each"):
        read_candidates_batch(detector, [image], [BOXES], [LABELS[:2]])
    with pytest.raises(LayoutError, match="layout 1: object 0"):
        read_candidates_batch(detector, [image] * 2, [BOXES, BOXES + 1000], [LABELS] * 2, batch_size=1)


def test_queries_that_are_chosen_anew_go_by_their_token():
    pytest.importorskip("transformers")
    from tests.transformers_fakes import tiny_transformer

    detector = tiny_transformer("rtdetr_r18")
    images = [block_image((64, 96), seed) for seed in range(4)]
    boxes, labels = BOXES, LABELS
    before = read_candidates(detector, images[0], boxes, labels)
    missing = 0
    for image in images[1:]:
        with torch.no_grad():
            pixels, valid = image[None].float() / 255, torch.ones(1, 3, dtype=torch.bool)
            dense = detector(pixels, [(64, 96)], Regions(boxes[None], valid)).dense
        after = read_candidates(detector, image, boxes, labels, before.rows)
        for number, token in enumerate(before.rows.tolist()):
            places = (dense.identities[0] == token).nonzero()[:, 0].tolist()
            if places:
                torch.testing.assert_close(after.class_scores[number], dense.scores()[0, places[0]])
            else:
                missing += 1
                assert after.scores[number] == 0 and after.boxes[number].isnan().all()
    assert missing


def test_a_set_prediction_without_overlap_takes_the_nearest_box():
    pytest.importorskip("transformers")
    from tests.transformers_fakes import tiny_transformer

    detector = tiny_transformer("detr_resnet50")
    image, box = block_image((64, 96)), torch.tensor([[0.0, 0.0, 3.0, 3.0]])
    found = read_candidates(detector, image, box, LABELS[:1])
    with torch.no_grad():
        pixels, valid = image[None].float() / 255, torch.ones(1, 1, dtype=torch.bool)
        boxes = detector(pixels, [(64, 96)], Regions(box[None], valid)).dense.boxes()[0]
    iou = pairwise_iou(box, boxes)[0]
    assert iou.max() < 0.5
    assert found.rows[0] == iou.argmax()
