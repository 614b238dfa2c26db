"""Images of rectangles whose colour says everything about them, and what reads them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from detinv.layouts.layout import Layout
from detinv.worlds.plain import PlainWorld
from tests.attribution.mistakes.pairs import PairsWorld

SIDE = 128
CLASSES = 5
GREY = 114
# Red tells the class, green which object it is; blue differs from the background's.
_STEP, _BLUE = 40, 220


def scenes(seed: int, pairs: bool = False) -> Iterator[tuple[Tensor, Layout]]:
    """Yield images and their objects; scene i depends on (seed, i) only.

    Where two objects overlap, every other row shows the one behind, so that both are seen up to their edges.

    Args:
        pairs: whether each shows two overlapping objects of one class.
    """
    world = (PairsWorld if pairs else PlainWorld)(image_size=(SIDE, SIDE), seed=seed)
    number = 0
    while True:
        generator = np.random.default_rng((seed, number))
        boxes = torch.tensor(world.place(generator)).round().clamp(0, SIDE)
        labels = torch.from_numpy(generator.integers(CLASSES, size=len(boxes)))
        labels = labels[:1].expand(len(boxes)) if pairs else labels
        image = torch.full((3, SIDE, SIDE), GREY, dtype=torch.uint8)
        for place, ((x0, y0, x1, y1), label) in enumerate(zip(boxes.int().tolist(), labels.tolist(), strict=True)):
            colour = torch.tensor([label, place, 0]) * _STEP + torch.tensor([0, 0, _BLUE])
            part = image[:, y0:y1, x0:x1]
            shows = (part[2] == GREY) | (torch.arange(y0, y1)[:, None] % 2 == 0)
            part[:, shows] = colour[:, None].to(torch.uint8)
        found, kinds = read(image.float() / 255)
        yield image, Layout(found, kinds, (SIDE, SIDE), f"rectangles-{seed}-{number}")
        number += 1


def read(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes and classes of the rectangles that are visible in an image in [0, 1]."""
    values = (pixels * 255).round().long()
    names = torch.where(values[2] > (GREY + _BLUE) // 2, values[0] // 8 * 1000 + values[1] // 8, -1)
    boxes, labels = [], []
    for name in names.unique().tolist():
        if name >= 0:
            ys, xs = (names == name).nonzero(as_tuple=True)
            boxes.append([float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)])
            labels.append(name // 1000 * 8 // _STEP)
    return torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64)
