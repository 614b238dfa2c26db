"""Photographs that a program hands over."""

from collections.abc import Iterable
from os import PathLike
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.inputs.torch_settings import own_tensor


def eight_bit_images(images: Iterable[Any]) -> list[UInt8[Tensor, "3 _ _"]]:
    """Return images, once they are known to be 8-bit RGB: others would be read as nearly black, or as other shapes.

    Raises:
        ConfigError: for anything else, naming its number, what it is, and how to convert it.
    """
    if not isinstance(images, Iterable) or isinstance(images, str) or getattr(images, "ndim", 4) < 4:
        raise ConfigError(f"images: expected a list of images, got {type(images).__name__}; put it into [ ]")
    images = list(images)
    for number, image in enumerate(images):
        if isinstance(image, Tensor):
            if image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3 and image.numel():
                continue
            found = f"{str(image.dtype).removeprefix('torch.')} of shape {tuple(image.shape)}"
        else:
            found = f"a {type(image).__name__}"
        raise ConfigError(
            f"images[{number}]: expected a uint8 tensor of shape (3, height, width), got {found}{_conversion(image)}"
        )
    return [own_tensor(image) for image in images]


def _conversion(image: Any) -> str:
    """Return how to make an 8-bit RGB tensor of what was given, as far as its type tells."""
    if isinstance(image, str | PathLike):
        return "; read it by torchvision.io.decode_image(path, mode='RGB', apply_exif_orientation=True)"
    if hasattr(image, "convert"):  # an image of Pillow, of any mode
        return "; convert it by torchvision.transforms.functional.pil_to_tensor(image.convert('RGB'))"
    if isinstance(image, Tensor) and image.is_floating_point():
        largest = float(image.max()) if image.numel() else 0.0
        return f"; convert it by {'image' if largest > 1 else '(255 * image)'}.round().byte()"
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[2] == 3:
        return "; convert it by image.permute(2, 0, 1)"
    if hasattr(image, "__array_interface__") and not isinstance(image, Tensor):
        return "; an RGB array (height, width, 3) of uint8 is converted by torch.tensor(image.copy()).permute(2, 0, 1)"
    return ""
