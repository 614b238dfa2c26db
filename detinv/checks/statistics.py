"""Whether a detector says of its photographs what photographs show: their colours and their contrast.

Inversions favour the first and keep to the second. Where nothing is said they are COCO's, with which those of a
detector of microscope pictures, say, are read much worse by other detectors.
"""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.colours import checked_colours, checked_contrast, colour_covariance, contrast

# From fewer images it cannot be told.
_LEAST = 12
# By this factor the contrast may differ, and by this share of its size the covariance.
_FACTOR, _SHARE = 1.5, 0.25


def other_statistics(detector: AbstractDetector, photographs: Sequence[UInt8[Tensor, "3 _height _width"]]) -> str:
    """Return in a sentence how photographs differ from what the detector says of those that it was trained on.

    Empty where they do not, for fewer than a dozen, and for a detector that was not trained on photographs.

    Args:
        photographs: 8-bit RGB; assumed to be such as the detector was trained on.

    Raises:
        DetectorError: when what the detector says is no covariance, or no contrast.
    """
    if not detector.trained_on_photographs or len(photographs) < _LEAST:
        return ""
    colours, amount = colour_covariance(photographs), contrast(photographs)
    said = torch.tensor(checked_colours(detector.colour_covariance))
    # In any unit: of a mean variance of 1, as measured ones have.
    distance = (torch.tensor(colours) - 3 * said / said.trace()).norm() / torch.tensor(colours).norm()
    found = []
    if distance > _SHARE:
        found.append(f"colour_covariance={[list(row) for row in colours]}")
    if not 1 / _FACTOR < amount / checked_contrast(detector.contrast) < _FACTOR:
        found.append(f"contrast={amount:g}")
    if not found:
        return ""
    return (
        f"these {len(photographs)} images have {' and '.join(found)}, the detector says otherwise; if it was trained "
        "on such images, say so in its YAML file or class, and other detectors will read more in its inversions"
    )
