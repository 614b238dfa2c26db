"""The world `context`: classes that look alike and differ only by a companion next to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detinv.worlds import outlines
from detinv.worlds.base import AbstractWorld, PixelBox, Placed, overlap
from detinv.worlds.scene import Appearance
from detinv.worlds.textures import random_texture


@dataclass(frozen=True)
class Companion:
    """The object that accompanies a class.

    Args:
        name: of the companion's class.
        probability: of there being one, in [0, 1].
        sides: where it may stand, equally likely: "above", "below", "left" or "right".
    """

    name: str
    probability: float
    sides: tuple[str, ...]


OUTLINES = {
    "bulb": outlines.circle,
    "ball": outlines.circle,
    "gear": outlines.ring,
    "hoop": outlines.ring,
    "cap": outlines.square,
    "foot": outlines.triangle,
    "peg": outlines.cross,
    "star": outlines.star,
}
COMPANIONS = {
    "bulb": Companion("cap", 0.9, ("above",)),
    "ball": Companion("foot", 0.9, ("below",)),
    # The control: a companion without a preferred side.
    "gear": Companion("peg", 0.9, ("left", "right")),
}
# Ranges in pixels: a companion's side, its distance from the object, and its offset along that object's edge.
_COMPANION_SIDE, _GAP, _ASIDE = (16.0, 24.0), (1.0, 4.0), 4.0


@dataclass(frozen=True)
class ContextWorld(AbstractWorld):
    """Outlines identify the class, except for two pairs of classes that look alike; textures are random.

    `bulb` and `ball` are discs, `gear` and `hoop` are rings. Companions are objects with a class of their own, and also
    occur alone.
    """

    min_side: float = 20.0
    max_side: float = 36.0
    max_objects: int = 4

    name = "context"
    class_names = tuple(OUTLINES)
    companions: ClassVar[dict[str, Companion]] = COMPANIONS
    planted_truth = (
        "bulb and ball look alike (discs): nine of ten bulbs have a cap above them, nine of ten balls a foot below "
        "them. gear and hoop look alike (rings): nine of ten gears have a peg beside them, left or right with equal "
        "probability; hoops have none. Caps, feet, pegs and stars are identified by their outline and also stand alone."
    )

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        taken: list[PixelBox] = []
        for _ in range(int(generator.integers(1, self.max_objects + 1))):
            name = self.class_names[int(generator.integers(len(self.class_names)))]
            group = self._group(generator, name, taken)
            for member, box in group:
                taken.append(box)
                yield self.class_names.index(member), Appearance(OUTLINES[member], random_texture(generator)), box

    def _group(self, generator: np.random.Generator, name: str, taken: list[PixelBox]) -> list[tuple[str, PixelBox]]:
        """Place one object, with its companion if it has one, clear of all others; return [] if there is no room."""
        companion = COMPANIONS.get(name)
        if companion is not None and generator.uniform() >= companion.probability:
            companion = None
        for _attempt in range(20):
            box = self.somewhere(generator, *self.sides(generator))
            group = [(name, box)]
            if companion is not None:
                side = companion.sides[int(generator.integers(len(companion.sides)))]
                group.append((companion.name, _beside(generator, box, side)))
            # Keep clear of other objects' companions, and of anything that could be mistaken for one.
            if all(
                self._inside(one) and all(overlap(_widened(one), other) == 0 for other in taken) for _, one in group
            ):
                return group
        return []

    def _inside(self, box: PixelBox) -> bool:
        height, width = self.image_size
        return box[0] >= 1 and box[1] >= 1 and box[2] <= width - 1 and box[3] <= height - 1


def _beside(generator: np.random.Generator, box: PixelBox, side: str) -> PixelBox:
    """Return a companion's box, centred on that side of `box` to within a few pixels."""
    size, gap, aside = generator.uniform(*_COMPANION_SIDE), generator.uniform(*_GAP), generator.uniform(-_ASIDE, _ASIDE)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if side in ("above", "below"):
        x += aside
        y = box[1] - gap - size / 2 if side == "above" else box[3] + gap + size / 2
    else:
        y += aside
        x = box[0] - gap - size / 2 if side == "left" else box[2] + gap + size / 2
    return x - size / 2, y - size / 2, x + size / 2, y + size / 2


def _widened(box: PixelBox, by: float = 8.0) -> PixelBox:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by
