"""Pictures of images made for one object: where its anchor lies, and what is detected."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject, as_detections
from detinv.layouts.layout import Detections
from detinv.viz.draw import draw_detections
from detinv.viz.image import Picture, scale_within, stretch_contrast

# Longest side of a picture in a sheet, in pixels.
_CELL = 256


def anchor_picture(
    image: UInt8[Tensor, "3 height width"], targeted: TargetedObject, class_names: Sequence[str]
) -> Picture:
    """Draw the candidate's anchor on the image, with the target class and its probability there."""
    size = (int(image.shape[1]), int(image.shape[2]))
    label = torch.tensor([class_names.index(targeted.name)])
    anchor = Detections(torch.tensor([targeted.anchor]), torch.tensor([targeted.score]), label, size)
    return draw_detections(image, anchor, class_names, scale=scale_within(size, _CELL))


def detections_picture(
    image: UInt8[Tensor, "3 height width"], detections: Sequence[NamedDetection], class_names: Sequence[str]
) -> Picture:
    """Draw detections on the image, whose contrast is stretched for viewing only.

    Args:
        class_names: of the detector that reported them.
    """
    size = (int(image.shape[1]), int(image.shape[2]))
    found = as_detections(detections, class_names, size)
    return draw_detections(stretch_contrast(image), found, class_names, scale=scale_within(size, _CELL))
