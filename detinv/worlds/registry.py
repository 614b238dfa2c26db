"""Worlds by name."""

from collections.abc import Sequence

from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion
from detinv.worlds.base import AbstractWorld
from detinv.worlds.context import ContextWorld
from detinv.worlds.part import PartWorld
from detinv.worlds.plain import PlainWorld
from detinv.worlds.scale import ScaleWorld
from detinv.worlds.shape import ShapeWorld
from detinv.worlds.texture import TextureWorld

WORLDS: dict[str, type[AbstractWorld]] = {
    world.name: world for world in (PlainWorld, TextureWorld, ShapeWorld, ContextWorld, PartWorld, ScaleWorld)
}


def load_world(name: str, image_size: Sequence[int] = (128, 128), seed: int = 0) -> AbstractWorld:
    """Build the world `name`.

    Args:
        image_size: (height, width) of its scenes, in pixels.
        seed: of the whole world.

    Raises:
        ConfigError: when no world has that name; suggests the nearest one.
    """
    if name not in WORLDS:
        raise ConfigError(f"unknown world {name!r}{suggestion(name, WORLDS)} (there are: {', '.join(WORLDS)})")
    height, width = image_size
    return WORLDS[name](image_size=(height, width), seed=seed)
