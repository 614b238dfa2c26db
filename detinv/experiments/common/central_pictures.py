"""Pictures of images with one driven object: where its anchor lies, and what is seen."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.experiments.common.beside import Driven, Sighting, as_detections
from detinv.layouts.layout import Detections
from detinv.viz.draw import draw_detections
from detinv.viz.image import Picture, scale_within, stretch_contrast

# Longest side of a picture in a sheet, in pixels.
_CELL = 256


def anchor_picture(image: UInt8[Tensor, "3 height width"], driven: Driven, class_names: Sequence[str]) -> Picture:
    """The image as it is, with the driven anchor, its class and the probability there."""
    size = (int(image.shape[1]), int(image.shape[2]))
    label = torch.tensor([class_names.index(driven.name)])
    anchor = Detections(torch.tensor([driven.anchor]), torch.tensor([driven.score]), label, size)
    return draw_detections(image, anchor, class_names, scale=scale_within(size, _CELL))


def seen_picture(
    image: UInt8[Tensor, "3 height width"], seen: Sequence[Sighting], class_names: Sequence[str]
) -> Picture:
    """The image with its contrast stretched, for viewing only, and what is seen in it.

    Args:
        class_names: of the detector that saw it.
    """
    size = (int(image.shape[1]), int(image.shape[2]))
    found = as_detections(seen, class_names, size)
    return draw_detections(stretch_contrast(image), found, class_names, scale=scale_within(size, _CELL))
