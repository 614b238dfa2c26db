"""The base class of all worlds: scenes drawn object by object, with boxes and masks of the visible parts."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from detinv.errors import ConfigError
from detinv.layouts.layout import Layout
from detinv.worlds.backgrounds import clouds
from detinv.worlds.scene import Appearance, Scene

PixelBox = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels."""
Placed = tuple[int, Appearance, PixelBox]
"""Class number, appearance and box of one object that is yet to be drawn."""

# An object with fewer visible pixels is not annotated.
_FEWEST_PIXELS = 30
_ATTEMPTS = 20
# Between an object's box and the edge of the image, in pixels.
_EDGE = 1


@dataclass(frozen=True)
class AbstractWorld(ABC):
    """Random scenes on cloudy backgrounds; scene i depends on (seed, i) only.

    Colours, sizes, aspect ratios, small rotations and phases are random. Objects may touch and overlap a little.

    Args:
        image_size: (height, width) in pixels.
        seed: of the whole world; training and evaluation use different ones.
        min_side, max_side: limits of an object's longer side, in pixels.
        max_objects: limit of the number of objects (or groups of objects) in a scene; there is at least one.

    Raises:
        ConfigError: when the largest objects do not fit into the image.
    """

    image_size: tuple[int, int] = (128, 128)
    seed: int = 0
    min_side: float = 20.0
    max_side: float = 60.0
    max_objects: int = 5

    name: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]
    planted_truth: ClassVar[str]
    """What distinguishes the classes of this world, in a sentence or two for model cards and reports."""
    planted_orientations: ClassVar[dict[str, float]] = {}
    """Direction across the stripes, by class, in degrees in [0, 180) from the x axis towards the y axis, which points
    down; classes without stripes are left out."""

    def __post_init__(self) -> None:
        least = self.max_side + 2 * _EDGE
        if min(self.image_size) < least:
            raise ConfigError(
                f"image_size={list(self.image_size)}: the world {self.name} has objects of up to {self.max_side:g} "
                f"pixels; choose at least {least:g} for either side"
            )

    @abstractmethod
    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        """Yield the objects of a scene, back to front; each is drawn with the same generator before the next one."""

    def scene(self, index: int) -> Scene:
        """Return scene number `index`: its image, and the boxes, labels and masks of what is visible."""
        generator = np.random.default_rng((self.seed, index))
        height, width = self.image_size
        canvas = clouds(generator, height, width)
        owner = np.full((height, width), -1)
        labels: list[int] = []
        for label, appearance, box in self.objects(generator):
            appearance.draw(canvas, owner, len(labels), box, generator)
            labels.append(label)
        visible = [k for k in range(len(labels)) if (owner == k).sum() >= _FEWEST_PIXELS]
        masks = np.stack([owner == k for k in visible]) if visible else np.zeros((0, height, width), bool)
        layout = Layout.from_masks(
            torch.from_numpy(masks),
            torch.tensor([labels[k] for k in visible], dtype=torch.int64),
            id=f"{self.name}-{self.seed}-{index:06d}",
        )
        image = torch.from_numpy(np.round(canvas * 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
        return Scene(image=image, layout=layout)

    def place(self, generator: np.random.Generator) -> list[PixelBox]:
        """Return boxes inside the image whose pairwise overlap is small."""
        boxes: list[PixelBox] = []
        for _ in range(int(generator.integers(1, self.max_objects + 1))):
            for _attempt in range(_ATTEMPTS):
                box = self.somewhere(generator, *self.sides(generator))
                if all(overlap(box, other) < 0.12 for other in boxes):
                    boxes.append(box)
                    break
        return boxes

    def sides(self, generator: np.random.Generator) -> tuple[float, float]:
        """Return an object's (width, height), log-uniform: 20 to 30 pixels is as likely as 40 to 60."""
        side = float(np.exp(generator.uniform(np.log(self.min_side), np.log(self.max_side))))
        ratio = float(np.exp(generator.uniform(np.log(0.75), np.log(1 / 0.75))))
        return side * min(1.0, ratio), side * min(1.0, 1 / ratio)

    def somewhere(self, generator: np.random.Generator, width: float, height: float) -> PixelBox:
        """Return a box of this size anywhere in the image, at least a pixel from its edges."""
        image_height, image_width = self.image_size
        x0 = generator.uniform(_EDGE, image_width - width - _EDGE)
        y0 = generator.uniform(_EDGE, image_height - height - _EDGE)
        return float(x0), float(y0), float(x0 + width), float(y0 + height)


def overlap(a: PixelBox, b: PixelBox) -> float:
    """Return the intersection of two boxes over the area of the smaller one."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(w, 0) * max(h, 0) / smaller
