"""Finds the raw prediction that each detection came from.

`detect` is the library's own inference, which does not report rows. They are found afterwards and on demand: the raw
outputs pass through the declared post-processing, which keeps track of rows, and its result is compared with what the
library reported. This works for every adapter and for detections that were filtered or read from a file. `detect` stays
as fast as it is, and remains the only thing by which results are judged.

Legend: N detections, M replayed ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.canvas import on_canvas
from detinv.detectors.heads.postprocess import postprocess
from detinv.inputs.images import eight_bit_images
from detinv.inputs.torch_settings import usual_torch
from detinv.layouts.layout import EXACT, Detections, Rounding

BOX_TOLERANCE = 0.05
"""Pixels by which a box may differ and still count as the same detection."""
SCORE_TOLERANCE = 1e-4
"""Amount by which a score may differ and still count as the same detection."""
# The second-best match must be farther away by this factor; otherwise the choice between the two would be a guess.
_MARGIN = 2.0


@usual_torch()
@torch.no_grad()
def locate_rows(
    detector: AbstractDetector,
    images: Iterable[Any],
    detections: Sequence[Detections],
    rounding: Rounding = EXACT,
) -> list[Detections]:
    """Return the detections with `rows` and, of a two-stage detector, `regions`.

    Each image passes the network once, alone, in fp32. A detection is matched when exactly one replayed detection of
    its class agrees within `BOX_TOLERANCE` and `SCORE_TOLERANCE`; any other gets -1.

    Args:
        images: 8-bit RGB, (3, height, width), as `detect` received them.
        detections: of each image, in its frame and with the detector's own labels.
        rounding: of their numbers, by which they may differ in addition.

    Raises:
        ConfigError: for images of another kind, as `detect` does.
        ValueError: when images and detections differ in number or size.
    """
    located = []
    for image, found in zip(eight_bit_images(images), detections, strict=True):
        size = (image.shape[1], image.shape[2])
        if found.image_size != size:
            raise ValueError(f"detections in an image of size {found.image_size}, but the image has size {size}")
        replayed = replay(detector, image)
        assert replayed.rows is not None
        place = match_detections(found, replayed, rounding)
        rows = torch.where(place >= 0, _at(replayed.rows, place), -1)
        regions = replayed.regions
        if regions is not None:
            regions = torch.where(place[:, None] >= 0, _at(regions, place), torch.nan)
        located.append(replace(found, rows=rows, regions=regions))
    return located


@torch.no_grad()
def replay(detector: AbstractDetector, image: UInt8[Tensor, "3 height width"]) -> Detections:
    """Return what the declared post-processing makes of an image's raw outputs, with rows, in the frame of the image.

    Args:
        image: 8-bit RGB, of any size.
    """
    size = (image.shape[1], image.shape[2])
    pixels = detector.network_image(image)
    seen = (pixels.shape[1], pixels.shape[2])
    with torch.autocast(detector.device.type, enabled=False):
        (found,) = postprocess(detector(on_canvas(detector, [pixels]), [seen]), [seen])
    if seen == size:
        return found
    regions = None if found.regions is None else detector.boxes_in_image(found.regions, seen, size)
    return replace(found, boxes=detector.boxes_in_image(found.boxes, seen, size), image_size=size, regions=regions)


def match_detections(found: Detections, replayed: Detections, rounding: Rounding = EXACT) -> Int64[Tensor, " found"]:
    """Return the number of the replayed detection that equals each found one, or -1 if none or several do.

    Args:
        found, replayed: of one image, on the CPU.
        rounding: of the numbers of those found.
    """
    if not len(found) or not len(replayed):
        return torch.full((len(found),), -1)
    apart = (found.boxes[:, None] - replayed.boxes).abs().amax(-1) / (BOX_TOLERANCE + rounding.box)
    apart = torch.maximum(apart, (found.scores[:, None] - replayed.scores).abs() / (SCORE_TOLERANCE + rounding.score))
    comparable = (found.labels[:, None] == replayed.labels) & ~apart.isnan()
    apart = torch.where(comparable, apart, torch.inf)
    nearest, place = apart.min(1)
    beyond = apart.scatter(1, place[:, None], torch.inf).amin(1)
    mutual = apart.argmin(0)[place] == torch.arange(len(found))
    certain = (nearest <= 1) & (beyond > _MARGIN * nearest) & mutual
    return torch.where(certain, place, -1)


def _at(values: Tensor, place: Int64[Tensor, " found"]) -> Tensor:
    """Return the values at these places; arbitrary ones where the place is -1."""
    if not len(values):
        return values.new_zeros(len(place), *values.shape[1:])
    return values[place.clamp(min=0)]
