"""Worlds in which one thing is exchanged or taken away, and every other random choice stays what it was.

Scene i of such a world differs from scene i of the original only where that thing is. What follows from it in a
detector's answers is shown to be caused by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from detinv.worlds.base import Placed
from detinv.worlds.context import COMPANIONS, ContextWorld
from detinv.worlds.part import BODIES, PATCHES, PartWorld


@dataclass(frozen=True)
class ExchangedPatches(PartWorld):
    """Every object has the patch of the next class, and is labelled as that class."""

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for label, appearance, box in super().objects(generator):
            assert appearance.patch is not None
            other = (label + 1) % len(self.class_names)
            patch = replace(appearance.patch, texture=PATCHES[self.class_names[other]])
            yield other, replace(appearance, patch=patch), box


@dataclass(frozen=True)
class ExchangedBodies(PartWorld):
    """Every object has another outline, and the same patch: a circle becomes a square, and a square a circle."""

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        for label, appearance, box in super().objects(generator):
            other = BODIES[(BODIES.index(appearance.outline) + 1) % len(BODIES)]
            yield label, replace(appearance, outline=other), box


@dataclass(frozen=True)
class HiddenCompanions(ContextWorld):
    """Caps, feet and pegs are not drawn."""

    def objects(self, generator: np.random.Generator) -> Iterator[Placed]:
        hidden = {companion.name for companion in COMPANIONS.values()}
        for label, appearance, box in super().objects(generator):
            if self.class_names[label] in hidden:
                # It is still passed on, so that the generator is left where drawing leaves it.
                yield label, replace(appearance, outline=_nowhere), box
            else:
                yield label, appearance, box


def _nowhere(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """An outline without a point."""
    return np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=bool)
