"""The colours that a detector was trained on: how red, green and blue vary together within an image, and how much."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.errors import DetectorError

ColourCovariance = tuple[tuple[float, float, float], ...]
"""Covariance of R, G and B, (3, 3), in any unit."""

COCO_COLOURS: ColourCovariance = ((1.02, 0.93, 0.83), (0.93, 0.97, 0.93), (0.83, 0.93, 1.02))
"""That of 40 photographs of COCO's val2017."""

COCO_CONTRAST = 0.24
"""That of the same photographs; see `contrast`."""


def colour_covariance(images: Iterable[UInt8[Tensor, "3 _height _width"]]) -> ColourCovariance:
    """Measure the covariance of R, G and B within images: its mean over the images, with a mean variance of 1.

    Args:
        images: 8-bit RGB, of any sizes; some dozens of those that the detector was trained on.

    Raises:
        DetectorError: when there are none, or all of them are of one colour.
    """
    mean = _mean_covariance(images, "colour_covariance")
    return checked_colours((3 * mean / mean.trace()).mul(100).round().div(100).tolist())


def contrast(images: Iterable[UInt8[Tensor, "3 _height _width"]]) -> float:
    """Measure the contrast of images: the root of the variance within an image, averaged over R, G, B and the images.

    Args:
        images: see `colour_covariance`.

    Returns:
        A standard deviation, in units of [0, 1].

    Raises:
        DetectorError: see `colour_covariance`.
    """
    return round(float((_mean_covariance(images, "contrast").trace() / 3).sqrt()) / 255, 3)


def _mean_covariance(images: Iterable[UInt8[Tensor, "3 _height _width"]], name: str) -> Float[Tensor, "3 3"]:
    found = [torch.cov(image.flatten(1).double()) for image in images]
    if not found:
        raise DetectorError(f"{name}: there are no images")
    mean = torch.stack(found).mean(0)
    if not mean.trace() > 0:
        raise DetectorError(f"{name}: each of the images is of a single colour")
    return mean


def checked_colours(rows: Sequence[Sequence[float]]) -> ColourCovariance:
    """Give the rows of a covariance of R, G and B as a detector has them.

    Raises:
        DetectorError: when they are not 3 x 3 numbers, symmetric, with positive variances and no negative eigenvalue.
    """
    try:
        matrix = torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise DetectorError(f"colour_covariance={rows}: give three rows of three numbers") from error
    if matrix.shape != (3, 3) or not bool(matrix.isfinite().all()):
        raise DetectorError(f"colour_covariance={rows}: give three rows of three numbers")
    # Rounded numbers may be slightly off.
    if not torch.equal(matrix, matrix.T) or torch.linalg.eigvalsh(matrix)[0] < -0.01 * matrix.trace():
        raise DetectorError(f"colour_covariance={rows}: a covariance is symmetric and has no negative eigenvalue")
    if not bool((matrix.diagonal() > 0).all()):
        raise DetectorError(f"colour_covariance={rows}: the variances of R, G and B must be positive")
    red, green, blue = (tuple(row) for row in matrix.tolist())
    return red, green, blue


def checked_contrast(value: object) -> float:
    """Give a contrast as a detector has it.

    Raises:
        DetectorError: when it is not a number above 0, and at most 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise DetectorError(f"contrast={value}: give a number above 0 and at most 1, such as {COCO_CONTRAST}")
    return float(value)
