"""What every adapter owes: the contract of `AbstractDetector`, walked over all families."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detinv.detectors.hooks import count_hooks
from detinv.detectors.regions import Regions
from detinv.errors import DetectorError
from detinv.zoo.weights import weight_hash
from tests.fakes import FAMILIES as ZOO
from tests.fakes import in_float64, tiny_detector

FAMILIES = (*ZOO, "ssd")


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def boxes_in(batch):
    boxes = torch.tensor([[4.0, 6, 40, 50], [0, 0, 1, 1]])
    return boxes.repeat(batch, 1, 1), torch.tensor([[True, False]]).expand(batch, -1)


def outputs_of(predictions):
    dense, roi = predictions.dense, predictions.roi
    found = {"logits": dense.logits, "deltas": dense.deltas, "boxes": dense.boxes(), "quality": dense.quality_logits}
    if roi is not None:
        found |= {"roi logits": roi.logits, "roi deltas": roi.deltas, "masks": roi.mask_logits}
    return {name: value for name, value in found.items() if value is not None}


def run(detector, pixels):
    return detector(pixels, regions=Regions(*boxes_in(len(pixels))))


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_constants(family):
    detector = tiny_detector(family, num_classes=4)
    predictions = run(detector, noise(2, 3, 64, 96))
    dense, head = predictions.dense, predictions.dense.head
    assert detector.class_names == ("class0", "class1", "class2", "class3")
    columns = 1 if predictions.roi else 4 + head.scoring.background
    assert dense.logits.shape == (2, sum(head.level_sizes), columns)
    assert dense.num_classes == (1 if predictions.roi else 4)
    assert dense.deltas.shape == (2, len(head.anchors), 4)
    assert head.levels.bincount().tolist() == list(head.level_sizes)
    assert (predictions.roi is None) == (family in ("retinanet", "fcos", "ssd"))
    assert head.scoring.background == (family == "ssd")
    assert (dense.quality_logits is not None) == (family == "fcos")
    if (roi := predictions.roi) is not None:
        assert roi.logits.shape == (2, 52, 5)
        assert roi.deltas.shape == (2, 52, 4, 4)
        assert roi.valid[:, -2:].tolist() == [[True, False]] * 2
        assert (roi.mask_logits is not None) == detector.has_masks
    if detector.has_masks:
        assert predictions.roi.mask_logits.shape == (2, 2, 4, 28, 28)
    assert all(value.dtype == torch.float32 for value in outputs_of(predictions).values())


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_reaches_every_pixel_from_every_output(family):
    detector = tiny_detector(family)
    pixels = noise(1, 3, 64, 64).requires_grad_()
    for name, value in outputs_of(run(detector, pixels)).items():
        functional = (value * noise(*value.shape, seed=1)).sum()
        (gradient,) = torch.autograd.grad(functional, pixels, retain_graph=True)
        assert gradient.isfinite().all(), name
        # Mask logits see the surroundings of the given boxes only; RoI outputs wherever the proposals lie.
        share = (gradient != 0).float().mean()
        assert share > (0.3 if name == "masks" else 0.999), f"{name}: {share:.3f} of the pixels"


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_equals_images_alone(family):
    detector = in_float64(tiny_detector(family))
    pixels = noise(3, 3, 64, 64).requires_grad_()
    together = outputs_of(run(detector, pixels))
    weights = {name: noise(*value[:1].shape, seed=2) for name, value in together.items()}
    (gradient,) = torch.autograd.grad(sum((together[name] * weights[name]).sum() for name in together), pixels)
    for row in range(3):
        single = pixels[row : row + 1].detach().requires_grad_()
        alone = outputs_of(run(detector, single))
        for name, value in alone.items():
            torch.testing.assert_close(together[name][row : row + 1], value, atol=1e-4, rtol=1e-5)
        (expected,) = torch.autograd.grad(sum((alone[name] * weights[name]).sum() for name in alone), single)
        assert (gradient[row] - expected[0]).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("family", FAMILIES)
def test_detector_stays_frozen_and_unchanged(family):
    detector = tiny_detector(family)
    before = weight_hash(detector)
    assert count_hooks(detector) == 0
    detector.train()
    torch.nn.Sequential(detector).train()
    assert not any(module.training for module in detector.modules())
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    pixels = noise(2, 3, 64, 64).requires_grad_()
    sum(value.square().sum() for value in outputs_of(run(detector, pixels)).values()).backward()
    detector.detect([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    assert weight_hash(detector) == before
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert count_hooks(detector) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_autocast_gives_fp32_close_to_fp32(family):
    detector = tiny_detector(family)
    pixels = noise(1, 3, 64, 64)
    exact = outputs_of(run(detector, pixels))
    anchors = run(detector, pixels).dense.head.anchors.clone()
    fresh = tiny_detector(family)  # its constants are made under autocast
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = run(fresh, pixels)
        detections = fresh.detect([(pixels[0] * 255).to(torch.uint8)])[0]
    torch.testing.assert_close(rough.dense.head.anchors, anchors, atol=0, rtol=0)
    for name, value in outputs_of(rough).items():
        assert value.dtype == torch.float32
        if not name.startswith("roi"):  # another rounding, other proposals
            assert (value - exact[name]).norm() / exact[name].norm() < 0.1, name
    wanted = detector.detect([(pixels[0] * 255).to(torch.uint8)])[0]
    torch.testing.assert_close(detections.boxes, wanted.boxes, atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_layouts_without_objects(family):
    detector = tiny_detector(family)
    pixels = noise(2, 3, 64, 64).requires_grad_()
    none = torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool)
    unused = torch.tensor([0.0, 0, 1, 1]).repeat(2, 1, 1), torch.zeros(2, 1, dtype=torch.bool)
    for rois, valid in (none, unused):
        predictions = detector(pixels, regions=Regions(rois, valid))
        (gradient,) = torch.autograd.grad(predictions.dense.logits.sum(), pixels)
        assert gradient.isfinite().all()
        if predictions.roi is not None:
            assert predictions.roi.given == rois.shape[1]
            assert predictions.roi.logits.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_forward_after_inference_mode_still_has_a_gradient(family):
    detector = tiny_detector(family)
    with torch.inference_mode():
        run(detector, noise(1, 3, 64, 64))
        detector.detect([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    pixels = noise(1, 3, 64, 64).requires_grad_()
    sum(value.sum() for value in outputs_of(run(detector, pixels)).values()).backward()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_detect_is_the_librarys_inference_in_each_images_own_pixels(family):
    detector = tiny_detector(family, image_size=(64, 96))
    untouched = copy.deepcopy(detector.model)
    sizes = [(64, 96), (128, 160), (51, 77)]
    images = [(noise(3, *size, seed=seed) * 255).to(torch.uint8) for seed, size in enumerate(sizes)]
    found = detector.detect([*images, images[0]])
    for image, detections in zip(images, found, strict=False):
        with torch.no_grad():
            output = untouched([image.float() / 255])[0]
        first = 0 if family in ("retinanet", "fcos") else 1
        torch.testing.assert_close(detections.boxes, output["boxes"], atol=0, rtol=0)
        torch.testing.assert_close(detections.scores, output["scores"], atol=0, rtol=0)
        assert detections.labels.tolist() == (output["labels"] - first).tolist()
        assert detections.image_size == tuple(image.shape[1:])
        assert len(detections) > 0
        if detector.has_masks:
            assert torch.equal(detections.masks, output["masks"][:, 0] > 0.5)
    assert torch.equal(found[3].boxes, found[0].boxes)


@settings(max_examples=200, deadline=None)
@given(st.integers(20, 900), st.integers(20, 900))
def test_network_size_is_the_librarys_and_settles(height, width):
    detector = NETWORK
    size = detector.network_size((height, width))
    assert detector.network_size(size) == size
    transform = GeneralizedRCNNTransform(64, 96, [0.0] * 3, [1.0] * 3).eval()
    resized = transform.resize(torch.zeros(3, height, width))[0]
    assert max(abs(a - b) for a, b in zip(size, resized.shape[1:], strict=True)) <= 1
    settled = noise(3, *size)
    # An image of that size goes through unchanged, to the last bit.
    assert torch.equal(transform.resize(settled)[0], settled)


NETWORK = tiny_detector("retinanet", image_size=(64, 96))


def test_network_size_of_a_fixed_size_transform():
    detector = tiny_detector("retinanet")
    detector.model.transform.fixed_size = (96, 64)
    assert detector.network_size((300, 200)) == (64, 96)
    assert detector.model.transform.resize(torch.zeros(3, 300, 200))[0].shape[1:] == (64, 96)


def test_canvas_of_other_sides_is_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        run(tiny_detector("fcos"), noise(1, 3, 64, 70))


@pytest.mark.parametrize("family", FAMILIES)
def test_number_of_class_names_must_fit(family):
    detector = tiny_detector(family)
    with pytest.raises(DetectorError, match="2 class names for a model with 3 classes"):
        type(detector)(detector.model, ["a", "b"])


@pytest.mark.parametrize("columns", [[0, 0], [1, 9], [-1, 0]])
def test_columns_must_be_the_models(columns):
    detector = tiny_detector("retinanet")
    with pytest.raises(DetectorError, match=r"must differ and lie in 0 \.\.\. 2"):
        type(detector)(detector.model, ["a", "b"], columns)


@pytest.mark.parametrize("family", ["retinanet", "fcos"])
def test_chosen_columns_of_a_dense_head(family):
    whole = tiny_detector(family)
    part = type(whole)(whole.model, ["last", "first"], columns=[2, 0])
    pixels = noise(1, 3, 64, 64)
    logits = run(whole, pixels).dense.logits
    assert torch.equal(run(part, pixels).dense.logits, logits[..., [2, 0]])
    image = (pixels[0] * 255).to(torch.uint8)
    everything, some = whole.detect([image])[0], part.detect([image])[0]
    known = everything.labels != 1
    assert 0 < len(some) < len(everything)
    assert torch.equal(some.boxes, everything.boxes[known])
    assert torch.equal(some.labels, torch.tensor([1, -1, 0])[everything.labels[known]])
