"""A small CenterNet, written as a user would write it, and fitted to coloured rectangles within seconds."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.assigners import Assignment
from detinv.detectors.heads.grid import GridHeads
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.layouts.layout import Detections, Layout
from detinv.layouts.matching import distinct_best

SIDE, STRIDE, CELLS, MOST = 64, 4, 16, 20
NAMES = ("red", "green", "blue")


class HeatMapNetwork(nn.Module):
    """Heat map of three classes, offset of the centre in its cell, and width and height, in cells."""

    def __init__(self) -> None:
        super().__init__()

        def block(inner: int, outer: int, stride: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1), nn.SiLU())

        self.stem = nn.Sequential(block(3, 12, 2), block(12, 24, 2))
        self.deep = nn.Sequential(block(24, 32, 2), block(32, 32, 2), block(32, 32, 1))
        self.mixed = block(56, 48, 1)
        self.last = nn.Conv2d(48, 7, 1)
        nn.init.constant_(self.last.bias[:3].detach(), -3.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stem((pixels - 0.5) / 0.25)
        coarse = F.interpolate(self.deep(fine), scale_factor=4.0, mode="bilinear")
        heat, offset, sides = self.last(self.mixed(torch.cat([fine, coarse], 1))).split([3, 2, 2], 1)
        return heat, offset, sides


class TinyCenterNet(AbstractDetector):
    """Reports the local maxima of its heat map; boxes are not suppressed.

    Args:
        declared: constants of the post-processing other than those of `detect`, for adapters that are wrong.
    """

    trained_on_photographs = False

    def __init__(self, network: nn.Module, **declared) -> None:
        super().__init__()
        self.network, self.declared = network, {"peak_kernel": 3, "nms_thresh": None} | declared
        self.class_names, self.size_divisor, self.detections_per_image = NAMES, SIDE, MOST
        self.register_buffer("pixel_mean", torch.full((3,), 0.5), persistent=False)
        self._heads = GridHeads([STRIDE], self._make_head)
        self.freeze()

    def _make_head(self, cells, level_sizes, canvas):
        post = PostProcessing(
            0.1, topk_candidates=MOST, detections_per_image=MOST, topk_per="image", clip="never", **self.declared
        )
        return DenseHead(cells, level_sizes, CentreCodec(), CentreAssigner(), post)

    def network_size(self, image_size):
        return SIDE, SIDE

    def forward(self, pixels, image_sizes=None, regions=None):
        with torch.autocast(pixels.device.type, enabled=False):
            heat, offset, sides = (each.flatten(2).transpose(1, 2) for each in self.network(pixels.float()))
        return Predictions(DensePredictions(heat, torch.cat([offset, sides], -1), self._heads.at(pixels)))

    @torch.no_grad()
    def detect(self, images):
        return [self._infer(image) for image in images]

    def _infer(self, image):
        heat, offset, sides = self.network(self.network_image(image)[None].to(self.device))
        heat = heat.sigmoid()
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        scores, best = heat.flatten().topk(MOST)
        best, scores = best[scores > 0.1], scores[scores > 0.1]
        labels, row, column = best // CELLS**2, best // CELLS % CELLS, best % CELLS
        centre = torch.stack([column, row], 1) + offset[0, :, row, column].T
        half = sides[0, :, row, column].T / 2
        size = (image.shape[1], image.shape[2])
        boxes = self.boxes_in_image(STRIDE * torch.cat([centre - half, centre + half], 1), (SIDE, SIDE), size)
        return Detections(boxes, scores, labels, size).cpu()


@dataclass(frozen=True)
class CentreCodec:
    """Offset of the centre from the cell's corner, and the sides, in cells."""

    parts: ClassVar[tuple[str, ...]] = ("dx", "dy", "w", "h")

    def decode(self, deltas, anchors):
        cell = anchors[..., 2:] - anchors[..., :2]
        centre, half = anchors[..., :2] + deltas[..., :2] * cell, deltas[..., 2:] * cell / 2
        return torch.cat([centre - half, centre + half], -1)

    def encode(self, boxes, anchors):
        cell = anchors[..., 2:] - anchors[..., :2]
        low, high = boxes[..., :2], boxes[..., 2:]
        return torch.cat([((low + high) / 2 - anchors[..., :2]) / cell, (high - low) / cell], -1)

    def expresses(self, boxes, anchors):
        return torch.ones(*boxes.shape[:2], len(anchors), dtype=torch.bool, device=boxes.device)


class CentreAssigner:
    """Gives each object the cell of its centre, or the nearest that no other object has."""

    def assign(self, anchors, level_sizes, boxes, valid):
        apart = ((boxes[..., :2] + boxes[..., 2:])[:, :, None] - (anchors[:, :2] + anchors[:, 2:])).abs().amax(-1)
        best = distinct_best(-apart, valid)
        slots = torch.arange(boxes.shape[1], device=boxes.device).expand_as(best)
        owner = torch.full((len(boxes), len(anchors) + 1), -1, device=boxes.device)
        owner = owner.scatter(1, torch.where(valid, best, len(anchors)), slots)[:, :-1]
        return Assignment(owner, owner < 0, best[..., None], valid[..., None])


def scene(generator: torch.Generator, apart: int = 8) -> tuple[Tensor, Layout]:
    """One to three rectangles, each of the colour of its class, on noise; RGB in [0, 1].

    Args:
        apart: least distance of two of them, in pixels.
    """
    image = 0.4 + 0.05 * torch.randn(3, SIDE, SIDE, generator=generator)
    boxes, labels = [], []

    def drawn(low: int, high: int, count: int = 1) -> list[int]:
        return torch.randint(low, high, (count,), generator=generator).tolist()

    for _ in range(drawn(1, 4)[0]):
        width, height = drawn(12, 29, 2)
        x, y, label = *drawn(0, SIDE - width), *drawn(0, SIDE - height), drawn(0, 3)[0]
        if any(
            x < x1 + apart and x0 < x + width + apart and y < y1 + apart and y0 < y + height + apart
            for x0, y0, x1, y1 in boxes
        ):
            continue
        image[:, y : y + height, x : x + width] = 0.15 + 0.03 * torch.randn(3, height, width, generator=generator)
        image[label, y : y + height, x : x + width] += 0.7
        boxes.append((x, y, x + width, y + height))
        labels.append(label)
    return image.clamp(0, 1), Layout(torch.tensor(boxes).float(), torch.tensor(labels), (SIDE, SIDE), "scene")


@cache
def fitted_network(steps: int = 200) -> HeatMapNetwork:
    """Fit the network as CenterNet is trained: a Gaussian around each centre, and a focal loss."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        network, generator = HeatMapNetwork(), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(network.parameters(), 4e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
        ys, xs = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
        for _ in range(steps):
            scenes = [scene(generator) for _ in range(12)]
            wanted = torch.zeros(len(scenes), 3, CELLS, CELLS)
            places, regression = [], []
            for number, (_, layout) in enumerate(scenes):
                for box, label in zip(layout.boxes / STRIDE, layout.labels.tolist(), strict=True):
                    centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
                    x, y = centre.long().tolist()
                    spread = float(sides.min()) / 5
                    bump = torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * spread**2))
                    wanted[number, label] = torch.maximum(wanted[number, label], bump)
                    places.append((number, y, x))
                    regression.append(torch.cat([centre - torch.tensor([x, y]), sides]))
            heat, offset, sides = network(torch.stack([image for image, _ in scenes]))
            image, y, x = torch.tensor(places).T
            found = torch.cat([offset, sides], 1)[image, :, y, x]
            rise, fall = F.logsigmoid(heat), F.logsigmoid(-heat)
            focal = torch.where(
                wanted == 1, fall.exp() ** 2 * rise, (1 - wanted) ** 4 * rise.exp() ** 2 * fall
            ).sum() / len(places)
            loss = F.l1_loss(found, torch.stack(regression)) - focal
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def lively_network() -> HeatMapNetwork:
    """Return a network that is not fitted, whose heat map has a maximum every few cells."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = HeatMapNetwork()
        network.last.weight[:3] *= 40
        network.last.bias[3:] += torch.tensor([0.0, 0.0, 3.0, 3.0])
    return network.eval()


def fitted_detector(**declared) -> TinyCenterNet:
    """Return the fitted detector; see `TinyCenterNet` for what may be declared wrongly."""
    return TinyCenterNet(fitted_network(), **declared)
