"""Layouts of boxes with random classes and places, for detectors of any classes."""

from collections.abc import Sequence

import torch

from detinv.errors import ConfigError
from detinv.inputs.numbers import image_size_option
from detinv.inputs.torch_settings import usual_torch
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.fitting import NetworkSize, network_frame
from detinv.layouts.layout import Layout

# IoU low enough that no detector's suppression merges two objects.
_MOST_OVERLAP = 0.2
_TRIALS = 50


def random_layout(
    name: str, image_size: tuple[int, int], num_classes: int, objects: int, generator: torch.Generator
) -> Layout:
    """Draw objects of random classes and sizes that hardly overlap; fewer than requested if no more find room.

    Args:
        name: id of the layout.
        image_size: (height, width) in pixels.
        num_classes: number of classes to choose from.
        objects: number of objects to place; their sides are between an eighth and a half of the image's.
        generator: source of the random numbers, on the CPU.
    """
    size = torch.tensor([image_size[1], image_size[0]], dtype=torch.float32)
    boxes = torch.zeros(0, 4)
    for _ in range(_TRIALS * objects):
        sides = size * (0.125 + 0.375 * torch.rand(2, generator=generator) ** 2)
        corner = (size - sides) * torch.rand(2, generator=generator)
        box = torch.cat([corner, corner + sides])[None]
        if len(boxes) < objects and (not len(boxes) or pairwise_iou(box, boxes).max() < _MOST_OVERLAP):
            boxes = torch.cat([boxes, box])
    labels = torch.randint(num_classes, (len(boxes),), generator=generator)
    return Layout(boxes, labels, image_size, name)


class RandomLayouts:
    """A source of layouts drawn by `random_layout`; see `LayoutSource`.

    Args:
        count: number of layouts.
        seed: at least 0.
        objects: largest number of objects; every layout draws its own number, at least 1.
        image_size: (height, width) of the images, before the detector resizes them.

    Raises:
        ConfigError: for an impossible count, seed, number of objects or size.
    """

    def __init__(
        self, count: int = 16, seed: int = 7, objects: int = 5, image_size: Sequence[int] = (480, 640)
    ) -> None:
        for name, value, least in (("count", count, 1), ("seed", seed, 0), ("objects", objects, 1)):
            if value < least:
                raise ConfigError(f"layout.{name}={value}: choose at least {least}")
        self.count = count
        self.seed = seed
        self.objects = objects
        self.image_size = image_size_option(image_size)

    @usual_torch()
    def layouts(self, class_names: Sequence[str], network_size: NetworkSize, detections_per_image: int) -> list[Layout]:
        size = network_frame(network_size, self.image_size, "layout=random")
        found = []
        for number in range(self.count):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            most = min(self.objects, detections_per_image)
            objects = 1 + int(torch.randint(most, (), generator=generator))
            found.append(random_layout(f"random-{self.seed}-{number:05d}", size, len(class_names), objects, generator))
        return found
