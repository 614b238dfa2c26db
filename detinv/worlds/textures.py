"""Textures: the share of the second colour, in [0, 1], at points given in pixels from the object's centre."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stripes:
    """Soft-edged parallel stripes.

    Args:
        degrees: direction in which the brightness changes (the wave vector), in [0, 180) from the x axis towards the y
            axis, which points down.
        period: distance between stripes, in pixels.
    """

    degrees: float
    period: float = 6.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        angle = np.deg2rad(self.degrees)
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / self.period
        return 0.5 + 0.5 * np.clip(2 * np.cos(phase), -1, 1)


@dataclass(frozen=True)
class Dots:
    """Round dots on a square lattice, `period` pixels apart."""

    period: float = 8.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx = (x + self.period / 2) % self.period - self.period / 2
        dy = (y + self.period / 2) % self.period - self.period / 2
        return np.clip(0.5 + self.period * 0.28 - np.hypot(dx, dy), 0, 1)


@dataclass(frozen=True)
class Checks:
    """Checkerboard with squares of `side` pixels."""

    side: float = 4.0

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return ((np.floor(x / self.side) + np.floor(y / self.side)) % 2).astype(np.float64)


@dataclass(frozen=True)
class Plain:
    """One colour."""

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.zeros_like(x)


def random_texture(generator: np.random.Generator) -> Texture:
    """Draw any texture, of any direction and scale, for detectors to learn to ignore."""
    kind = int(generator.integers(5))
    if kind <= 1:
        return Stripes(degrees=float(generator.uniform(0, 180)), period=float(generator.uniform(4, 10)))
    if kind == 2:
        return Dots(period=float(generator.uniform(5, 11)))
    if kind == 3:
        return Checks(side=float(generator.uniform(2.5, 6)))
    return Plain()
