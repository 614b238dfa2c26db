"""Photographs that a program hands over."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.inputs.torch_settings import own_tensor


def eight_bit_images(images: Sequence[Tensor]) -> list[UInt8[Tensor, "3 _ _"]]:
    """Return images, once they are known to be 8-bit RGB: others would be read as nearly black, or as other shapes.

    Raises:
        ConfigError: for anything else, naming its number and what it is.
    """
    for number, image in enumerate(images):
        if not isinstance(image, Tensor):
            found, hint = f"a {type(image).__name__}", ""
        else:
            found = f"{str(image.dtype).removeprefix('torch.')} of shape {tuple(image.shape)}"
            hint = "; convert it by (255 * image).round().byte()" if image.is_floating_point() else ""
            if image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3 and image.numel():
                continue
        raise ConfigError(f"images[{number}]: expected a uint8 tensor of shape (3, height, width), got {found}{hint}")
    return [own_tensor(image) for image in images]
