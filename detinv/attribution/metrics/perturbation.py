"""Insertion and deletion: whether a detection comes with the pixels that a map marks, and goes with them.

Legend: N objects, M maps of each, P points of a curve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from detinv.attribution.core.forward import canvas_of
from detinv.attribution.core.raw_outputs import RawOutputs, raw_outputs
from detinv.attribution.metrics.fills import Fill, filled
from detinv.attribution.metrics.found_again import Likeness, Sought, likeness
from detinv.attribution.metrics.pixel_order import on_canvas_of, pixel_ranks
from detinv.detectors.base import AbstractDetector
from detinv.inputs.ranges import check_range


@dataclass(frozen=True)
class Perturbation:
    """How pixels are inserted and deleted, and how the detection is found again.

    Args:
        steps: from one end of the curves to the other.
        spacing: "even" steps; or "squared" ones, which are small where the most important pixels are. The area under a
            curve is taken over the share of pixels in either case.
        within: the last step has changed as many pixels as the whole "image" has, or as the object's "box".
        deleted, empty: what replaces pixels that are deleted, and what an image is before anything is inserted.
        likeness: see `likeness`.
        batch_size: images that pass through the network together.
    """

    steps: int = 20
    spacing: Literal["even", "squared"] = "even"
    within: Literal["image", "box"] = "image"
    deleted: Fill = "mean"
    empty: Fill = "mean"
    likeness: Likeness = "iou_score"
    batch_size: int = 8

    def __post_init__(self) -> None:
        check_range(self, "steps batch_size", 1)

    @property
    def shares(self) -> Float[Tensor, " point"]:
        """The share of the pixels that has been changed at each point, from 0 to 1."""
        even = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        return even.square() if self.spacing == "squared" else even

    def area(self, curves: Float[Tensor, "*curves point"]) -> Float[Tensor, "*curves"]:
        """Return the area under curves over the share of pixels, by the trapezoidal rule."""
        return torch.trapezoid(curves.double(), self.shares, dim=-1)


@dataclass(frozen=True, eq=False)
class Curves:
    """How well the detection is found again at each point.

    Args:
        insertion: from the empty image.
        deletion: from the image as it is.
        before: on the image as it is.
    """

    insertion: Float[Tensor, "object map point"]
    deletion: Float[Tensor, "object map point"]
    before: Float[Tensor, " object"]


@torch.no_grad()
def curves_of(
    settings: Perturbation,
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    boxes: Float[Tensor, "object 4"],
    labels: Int64[Tensor, " object"],
    heats: Float[Tensor, "object map height width"],
    seed: int = 0,
) -> Curves:
    """Insert and delete the pixels of one image in the order of each map.

    Pixels are changed in the frame of the network's input, all versions of the image in batches.

    Args:
        image: 8-bit RGB.
        boxes: XYXY in pixels of the image, of the detections to be found again.
        labels: their classes.
        heats: in the frame of the image.
        seed: of random colours, and of the order of equal values.
    """
    pixels, frame, size = canvas_of(detector, image)
    mean = detector.pixel_mean
    sought_boxes = frame.to_canvas(boxes).to(pixels)
    raw = _run(detector, pixels, size)
    sought = Sought.of(raw, sought_boxes, labels.to(pixels.device), size)
    everyone = torch.arange(len(boxes), device=pixels.device)
    kind = settings.likeness
    before = torch.cat([likeness(kind, raw, sought, one[None], size) for one in everyone])
    maps, inside = on_canvas_of(heats, frame)
    ranks = [[pixel_ranks(one, inside, seed) for one in mine] for mine in maps]
    fills = [filled(fill, pixels[0], mean, seed) for fill in (settings.empty, settings.deleted)]
    totals = _totals(settings, inside, sought_boxes)
    found = torch.zeros(2, len(boxes), heats.shape[1], settings.steps + 1)
    # What the network has to see once, and all points of the curves at which it is seen.
    due: dict[_Version, list[tuple[int, int, int, int]]] = {}
    for obj in range(len(boxes)):
        for number in range(heats.shape[1]):
            for curve, insertion in enumerate((True, False)):
                for place, share in enumerate(settings.shares):
                    count = round(float(share) * totals[obj])
                    version = _Version.of(obj, number, insertion, count, whole=int(inside.sum()))
                    due.setdefault(version, []).append((curve, obj, number, place))
    keys = list(due)
    for start in range(0, len(keys), settings.batch_size):
        part = keys[start : start + settings.batch_size]
        versions = torch.stack([one.made(pixels[0], fills, ranks, inside) for one in part])
        of_whom = torch.tensor([one.object for one in part], device=pixels.device)
        scores = likeness(kind, _run(detector, versions, size), sought, of_whom, size).cpu()
        for one, score in zip(part, scores, strict=True):
            for point in due[one]:
                found[point] = score
    return Curves(found[0], found[1], before.cpu())


@dataclass(frozen=True)
class _Version:
    """A changed image: with the first `count` pixels of a map only, or without them.

    Args:
        object: that is to be found again.
        map: number among the object's; -1 where the order of pixels plays no part.
        insertion: whether those pixels are shown, or all others.
        count: of pixels that come first.
    """

    object: int
    map: int
    insertion: bool
    count: int

    @classmethod
    def of(cls, obj: int, number: int, insertion: bool, count: int, whole: int) -> "_Version":
        """Return a version; all maps share those that are wholly there or wholly empty."""
        if (insertion and count == whole) or (not insertion and count == 0):
            return cls(obj, -1, False, 0)
        return cls(obj, number if 0 < count < whole else -1, insertion, count)

    def made(
        self, pixels: Tensor, fills: Sequence[Tensor], ranks: Sequence[Sequence[Tensor]], inside: Tensor
    ) -> Tensor:
        """Return the image; padding stays as it is."""
        if self.map < 0:
            kept = ~inside if self.insertion or self.count else torch.ones_like(inside)
        else:
            first = ranks[self.object][self.map] < self.count
            kept = (first if self.insertion else ~first) | ~inside
        return torch.where(kept.to(pixels.device), pixels, fills[0 if self.insertion else 1])


def _run(detector: AbstractDetector, versions: Tensor, size: tuple[int, int]) -> RawOutputs:
    with torch.autocast(detector.device.type, enabled=False):
        return raw_outputs(detector(versions, [size] * len(versions)))


def _totals(settings: Perturbation, inside: Tensor, boxes: Tensor) -> list[int]:
    """Return how many pixels the last step has changed, for each object."""
    whole = int(inside.sum())
    if settings.within == "image":
        return [whole] * len(boxes)
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist()
    return [max(1, min(round(one), whole)) for one in areas]
