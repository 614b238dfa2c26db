"""Measurements of scenes: outlines of masks and directions of textures, without the world's own code."""

from collections.abc import Mapping
from functools import cache
from math import cos, radians, sin

import numpy as np
import torch
from PIL import Image
from scipy.stats import chi2_contingency

from detinv.metrics.cues import dominant_orientation

_SIDE = 24


SHAPES = {
    "circle": lambda x, y: x * x + y * y <= 1,
    "ring": lambda x, y: (x * x + y * y <= 1) & (x * x + y * y >= 0.25),
    "square": lambda x, y: (abs(x) <= 0.9) & (abs(y) <= 0.9),
    "triangle": lambda x, y: (2 * abs(x) <= y + 1) & (y <= 1),
    "diamond": lambda x, y: abs(x) + abs(y) <= 1,
    "cross": lambda x, y: ((abs(x) <= 0.34) & (abs(y) <= 1)) | ((abs(y) <= 0.34) & (abs(x) <= 1)),
    "star": lambda x, y: _star(x, y),
}


def outline_of(mask: torch.Tensor, among: tuple[str, ...]) -> str:
    """Return the shape with the largest IoU with the mask, in the frame of its bounding box."""
    seen = _framed(mask.numpy())
    scores = {name: max((seen & drawn).sum() / (seen | drawn).sum() for drawn in _drawn(name)) for name in among}
    return max(scores, key=scores.__getitem__)


def apart(first: float, second: float) -> float:
    """Return the angle between two directions of stripes in degrees, at most 90; NaN if either is NaN."""
    return abs((first - second + 90) % 180 - 90)


def quarter(degrees: float) -> str:
    """Return the nearest of the directions 0, 45, 90 and 135 degrees; "none" for NaN."""
    return "none" if degrees != degrees else str(int((degrees + 22.5) // 45 * 45) % 180)


def inner_orientation(image: torch.Tensor, box: torch.Tensor, share: float = 0.27) -> float:
    """Return the direction of the texture in the middle of an object, away from its outline; NaN without one."""
    x0, y0, x1, y1 = box.tolist()
    x, y, half_x, half_y = (x0 + x1) / 2, (y0 + y1) / 2, share * (x1 - x0) / 2, share * (y1 - y0) / 2
    return dominant_orientation(image, torch.tensor([x - half_x, y - half_y, x + half_x, y + half_y]))


def independent(pairs: list[tuple[str, str]], level: float = 1e-3) -> bool:
    """Return whether Pearson's chi-square test finds no dependence between the two members of the pairs."""
    table = contingency(pairs)
    return chi2_contingency(np.array(list(table.values()), dtype=float)).pvalue > level


def contingency(pairs: list[tuple[str, str]]) -> Mapping[str, list[int]]:
    """Return the counts of all pairs by first and second member."""
    seconds = sorted({second for _, second in pairs})
    return {
        first: [pairs.count((first, second)) for second in seconds] for first in sorted({first for first, _ in pairs})
    }


def within(successes: int, trials: int, probability: float, deviations: float = 3.5) -> bool:
    """Return whether the number of successes lies within so many standard deviations of its expectation."""
    return abs(successes - trials * probability) <= deviations * (trials * probability * (1 - probability)) ** 0.5


def _star(x, y):
    """Return whether points lie inside the polygon of ten corners, by the parity of crossed edges."""
    corners = [
        ((1.0 if k % 2 == 0 else 0.45) * sin(radians(36 * k)), -(1.0 if k % 2 == 0 else 0.45) * cos(radians(36 * k)))
        for k in range(10)
    ]
    inside = np.zeros(np.shape(x), bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


@cache
def _drawn(name: str) -> list[np.ndarray]:
    """Return the shape at several rotations, in the frame of its bounding box."""
    y, x = np.mgrid[-120:121, -120:121] / 90
    found = []
    for degrees in (-10, -5, 0, 5, 10):
        turn = radians(degrees)
        found.append(_framed(SHAPES[name](cos(turn) * x + sin(turn) * y, -sin(turn) * x + cos(turn) * y)))
    return found


def _framed(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(Image.fromarray(crop.astype(np.float32)).resize((_SIDE, _SIDE), Image.Resampling.BOX)) > 0.5
