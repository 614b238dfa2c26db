"""Numbers in files and options, checked: coordinates, counts, image sizes."""

from collections.abc import Sequence
from typing import Any, TypeGuard

from detinv.errors import ConfigError
from detinv.inputs.printable import quoted

# No image is this large. Polygons are rasterised along their outline, so a huge coordinate would exhaust memory.
_LARGEST_COORDINATE = 1e6
# Pillow refuses to open larger images, as possible attacks, so no image can have such a size.
_MOST_PIXELS = 89_478_485
# From here on, a float may stand for several whole numbers.
_EXACT = 2**53


def is_coordinate(value: Any) -> TypeGuard[int | float]:
    """Tell whether `value` is a finite number that can be a coordinate in an image; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_COORDINATE


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether `value` is an integer, such as an id; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(value: Any) -> int | None:
    """Return the whole number that a file gives, also where it is written 1.0; None for anything else."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value if is_whole(value) else None


def is_count(value: Any) -> TypeGuard[int]:
    """Tell whether `value` is an integer of at least one."""
    return is_whole(value) and value >= 1


def is_image_size(height: Any, width: Any) -> bool:
    """Tell whether an image can have these sides, in pixels."""
    return is_count(height) and is_count(width) and height * width <= _MOST_PIXELS


def image_size_option(given: Any, option: str = "layout.image_size") -> tuple[int, int]:
    """Return `given` as (height, width).

    Raises:
        ConfigError: naming the option, when no image can have that size.
    """
    sides = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if len(sides) != 2 or not is_image_size(*sides):
        raise ConfigError(f"{option}={quoted(given)}: give [height,width] in whole pixels, such as [128,128]")
    return sides[0], sides[1]
