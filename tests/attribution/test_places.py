"""Cells of feature maps are placed where they look: what one cell says appears at the pixels that it depends on."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import detinv
from detinv.attribution.core.frames import cells_extent
from detinv.attribution.methods.features.hires_cam import HiResCAM
from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions


def convolutions(*settings: tuple[int, int, int]) -> list[nn.Module]:
    """Return layers of (kernel, stride, padding) whose weights are all equal."""
    layers = []
    for kernel, stride, padding in settings:
        layer = nn.Conv2d(3, 3, kernel, stride, padding)
        nn.init.constant_(layer.weight, 1 / (3 * kernel * kernel))
        nn.init.zeros_(layer.bias)
        layers.append(layer)
    return layers


class FilledUp(nn.Module):
    """Zeros beyond the right and lower edges, as networks of patches add them to images of any size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, pixels: Tensor) -> Tensor:
        return F.pad(pixels, (0, -pixels.shape[3] % self.stride, 0, -pixels.shape[2] % self.stride))


NETWORKS = {
    "patches": (16, [FilledUp(16), *convolutions((16, 16, 0))]),
    "even kernels": (8, [FilledUp(8), *convolutions(*[(2, 2, 0)] * 3)]),
    "even kernels, padded": (8, [FilledUp(8), *convolutions(*[(4, 2, 1)] * 3)]),
    "odd kernels": (8, convolutions(*[(3, 2, 1)] * 3)),
    "stem of a ResNet": (4, [*convolutions((7, 2, 3)), nn.AvgPool2d(3, 2, 1)]),
    "pooling, rounded up": (16, [nn.AvgPool2d(2, 2, ceil_mode=True) for _ in range(4)]),
}


class OneCellDetector(AbstractDetector):
    """Reads its class from one cell of a feature map.

    Args:
        size: (height, width) of the network's input.
        cell: row and column, counted from the end where they are negative.
        letterbox: whether an image keeps its aspect ratio, and the canvas is filled up in grey.
    """

    def __init__(self, network: str, size: tuple[int, int], cell: tuple[int, int], letterbox: bool = False) -> None:
        super().__init__()
        self.class_names, self.detections_per_image = ("one", "two"), 4
        self.size, self.cell, self.letterbox, self.size_divisor = size, cell, letterbox, 32 if letterbox else 1
        self.stride, layers = NETWORKS[network]
        self.features = nn.Sequential(*layers)
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.freeze()

    def network_size(self, image_size):
        if not self.letterbox:
            return self.size
        factor = min(self.size[0] / image_size[0], self.size[1] / image_size[1])
        return round(image_size[0] * factor), round(image_size[1] * factor)

    def feature_layers(self):
        return (FeatureLayer("last", "features", self.stride, 3),)

    def level_layers(self, head="dense"):
        return super().level_layers(head) if head != "dense" else self.feature_layers()

    def forward(self, pixels, image_sizes=None, regions=None):
        value = self.features(pixels)[:, :, self.cell[0], self.cell[1]].sum(1)
        anchors = torch.tensor([[0.0, 0.0, pixels.shape[3], pixels.shape[2]]])
        head = DenseHead(anchors, (1,), DistanceCodec(), None, PostProcessing(0.05, 0.5, 10, 4))
        logits = torch.stack([value + 2, -value - 2], 1)[:, None]
        return Predictions(DensePredictions(logits, logits.new_full((len(pixels), 1, 4), 0.4), head))

    def detect(self, images):
        return postprocess(self(on_canvas(self, [self.network_image(one) for one in images])), [self.size])


def centre_of(heat: Tensor) -> Tensor:
    """Return (x, y) of the energy's centre, in pixels."""
    height, width = heat.shape
    xs, ys = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack([(heat * xs).sum(), (heat * ys[:, None]).sum()]) / heat.sum()


def looked_at(detector: OneCellDetector, image_size: tuple[int, int]) -> Tensor:
    """Return (x, y) in the photograph of the pixels that the cell depends on, by their gradient alone."""
    height, width = detector.network_size(image_size)
    canvas = on_canvas(detector, [torch.rand(3, height, width)]).requires_grad_()
    detector(canvas).dense.logits[0, 0, 0].backward()
    assert canvas.grad is not None
    seen = canvas.grad[0].abs().sum(0)
    return centre_of(seen) * torch.tensor([image_size[1] / width, image_size[0] / height])


@pytest.mark.parametrize(("letterbox", "cell"), [(False, (2, 2)), (False, (-2, -2)), (True, (2, 2))])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_cell_appears_where_it_looks(network: str, letterbox: bool, cell: tuple[int, int]):
    """97 and 75 are divided by no stride; with a letterbox the canvas is larger than the image."""
    detector = OneCellDetector(network, (150, 194) if letterbox else (75, 97), cell, letterbox)
    image = torch.full((3, 90, 120), 200, dtype=torch.uint8)
    box, label = torch.tensor([[10.0, 10.0, 100.0, 80.0]]), torch.tensor([0])
    (found,) = detinv.attribute(detector, [image], [box], [label], method=HiResCAM(), layers=["last"])
    height, width = detector.network_size((90, 120))
    half = 0.5 * detector.stride * torch.tensor([120 / width, 90 / height])
    assert ((centre_of(found.heat()) - looked_at(detector, (90, 120))).abs() <= half + 0.01).all()


@pytest.mark.parametrize("smoothing", [0.0, 3.0])
@pytest.mark.parametrize("network", ["patches", "even kernels", "even kernels, padded", "pooling, rounded up"])
def test_even_kernels_are_placed_exactly(network: str, smoothing: float):
    method = HiResCAM(smoothing=smoothing)
    detector = OneCellDetector(network, (75, 97), (2, 2))
    image = torch.full((3, 75, 97), 200, dtype=torch.uint8)
    box, label = torch.tensor([[10.0, 10.0, 60.0, 60.0]]), torch.tensor([0])
    (found,) = detinv.attribute(detector, [image], [box], [label], method=method, layers=["last"])
    torch.testing.assert_close(centre_of(found.heat()), looked_at(detector, (75, 97)), atol=0.05, rtol=0)


def test_the_extent_of_cells():
    assert cells_extent(16, (5, 7), (75, 97)) == (0, 0, 112, 80)
    assert cells_extent(8, (16, 16), (128, 128)) == (0, 0, 128, 128)
    # Of an unknown stride, or of one that does not fit, the cells share the canvas.
    assert cells_extent(None, (5, 7), (75, 97)) == cells_extent(8, (5, 7), (75, 97)) == (0, 0, 97, 75)
