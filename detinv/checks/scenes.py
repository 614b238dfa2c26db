"""Layouts and images on which an adapter is tried."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Layout

# Low enough that no detector's suppression takes one object for another.
_MOST_OVERLAP = 0.2


def random_layout(
    name: str, image_size: tuple[int, int], num_classes: int, objects: int, generator: torch.Generator
) -> Layout:
    """Objects of random classes and sizes that hardly overlap; fewer than asked for when no more find room.

    Args:
        image_size: (height, width).
        objects: to be placed; sides lie between an eighth and a half of the image's.
    """
    size = torch.tensor([image_size[1], image_size[0]], dtype=torch.float32)
    boxes = torch.zeros(0, 4)
    for _ in range(50 * objects):
        sides = size * (0.125 + 0.375 * torch.rand(2, generator=generator) ** 2)
        corner = (size - sides) * torch.rand(2, generator=generator)
        box = torch.cat([corner, corner + sides])[None]
        if len(boxes) < objects and (not len(boxes) or pairwise_iou(box, boxes).max() < _MOST_OVERLAP):
            boxes = torch.cat([boxes, box])
    labels = torch.randint(num_classes, (len(boxes),), generator=generator)
    return Layout(boxes, labels, image_size, name)


def random_image(image_size: tuple[int, int], generator: torch.Generator) -> UInt8[Tensor, "3 height width"]:
    """Patches of random colours under noise: edges at many scales, so that some detector finds something."""
    height, width = image_size
    image = torch.full((3, height, width), 0.5)
    for _ in range(30):
        top, left = (int(torch.randint(side, (), generator=generator)) for side in image_size)
        bottom = top + 1 + int(torch.randint(height // 2, (), generator=generator))
        right = left + 1 + int(torch.randint(width // 2, (), generator=generator))
        image[:, top:bottom, left:right] = torch.rand(3, 1, 1, generator=generator)
    image = image + 0.08 * torch.randn(3, height, width, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
