"""The canvas: what a detector's `forward` receives, images at the upper left and the mean colour beyond them."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.layouts.batch import canvas_size
from detinv.types import Pixels


def blank_canvas(detector: AbstractDetector, count: int, size: tuple[int, int]) -> Pixels:
    """Return `count` canvases of `size` (height, width) in the detector's mean colour, on its device."""
    return detector.pixel_mean[:, None, None].repeat(count, 1, *size)


def on_canvas(
    detector: AbstractDetector,
    images: Float[Tensor, "batch 3 _ _"] | Sequence[UInt8[Tensor, "3 _ _"] | Float[Tensor, "3 _ _"]],
    size: tuple[int, int] | None = None,
) -> Pixels:
    """Place images at the upper left of canvases in the detector's mean colour.

    Args:
        detector: gives mean colour, size divisor, device and dtype.
        images: RGB, either 8 bit or floating point in [0, 1], at the size of the network's input; gradient flows to
            the latter. A batch shares one size, a list may have several.
        size: (height, width) of the canvas; by default the smallest that holds every image.

    Raises:
        ValueError: when an image is larger than the canvas.
    """
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    height, width = canvas_size(sizes, detector.size_divisor) if size is None else size
    for image_size in sizes:
        if image_size[0] > height or image_size[1] > width:
            raise ValueError(f"an image of size {image_size} does not fit on a canvas of size {(height, width)}")
    canvas = blank_canvas(detector, len(images), (height, width))
    if isinstance(images, Tensor):
        canvas[..., : images.shape[-2], : images.shape[-1]] = _in_unit_range(images, canvas)
        return canvas
    for row, image in enumerate(images):
        canvas[row, :, : image.shape[-2], : image.shape[-1]] = _in_unit_range(image, canvas)
    return canvas


def whole_canvas(pixels: Pixels) -> list[tuple[int, int]]:
    """Return (height, width) of each image where every image fills its canvas."""
    return [(pixels.shape[-2], pixels.shape[-1])] * len(pixels)


def check_canvas(pixels: Pixels, divisor: int) -> None:
    """Check that the sides of a canvas are multiples of `divisor`.

    Raises:
        ValueError: when they are not.
    """
    height, width = pixels.shape[-2:]
    if height % divisor or width % divisor:
        raise ValueError(f"a canvas of {height} x {width} pixels: sides must be multiples of {divisor}")


def settled_size(image_size: tuple[int, int], resize: Callable[[tuple[int, int]], tuple[int, int]]) -> tuple[int, int]:
    """Return the (height, width) that a library's preprocessing no longer changes.

    Rounding can make a library resize its own result once more, so `resize` is applied until its result stays.

    Args:
        image_size: (height, width) of the image.
        resize: (height, width) after the library's preprocessing, applied once.
    """
    settled = resize(image_size)
    while (again := resize(settled)) != settled:
        settled = again
    return settled


def _in_unit_range(image: Tensor, canvas: Tensor) -> Tensor:
    return image.to(canvas) / 255 if image.dtype == torch.uint8 else image.to(canvas)
