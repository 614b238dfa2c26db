"""What counts as a number in a file written by somebody else."""

from typing import Any, TypeGuard

# No image is this large; polygons are rasterised along their outline, so a wild coordinate would take all memory.
_LARGEST_COORDINATE = 1e6


def is_coordinate(value: Any) -> TypeGuard[int | float]:
    """Whether `value` is a finite number that can be a position in an image; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_COORDINATE


def is_count(value: Any) -> TypeGuard[int]:
    """Whether `value` is a whole number of at least one."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
