"""The world `scale`: small objects carry their class in the outline, large ones in the texture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detinv.worlds import outlines, textures
from detinv.worlds.base import AbstractWorld, Placed
from detinv.worlds.scene import Look
from detinv.worlds.textures import random_texture

LOOKS = {
    "disc": Look(outlines.circle, textures.Stripes(degrees=90.0)),
    "block": Look(outlines.square, textures.Stripes(degrees=0.0)),
    "wedge": Look(outlines.triangle, textures.Stripes(degrees=45.0)),
    "plus": Look(outlines.cross, textures.Stripes(degrees=135.0)),
}
# Longer sides, in pixels. Between the two nothing is drawn, so that no size asks for both cues.
SMALL, LARGE = (18.0, 28.0), (44.0, 72.0)


@dataclass(frozen=True)
class ScaleWorld(AbstractWorld):
    """Two groups of sizes; `min_side` and `max_side` are the ends of both."""

    min_side: float = SMALL[0]
    max_side: float = LARGE[1]

    name = "scale"
    class_names = tuple(LOOKS)
    planted_truth = (
        f"Up to {SMALL[1]:g} pixels the outline alone tells the class (textures are random), from {LARGE[0]:g} pixels "
        "on the texture alone (outlines are random)."
    )

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for box in self.place(generator):
            label = int(generator.integers(len(LOOKS)))
            own = LOOKS[self.class_names[label]]
            if max(box[2] - box[0], box[3] - box[1]) <= SMALL[1]:
                yield label, Look(own.outline, random_texture(generator)), box
            else:
                other = LOOKS[self.class_names[int(generator.integers(len(LOOKS)))]]
                yield label, Look(other.outline, own.texture), box

    def sides(self, generator: np.random.Generator) -> tuple[float, float]:
        """(width, height), the longer of which is large two times out of five."""
        low, high = LARGE if generator.uniform() < 0.4 else SMALL
        side, ratio = generator.uniform(low, high), float(np.exp(generator.uniform(np.log(0.8), np.log(1 / 0.8))))
        return side * min(1.0, ratio), side * min(1.0, 1 / ratio)
