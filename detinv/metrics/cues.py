"""The cue that identifies striped classes: does an image show their orientation?"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.layouts.layout import Layout

# The frequencies of texture, in cycles per pixel: neither shading (below) nor single pixels (above). The band is a full
# ring, so that noise has no preferred direction; the planted stripes, 6 pixels apart, have 0.167.
LOWEST_FREQUENCY = 0.08
HIGHEST_FREQUENCY = 0.45
# Fewer cycles than these in the box's shorter side belong to the object's outline.
_FEWEST_CYCLES = 1.5
# Side of the (zero-padded) spectrum, large enough for a fine grid of directions.
_SPECTRUM = 256


class OrientationAgreement(TypedDict):
    """How many objects of striped classes show their stripes.

    `objects` examined; the `share` of them, in [0, 1], whose orientation is the planted one, NaN without an object;
    `per_class`, the same share by label, for labels that occur.
    """

    objects: int
    share: float
    per_class: dict[int, float]


def dominant_orientation(image: UInt8[Tensor, "3 height width"], box: Float[Tensor, " 4"]) -> float:
    """Return the direction of the strongest spatial frequency in a box, in degrees in [0, 180).

    The crop, less its mean, is weighted with a Hann window and Fourier transformed channel by channel. The strongest
    frequency is that of the channels' summed power, among those of 0.08 to 0.45 cycles per pixel with at least 1.5
    cycles in the shorter side of the box.

    Args:
        image: RGB, 0 to 255.
        box: XYXY in pixels; rounded outwards to whole pixels and clipped to the image.

    Returns:
        angle of the wave vector (across the stripes) from the x axis towards the y axis, which points down; NaN when
        the box is too small for such a frequency, or the crop is of one colour.
    """
    height, width = image.shape[1:]
    x0, y0 = (max(int(value), 0) for value in box[:2].floor().tolist())
    x1, y1 = (min(int(value), limit) for value, limit in zip(box[2:].ceil().tolist(), (width, height), strict=True))
    crop = image[:, y0:y1, x0:x1].double()
    rows, columns = crop.shape[1:]
    if rows < 2 or columns < 2:
        return float("nan")
    window = _hann(rows)[:, None] * _hann(columns)
    # The weighted mean leaves nothing at frequency zero that could leak into the band.
    crop = (crop - (crop * window).sum((1, 2), keepdim=True) / window.sum()) * window
    size = max(_SPECTRUM, rows, columns)
    power = torch.fft.rfft2(crop, s=(size, size)).abs().square().sum(0)
    fy = torch.fft.fftfreq(size, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(size, dtype=torch.float64)
    frequency = torch.hypot(fx, fy)
    lowest = max(LOWEST_FREQUENCY, _FEWEST_CYCLES / min(rows, columns))
    power = torch.where((frequency >= lowest) & (frequency <= HIGHEST_FREQUENCY), power, 0.0)
    strongest = int(power.argmax())
    # A crop of one colour leaves only rounding errors.
    if power.flatten()[strongest] < 1e-6:
        return float("nan")
    row, column = divmod(strongest, power.shape[1])
    return float(torch.rad2deg(torch.atan2(fy[row, 0], fx[column]))) % 180.0


def orientation_agreement(
    layouts: Sequence[Layout],
    images: Sequence[UInt8[Tensor, "3 height width"]],
    planted: Mapping[int, float],
    tolerance: float = 15.0,
) -> OrientationAgreement:
    """Return the share of the objects of striped classes whose strongest frequency has the planted direction.

    Args:
        layouts: in pixels of the images.
        images: RGB, 0 to 255, one for each layout.
        planted: direction across the stripes, in degrees, by label; objects of other labels are ignored.
        tolerance: in degrees; orientations are compared modulo 180. Chance level is tolerance / 90.

    Raises:
        ValueError: when layouts and images differ in number or size.
    """
    counts: dict[int, list[int]] = {}
    for layout, image in zip(layouts, images, strict=True):
        if tuple(image.shape[1:]) != layout.image_size:
            raise ValueError(f"layout {layout.id} is of size {layout.image_size}, its image {tuple(image.shape[1:])}")
        for box, label in zip(layout.boxes.cpu(), layout.labels.tolist(), strict=True):
            if label not in planted:
                continue
            apart = abs((dominant_orientation(image.cpu(), box) - planted[label] + 90) % 180 - 90)
            count = counts.setdefault(label, [0, 0])
            count[0] += int(apart <= tolerance)
            count[1] += 1
    agreeing, objects = (sum(count[place] for count in counts.values()) for place in range(2))
    return {
        "objects": objects,
        "share": agreeing / objects if objects else float("nan"),
        "per_class": {label: agree / total for label, (agree, total) in sorted(counts.items())},
    }


def _hann(length: int) -> Float[Tensor, " length"]:
    """Return a Hann window without its zeros at the ends, so that every pixel counts."""
    return torch.hann_window(length + 2, periodic=False, dtype=torch.float64)[1:-1]
