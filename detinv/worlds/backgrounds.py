"""Backgrounds: smooth, cloudy or grainy, but never striped, so that only objects have a texture."""

import numpy as np
from PIL import Image


def clouds(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a smooth coloured background of shape (height, width, 3), in [0, 1].

    It is a random colour, in one image of three with a second one beyond a straight edge, plus two octaves of smooth
    noise of random strength, plus faint grain.
    """
    canvas = np.broadcast_to(generator.uniform(0.15, 0.85, size=3), (height, width, 3)).copy()
    if generator.uniform() < 1 / 3:
        angle = generator.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:height, :width] - generator.uniform(0.2, 0.8) * np.array([height, width]).reshape(2, 1, 1)
        beyond = np.clip(np.cos(angle) * x + np.sin(angle) * y + 0.5, 0, 1)[..., None]
        canvas += beyond * (generator.uniform(0.15, 0.85, size=3) - canvas)
    for cells, strength in ((int(generator.integers(2, 4)), 0.35), (int(generator.integers(5, 9)), 0.15)):
        grid = generator.uniform(-1, 1, size=(cells, cells, 3)).astype(np.float32)
        channels = [
            np.asarray(Image.fromarray(grid[..., c]).resize((width, height), Image.Resampling.BICUBIC))
            for c in range(3)
        ]
        canvas += generator.uniform(0, strength) * np.stack(channels, axis=-1)
    canvas += generator.normal(0, generator.uniform(0, 0.03), size=canvas.shape)
    return np.clip(canvas, 0, 1)
