"""Maps against a plain reference: gradients of the raw outputs by themselves, and pixels placed one by one."""

import math

import pytest
import torch
from torch import Tensor, nn

import detinv
from detinv.attribution.core.forward import canvas_of
from detinv.attribution.methods.features.hires_cam import HiResCAM
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.hooks import capture_features
from tests.fakes import block_image, tiny_detector

SIGNED = HiResCAM(signed=True)
# Of the detections that are explained, a few.
LEAST_SCORE = 0.9
CANVASES = {
    # Of an odd size; an image of another shape is stretched.
    "stretched": ((61, 83), (0, 0)),
    # The image keeps its shape at the upper left, or in the middle with what is left divided unequally.
    "letterbox": ((96, 96), (0, 0)),
    "centred letterbox": ((96, 96), (13, 6)),
}


class StridedDetector(AbstractDetector):
    """One layer, of patches of `stride` pixels; the class adds up its cells with random weights of both signs."""

    def __init__(self, stride: int, canvas: str) -> None:
        super().__init__()
        self.class_names, self.detections_per_image = ("one", "two"), 4
        self.canvas, (self.left, self.top) = CANVASES[canvas]
        self.keeps_shape, self.stride, self.size_divisor = canvas != "stretched", stride, 1
        torch.manual_seed(stride)
        self.features = nn.Conv2d(3, 4, stride, stride)
        self.pad = nn.ZeroPad2d((0, -self.canvas[1] % stride, 0, -self.canvas[0] % stride))
        cells = tuple(-(-side // stride) for side in self.canvas)
        self.register_buffer("weights", torch.randn(4, *cells))
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.freeze()

    def inner_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the image on the canvas."""
        if not self.keeps_shape:
            return self.canvas
        factor = min(
            (side - start) / of for side, start, of in zip(self.canvas, (self.top, self.left), image_size, strict=True)
        )
        return round(image_size[0] * factor), round(image_size[1] * factor)

    def network_size(self, image_size):
        return self.canvas

    def network_image(self, image):
        height, width = self.inner_size((image.shape[1], image.shape[2]))
        inner = nn.functional.interpolate(image[None].float() / 255, (height, width), mode="bilinear")[0]
        whole = torch.full((3, *self.canvas), 0.5)
        whole[:, self.top : self.top + height, self.left : self.left + width] = inner
        return whole

    def boxes_in_image(self, boxes, network_size, image_size):
        height, width = self.inner_size(image_size)
        moved = boxes - boxes.new_tensor([self.left, self.top] * 2)
        return moved * boxes.new_tensor([image_size[1] / width, image_size[0] / height] * 2)

    def feature_layers(self):
        return (FeatureLayer("last", "features", self.stride, 4),)

    def level_layers(self, head="dense"):
        return super().level_layers(head) if head != "dense" else self.feature_layers()

    def forward(self, pixels, image_sizes=None, regions=None):
        value = (self.features(self.pad(pixels)) * self.weights).sum((1, 2, 3))
        anchors = torch.tensor([[0.0, 0.0, pixels.shape[3], pixels.shape[2]]])
        head = DenseHead(anchors, (1,), DistanceCodec(), None, PostProcessing(0.05, 0.5, 10, 4))
        logits = torch.stack([value, -value], 1)[:, None]
        return Predictions(DensePredictions(logits, logits.new_full((len(pixels), 1, 4), 0.4), head))

    def detect(self, images):
        raise NotImplementedError


def heat_by_hand(detector: StridedDetector, image: Tensor) -> Tensor:
    """Return activations times weights at every pixel of the photograph, between the centres of the four cells near."""
    canvas = on_canvas(detector, [detector.network_image(image)])
    cells = (detector.features(detector.pad(canvas))[0] * detector.weights).sum(0)
    rows, columns = cells.shape
    height, width = image.shape[1:]
    inner_height, inner_width = detector.inner_size((height, width))
    found = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            # Of the pixel's centre, on the canvas in pixels; then counted in cells, from the centre of the first.
            down = detector.top + (y + 0.5) * inner_height / height
            right = detector.left + (x + 0.5) * inner_width / width
            row = min(max(down / detector.stride - 0.5, 0.0), rows - 1.0)
            column = min(max(right / detector.stride - 0.5, 0.0), columns - 1.0)
            for i in {math.floor(row), math.ceil(row)}:
                for j in {math.floor(column), math.ceil(column)}:
                    found[y, x] += (1 - abs(row - i)) * (1 - abs(column - j)) * cells[i, j]
    return found


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
def test_every_pixel_has_the_value_of_its_place(stride: int, canvas: str):
    detector = StridedDetector(stride, canvas)
    image = torch.randint(0, 256, (3, 37, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(stride))
    box, label = torch.tensor([[1.0, 2.0, 50.0, 35.0]]), torch.tensor([0])
    (found,) = detinv.attribute(detector, [image], [box], [label], method=SIGNED, layers=["last"])
    expected = heat_by_hand(detector, image)
    # Evidence against the class stays negative on the photograph.
    assert found.signed and expected.min() < 0 < expected.max()
    torch.testing.assert_close(found.heat(), expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


def row_by_hand(predictions: Predictions, image_size: tuple[int, int], box: Tensor, label: int, score: float) -> int:
    """Return the only proposal whose decoded box and score are those of a detection, where both sizes are the same."""
    assert predictions.roi is not None
    roi, found = predictions.roi.detach(), []
    for row, (region, logits, deltas) in enumerate(zip(roi.rois[0], roi.logits[0], roi.deltas[0], strict=True)):
        x0, y0, x1, y1 = region.tolist()
        dx, dy, dw, dh = deltas[label].tolist()
        x, y = (x0 + x1) / 2 + dx / 10 * (x1 - x0), (y0 + y1) / 2 + dy / 10 * (y1 - y0)
        width, height = (x1 - x0) * math.exp(dw / 5), (y1 - y0) * math.exp(dh / 5)
        decoded = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        decoded[0::2].clamp_(0, image_size[1])
        decoded[1::2].clamp_(0, image_size[0])
        near = float((decoded - box).abs().max()) < 1e-3
        if near and abs(float(logits.softmax(0)[label]) - score) < 1e-5:
            found.append(row)
    (row,) = found
    return row


@pytest.mark.parametrize("family", ["fasterrcnn", "maskrcnn"])
def test_a_second_stage_is_asked_about_the_proposal_that_became_the_detection(family: str):
    detector, image = tiny_detector(family), block_image((64, 64))
    (detections,) = detector.detect([image])
    detections = detections.above(LEAST_SCORE)
    levels = detector.level_layers("roi")
    pixels, _, size = canvas_of(detector, image)
    assert size == (64, 64)
    with capture_features(detector, levels) as features:
        predictions = detector(pixels, [size])
    assert predictions.roi is not None
    explained = detinv.attribute(detector, [image], method=SIGNED, score_thresh=LEAST_SCORE)
    assert len(explained) == len(detections) > 1
    rows = set()
    for one, box, label, score in zip(
        explained, detections.boxes, detections.labels.tolist(), detections.scores.tolist(), strict=True
    ):
        row = row_by_hand(predictions, size, box, label, score)
        logit = predictions.roi.logits[0, row, label]
        assert one.value == pytest.approx(float(logit.detach()), abs=1e-4)
        level = features[levels[int(predictions.roi.levels[0, row])].name]
        (gradient,) = torch.autograd.grad(logit, level, retain_graph=True)
        expected = (gradient * level).sum(1)[0].detach()
        torch.testing.assert_close(one.map, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
        rows.add(row)
    assert len(rows) > 1
