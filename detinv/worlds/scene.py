"""A generated scene, and how one object is drawn into it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from detinv.layouts.layout import Layout
from detinv.worlds.outlines import Outline
from detinv.worlds.textures import Texture

# Samples per pixel and axis: outlines have soft edges, as in a photograph.
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Scene:
    """An RGB image, 0 to 255, and the layout of the objects in it."""

    image: UInt8[Tensor, "3 height width"]
    layout: Layout


@dataclass(frozen=True)
class Patch:
    """A square window in an object with a texture of its own.

    Args:
        texture: in the window.
        centre: (x, y) of the window in the outline's frame, [-1, 1] x [-1, 1], y downwards.
        half_side: of the window, in the same units.
    """

    texture: Texture
    centre: tuple[float, float]
    half_side: float


@dataclass(frozen=True)
class Appearance:
    """The outline of an object, the texture that fills it, and a patch, if it has one."""

    outline: Outline
    texture: Texture
    patch: Patch | None = None

    def draw(
        self,
        canvas: np.ndarray,
        owner: np.ndarray,
        number: int,
        box: tuple[float, float, float, float],
        generator: np.random.Generator,
    ) -> None:
        """Paint one object onto `canvas`, in place.

        Args:
            canvas: (height, width, 3), in [0, 1].
            owner: (height, width); set to `number` where the object covers at least half of the pixel.
            number: of the object.
            box: (x0, y0, x1, y1) in pixels.
            generator: of its small turn, its texture's phase and its two colours.
        """
        height, width = owner.shape
        x0, y0, x1, y1 = box
        left, top = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
        right, bottom = min(int(x1) + 2, width), min(int(y1) + 2, height)
        offsets = (np.arange(_SUPERSAMPLING) + 0.5) / _SUPERSAMPLING
        xs = (np.arange(left, right)[:, None] + offsets).ravel()
        ys = (np.arange(top, bottom)[:, None] + offsets).ravel()
        dx, dy = np.meshgrid(xs - (x0 + x1) / 2, ys - (y0 + y1) / 2)

        # The outline turns by up to 12 degrees. The texture, whose orientation belongs to the class, does not.
        turn = np.deg2rad(generator.uniform(-12, 12))
        u = (np.cos(turn) * dx + np.sin(turn) * dy) / ((x1 - x0) / 2)
        v = (-np.sin(turn) * dx + np.cos(turn) * dy) / ((y1 - y0) / 2)
        cover = _pool(self.outline(u, v).astype(np.float64))
        phase = generator.uniform(0, 16, size=2)
        samples = self.texture(dx + phase[0], dy + phase[1])
        if self.patch is not None:
            aside = np.maximum(np.abs(u - self.patch.centre[0]), np.abs(v - self.patch.centre[1]))
            inner = self.patch.texture(dx + phase[0], dy + phase[1])
            samples = np.where(aside <= self.patch.half_side, inner, samples)
        amount = _pool(samples)[..., None]

        patch = canvas[top:bottom, left:right]
        first, second = _two_colours(generator, patch.mean(axis=(0, 1)))
        patch += cover[..., None] * ((1 - amount) * first + amount * second - patch)
        owner[top:bottom, left:right][cover >= 0.5] = number


def _two_colours(generator: np.random.Generator, behind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two random colours of different brightness, the first of which stands out from the background."""
    while True:
        first, second = generator.uniform(0, 1, size=(2, 3))
        if abs(first.mean() - second.mean()) >= 0.35 and np.abs(first - behind).max() >= 0.3:
            return first, second


def _pool(samples: np.ndarray) -> np.ndarray:
    """Return the mean over the samples of each pixel."""
    h, w = samples.shape[0] // _SUPERSAMPLING, samples.shape[1] // _SUPERSAMPLING
    return samples.reshape(h, _SUPERSAMPLING, w, _SUPERSAMPLING).mean(axis=(1, 3))
