"""Outlines: whether points of the local frame lie inside a shape.

The local frame is [-1, 1] x [-1, 1], x to the right, y downwards. Every outline touches all four sides (the square and
the star nearly), so that the box of the drawn mask is close to the requested box.
"""

from collections.abc import Callable

import numpy as np

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Unit disc."""
    return x**2 + y**2 <= 1


def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The square of half side 0.9."""
    return np.maximum(np.abs(x), np.abs(y)) <= 0.9


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Upright isosceles triangle, apex above."""
    return (np.abs(x) <= (y + 1) / 2) & (y <= 1)


def diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Square standing on a corner."""
    return np.abs(x) + np.abs(y) <= 1


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five-pointed star, one point above."""
    radius = np.hypot(x, y)
    # The distance to the nearest arm, folded into one tenth of the turn.
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    inner, tip = 0.45, 1.0
    corner = inner * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    # Inside the edge from the tip (1, 0) to the inner corner.
    return (px - tip) * corner[1] - py * (corner[0] - tip) <= 0


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Plus sign with arms a third as wide as long."""
    return (np.minimum(np.abs(x), np.abs(y)) <= 0.34) & (np.maximum(np.abs(x), np.abs(y)) <= 1)


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Annulus of inner radius one half."""
    radius2 = x**2 + y**2
    return (radius2 <= 1) & (radius2 >= 0.25)
