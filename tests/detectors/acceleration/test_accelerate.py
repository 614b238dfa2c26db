"""An accelerated detector predicts what the detector predicts, and leaves it as it is."""

import logging

import pytest
import torch
from torch import nn

from detinv.detectors.acceleration import accelerate as module
from detinv.detectors.acceleration.accelerate import accelerated, difference
from detinv.detectors.acceleration.row_pooling import RowPooling
from detinv.detectors.acceleration.strided_stem import StridedStem
from detinv.detectors.acceleration.winograd import WinogradConv2d
from detinv.detectors.regions import Regions
from detinv.detectors.torchvision.load import load_torchvision
from detinv.detectors.torchvision.retinanet import TorchvisionRetinaNet
from detinv.zoo.weights import weight_hash
from tests.fakes import FAMILIES, block_image, tiny_detector

EVERY_FAMILY = (*FAMILIES, "ssd")


def predict(detector, batch=2, side=64, seed=0):
    """Predictions for some images, and the gradient of their weighted sum to the pixels."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(batch, 3, side, side, generator=generator).requires_grad_()
    boxes = torch.tensor([[[4.0, 6.0, 30.0, 28.0], [20.0, 30.0, 60.0, 62.0]]]).expand(batch, -1, -1)
    valid = torch.ones(batch, 2, dtype=torch.bool)
    predictions = detector.forward(pixels, regions=Regions(boxes, valid))
    total = torch.zeros(())
    for output in predictions.outputs():
        total = total + (output * torch.randn(output.shape, generator=generator)).sum()
    return predictions, torch.autograd.grad(total, pixels)[0]


def norms(detector):
    return sum(isinstance(one, nn.BatchNorm2d) for one in detector.modules())


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_predictions_and_their_gradient_are_the_same(family: str):
    detector = tiny_detector(family)
    faster = accelerated(detector)
    assert faster is not detector
    assert norms(detector) > 0
    assert norms(faster) == 0
    assert any(isinstance(one, StridedStem) for one in faster.modules())
    (expected, wanted), (found, given) = predict(detector), predict(faster)
    assert difference(expected, found) < 1e-4
    assert float((given - wanted).norm()) < 1e-4 * float(wanted.norm())


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_the_detector_stays_as_it_is(family: str):
    detector, image = tiny_detector(family), block_image((64, 64))
    before, modules = weight_hash(detector), [type(one) for one in detector.modules()]
    (detections,) = detector.detect([image])
    predict(accelerated(detector))
    assert weight_hash(detector) == before
    assert [type(one) for one in detector.modules()] == modules
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in detector.modules())
    (again,) = detector.detect([image])
    assert torch.equal(again.boxes, detections.boxes)
    assert torch.equal(again.scores, detections.scores)


def test_weights_that_do_not_change_are_shared():
    detector = tiny_detector("fasterrcnn")
    mine = {name: value.data_ptr() for name, value in detector.named_parameters()}
    theirs = {name: value.data_ptr() for name, value in accelerated(detector).named_parameters()}
    head = "model.roi_heads.box_predictor.cls_score.weight"
    assert theirs[head] == mine[head]
    assert theirs["model.backbone.stem.0.weight"] != mine["model.backbone.stem.0.weight"]


def test_an_accelerated_detector_is_frozen():
    faster = accelerated(tiny_detector("retinanet"))
    assert not any(parameter.requires_grad for parameter in faster.parameters())
    assert not any(one.training for one in faster.modules())


@pytest.mark.parametrize("family", ["retinanet", "fcos"])
def test_columns_of_no_class_are_not_computed(family: str):
    whole = tiny_detector(family)
    columns = (len(whole.class_names) - 1, 0)
    detector = type(whole)(whole.model, [whole.class_names[column] for column in columns], columns)
    faster = accelerated(detector)
    assert faster.model.head.classification_head.cls_logits.out_channels < (
        detector.model.head.classification_head.cls_logits.out_channels
    )
    (expected, wanted), (found, given) = predict(detector, batch=1), predict(faster, batch=1)
    assert found.dense.logits.shape == expected.dense.logits.shape
    assert difference(expected, found) < 1e-4
    assert float((given - wanted).norm()) < 1e-4 * float(wanted.norm())


def test_large_layers_and_pooling_go_the_fast_way(monkeypatch):
    for name in ("_LEAST_SAVED", "_LEAST_PRODUCTS"):
        monkeypatch.setattr(f"detinv.detectors.acceleration.winograd.{name}", 0)
    detector = tiny_detector("maskrcnn")
    faster = accelerated(detector)
    assert any(isinstance(one, WinogradConv2d) for one in faster.modules())
    assert sum(isinstance(one, RowPooling) for one in faster.modules()) == 2
    (expected, wanted), (found, given) = predict(detector, side=128), predict(faster, side=128)
    assert any(one._transformed is not None for one in faster.modules() if isinstance(one, WinogradConv2d))
    assert difference(expected, found) < 1e-4
    assert float((given - wanted).norm()) < 1e-3 * float(wanted.norm())


class _Skipping(nn.Module):
    """Normalises what a convolution gave, and adds what else it gave."""

    def __init__(self, block):
        super().__init__()
        self.conv, self.norm = block[0], block[1]

    def forward(self, images):
        found = self.conv(images)
        return torch.relu(self.norm(found) + 0.1 * found)


def test_a_network_whose_folding_would_be_wrong_runs_unchanged(caplog):
    detector = tiny_detector("retinanet")
    detector.model.backbone.stem = _Skipping(detector.model.backbone.stem).eval()
    with caplog.at_level(logging.WARNING):
        assert accelerated(detector) is detector
    assert "without acceleration" in caplog.text
    assert "differ by" in caplog.text


class _Failing(TorchvisionRetinaNet):
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


def test_a_network_that_cannot_be_copied_runs_unchanged(caplog):
    plain = tiny_detector("retinanet")
    detector = _Failing(plain.model, plain.class_names)
    with caplog.at_level(logging.WARNING):
        assert accelerated(detector) is detector
    assert "cannot be copied" in caplog.text


class _Large(nn.Module):
    def forward(self, features):
        if features.shape[-1] < 96:
            raise RuntimeError("kernel size can't be greater than actual input size")
        return features


def test_a_network_that_needs_large_images_is_tried_on_those():
    detector = tiny_detector("retinanet", image_size=(96, 96))
    detector.model.backbone.stem = nn.Sequential(_Large(), *detector.model.backbone.stem).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SIDE", 64)
        faster = accelerated(detector)
    assert faster is not detector
    assert norms(faster) == 0


def test_reduced_precision_is_no_more_reduced_than_the_detectors_own():
    detector = tiny_detector("maskrcnn")
    faster = accelerated(detector)
    exact, _ = predict(detector)
    with torch.autocast("cpu", torch.bfloat16):
        (expected, _), (found, gradient) = predict(detector), predict(faster)
    assert difference(exact, found) < 2 * difference(exact, expected)
    assert gradient.isfinite().all()


def test_differences_are_measured_in_deviations_of_the_output():
    detector = tiny_detector("retinanet")
    predictions, _ = predict(detector)
    logits = predictions.dense.logits.detach().clone()
    deviation = float(logits.std(correction=0))
    logits[0, 3, 1] += 0.5 * deviation
    other = type(predictions)(type(predictions.dense)(logits, predictions.dense.deltas, predictions.dense.head))
    assert difference(predictions, predictions) == 0
    assert difference(predictions, other) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("spoilt", ["expected", "found", "both"])
def test_outputs_that_are_not_finite_differ_infinitely(spoilt: str):
    predictions, _ = predict(tiny_detector("retinanet"))

    def with_nan(node):
        # Not in the first output that is compared: there Python's max would keep it.
        deltas = node.dense.deltas.detach().clone()
        deltas[0, 0, 0] = torch.nan
        return type(node)(type(node.dense)(node.dense.logits, deltas, node.dense.head))

    broken = with_nan(predictions)
    pair = {"expected": (broken, predictions), "found": (predictions, broken), "both": (broken, broken)}[spoilt]
    assert difference(*pair) == torch.inf


class _Recording(TorchvisionRetinaNet):
    """Notes what its products may be rounded to; a TF32 product would differ by more than the tolerance."""

    precisions: set[str] = set()

    def forward(self, *arguments, **options):
        self.precisions |= {torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision}
        return super().forward(*arguments, **options)


def test_a_copy_is_tested_without_reduced_precision_of_products():
    plain = tiny_detector("retinanet")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        accelerated(_Recording(plain.model, plain.class_names))
        assert _Recording.precisions == {"ieee"}
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.slow
def test_a_large_network_predicts_the_same():
    detector = load_torchvision("retinanet_resnet50_fpn", weights="random", image_size=[160, 160])
    faster = accelerated(detector)
    assert faster is not detector
    (expected, wanted), (found, given) = predict(detector, 1, 160), predict(faster, 1, 160)
    assert difference(expected, found) < 1e-4
    # Rectifiers switch where two roundings of a number lie on both sides of zero.
    assert float((given - wanted).norm()) < 3e-2 * float(wanted.norm())
