"""The world `scale`: the outline identifies small objects, the texture large ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines, textures
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Appearance
from detinv.worlds.textures import random_texture

APPEARANCES = {
    "disc": Appearance(outlines.circle, textures.Stripes(degrees=90.0)),
    "block": Appearance(outlines.square, textures.Stripes(degrees=0.0)),
    "wedge": Appearance(outlines.triangle, textures.Stripes(degrees=45.0)),
    "plus": Appearance(outlines.cross, textures.Stripes(degrees=135.0)),
}
# Longer sides, in pixels. The gap keeps any size from needing both cues.
SMALL, LARGE = (18.0, 28.0), (44.0, 72.0)


@dataclass(frozen=True)
class ScaleWorld(AbstractWorld):
    """Objects of two groups of sizes, from `min_side` to `max_side` with a gap between the groups."""

    min_side: float = SMALL[0]
    max_side: float = LARGE[1]

    name = "scale"
    class_names = tuple(APPEARANCES)
    planted_truth = (
        f"Up to {SMALL[1]:g} pixels, the outline alone identifies the class (textures are random); from {LARGE[0]:g} "
        "pixels on, the texture alone does (outlines are random)."
    )

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(APPEARANCES)))
            own = APPEARANCES[self.class_names[label]]
            if max(box[2] - box[0], box[3] - box[1]) <= SMALL[1]:
                yield label, Appearance(own.outline, random_texture(generator)), box
            else:
                other = APPEARANCES[self.class_names[int(generator.integers(len(APPEARANCES)))]]
                yield label, Appearance(other.outline, own.texture), box

    def sides(self, generator: np.random.Generator) -> tuple[float, float]:
        """Return (width, height); two objects in five are large."""
        low, high = LARGE if generator.uniform() < 0.4 else SMALL
        side, ratio = generator.uniform(low, high), float(np.exp(generator.uniform(np.log(0.8), np.log(1 / 0.8))))
        return side * min(1.0, ratio), side * min(1.0, 1 / ratio)
