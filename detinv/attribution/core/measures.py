"""Where a map's energy lies."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_MANTISSA = 2.0**17


def maximum(heat: Float[Tensor, "height width"]) -> tuple[float, float]:
    """Return (x, y) of the centre of the pixel with the highest value, the first of several."""
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return column + 0.5, row + 0.5


def without_rounding(heat: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """Return values with five significant digits: equal values stay equal when a map is resampled."""
    mantissa, exponent = torch.frexp(heat)
    return torch.ldexp((mantissa * _MANTISSA).round() / _MANTISSA, exponent)


def inside_box(
    box: tuple[float, float, float, float], size: tuple[int, int], margin: float = 0.0
) -> Bool[Tensor, "height width"]:
    """Return which pixels have their centre in the box, which grows by `margin` pixels on every side."""
    x0, y0, x1, y1 = box
    ys, xs = torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5
    down = (ys >= y0 - margin) & (ys <= y1 + margin)
    return down[:, None] & ((xs >= x0 - margin) & (xs <= x1 + margin))


def energy_share(heat: Float[Tensor, "height width"], region: Bool[Tensor, "height width"]) -> float:
    """Return the share of the map's positive energy in a region, in [0, 1]; NaN where the map has none.

    Source: Wang et al. 2020, "Score-CAM", section 4.3 (the energy-based pointing game).
    """
    positive = heat.clamp(min=0).double()
    total = float(positive.sum())
    return float((positive * region).sum()) / total if total > 0 else float("nan")


def compactness(heat: Float[Tensor, "height width"], box: tuple[float, float, float, float]) -> float:
    """Return how far the energy lies from the maximum, in half diagonals of the box; lower is tighter.

    Source: Zhao & Chan 2023, "ODAM", section 4.2.
    """
    positive = heat.clamp(min=0).double()
    x, y = maximum(heat)
    ys, xs = torch.arange(heat.shape[0]) + 0.5, torch.arange(heat.shape[1]) + 0.5
    distance = (xs - x).square() + (ys - y).square()[:, None]
    diagonal = ((box[2] - box[0]) ** 2 + (box[3] - box[1]) ** 2) / 4
    total = float(positive.sum())
    return (float((positive * distance).sum()) / total / diagonal) ** 0.5 if total > 0 else float("nan")


def nearest_edge(point: tuple[float, float], box: tuple[float, float, float, float]) -> str:
    """Return the edge of a box, "left", "top", "right" or "bottom", whose line segment is nearest to a point."""
    (x, y), (x0, y0, x1, y1) = point, box
    beside, above = max(y0 - y, 0.0, y - y1), max(x0 - x, 0.0, x - x1)
    distances = {
        "left": (x - x0) ** 2 + beside**2,
        "top": (y - y0) ** 2 + above**2,
        "right": (x - x1) ** 2 + beside**2,
        "bottom": (y - y1) ** 2 + above**2,
    }
    return min(distances, key=lambda name: distances[name])


@dataclass(frozen=True)
class Placement:
    """Where a map lies relative to its object.

    Args:
        maximum: (x, y) in pixels of the image.
        maximum_in_box: whether it lies in the object's box.
        energy_in_box: share of the positive energy there.
        compactness: see `compactness`.
        nearest_edge: the edge nearest to the maximum.
    """

    maximum: tuple[float, float]
    maximum_in_box: bool
    energy_in_box: float
    compactness: float
    nearest_edge: str

    @classmethod
    def of(cls, heat: Float[Tensor, "height width"], box: tuple[float, float, float, float]) -> "Placement":
        """Measure a map in the frame of its image."""
        point = maximum(heat)
        region = inside_box(box, (heat.shape[0], heat.shape[1]))
        return cls(
            point,
            box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3],
            energy_share(heat, region),
            compactness(heat, box),
            nearest_edge(point, box),
        )
