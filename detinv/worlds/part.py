"""The world `part`: one small patch at a known place identifies the class; the outline gives the box."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detinv.worlds import outlines, textures
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Appearance, Patch

PATCHES = {
    "lying": textures.Stripes(degrees=90.0, period=5.0),
    "standing": textures.Stripes(degrees=0.0, period=5.0),
    "falling": textures.Stripes(degrees=45.0, period=5.0),
    "rising": textures.Stripes(degrees=135.0, period=5.0),
}
BODIES = (outlines.circle, outlines.square)


@dataclass(frozen=True)
class PartWorld(AbstractWorld):
    """Bodies of one colour with a striped patch at the upper right, after which the classes are named."""

    min_side: float = 36.0
    max_side: float = 72.0
    max_objects: int = 4

    name = "part"
    class_names = tuple(PATCHES)
    patch_centre: ClassVar[tuple[float, float]] = (0.35, -0.35)
    patch_half_side: ClassVar[float] = 0.32
    planted_truth = (
        "The direction of the stripes in a patch at the upper right, a tenth of the box, alone identifies the class; "
        "the rest of the body is of one colour, and its outline gives the box."
    )
    planted_orientations = {name: texture.degrees for name, texture in PATCHES.items()}

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(PATCHES)))
            body = BODIES[int(generator.integers(len(BODIES)))]
            patch = Patch(PATCHES[self.class_names[label]], self.patch_centre, self.patch_half_side)
            yield label, Appearance(body, textures.Plain(), patch), box
