"""The world `plain`: every class has an outline of its own and a texture of its own."""

from dataclasses import dataclass

import numpy as np
import torch

from detinv.layouts.layout import Layout
from detinv.worlds import outlines, textures
from detinv.worlds.backgrounds import clouds
from detinv.worlds.scene import ObjectKind, Scene

KINDS = (
    ObjectKind("circle", outlines.circle, textures.Stripes(degrees=90.0)),
    ObjectKind("square", outlines.square, textures.Stripes(degrees=0.0)),
    ObjectKind("triangle", outlines.triangle, textures.Stripes(degrees=45.0)),
    ObjectKind("diamond", outlines.diamond, textures.Stripes(degrees=135.0)),
    ObjectKind("star", outlines.star, textures.Dots()),
    ObjectKind("cross", outlines.cross, textures.Checks()),
    ObjectKind("ring", outlines.ring, textures.Plain()),
)


@dataclass(frozen=True)
class PlainWorld:
    """Random scenes of up to `max_objects` objects on a clouded background; scene i depends on (seed, i) only.

    Colours, sizes, aspect ratios, small rotations and phases are random, so only outline and texture tell
    the class. Objects may touch and overlap a little; boxes and masks show what remains visible.

    Args:
        image_size: (height, width) in pixels.
        seed: of the whole world; training and evaluation use different ones.
        min_side, max_side: of an object's longer side, in pixels.
        max_objects: at most this many objects in a scene, at least one.
    """

    image_size: tuple[int, int] = (128, 128)
    seed: int = 0
    min_side: float = 20.0
    max_side: float = 60.0
    max_objects: int = 5

    kinds = KINDS
    class_names = tuple(kind.name for kind in KINDS)

    def scene(self, index: int) -> Scene:
        """Scene number `index`: image, visible boxes, labels and masks."""
        generator = np.random.default_rng((self.seed, index))
        height, width = self.image_size
        canvas = clouds(generator, height, width)
        wanted = self._place(generator)
        owner = np.full((height, width), -1)
        labels: list[int] = []
        for box in wanted:
            label = int(generator.integers(len(self.kinds)))
            self.kinds[label].draw(canvas, owner, len(labels), box, generator)
            labels.append(label)
        visible = [k for k in range(len(labels)) if (owner == k).sum() >= 30]
        masks = np.stack([owner == k for k in visible]) if visible else np.zeros((0, height, width), bool)
        layout = Layout.from_masks(
            torch.from_numpy(masks),
            torch.tensor([labels[k] for k in visible], dtype=torch.int64),
            id=f"plain-{self.seed}-{index:06d}",
        )
        image = torch.from_numpy(np.round(canvas * 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
        return Scene(image=image, layout=layout)

    def _place(self, generator: np.random.Generator) -> list[tuple[float, float, float, float]]:
        """Boxes (x0, y0, x1, y1) inside the image whose pairwise overlap is small."""
        height, width = self.image_size
        boxes: list[tuple[float, float, float, float]] = []
        for _ in range(int(generator.integers(1, self.max_objects + 1))):
            for _attempt in range(20):
                # Log-uniform: as many objects between 20 and 30 pixels as between 40 and 60.
                side = float(np.exp(generator.uniform(np.log(self.min_side), np.log(self.max_side))))
                ratio = float(np.exp(generator.uniform(np.log(0.75), np.log(1 / 0.75))))
                w, h = side * min(1.0, ratio), side * min(1.0, 1 / ratio)
                x0, y0 = generator.uniform(1, width - w - 1), generator.uniform(1, height - h - 1)
                box = (float(x0), float(y0), float(x0 + w), float(y0 + h))
                if all(_overlap(box, other) < 0.12 for other in boxes):
                    boxes.append(box)
                    break
        return boxes


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over the smaller area."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(w, 0) * max(h, 0) / smaller
