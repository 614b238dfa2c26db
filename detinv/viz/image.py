"""Conversion of images to pictures: contrast, size, order of axes."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

Picture = UInt8[np.ndarray, "_ _ 3"]
"""A drawing for people: (height, width, RGB), 0 to 255."""

# The longer side that enlarged images are brought near to, and the longest side that is not reduced.
_GOOD_SIDE, _LONGEST_SIDE = 384, 512


def contrast_limits(image: UInt8[Tensor, "3 height width"]) -> tuple[float, float]:
    """Return the 1st and 99th percentile over all channels; (0, 255), which changes nothing, if they are equal."""
    low, high = np.percentile(image.cpu().numpy(), (1, 99)).tolist()
    return (low, high) if high > low else (0.0, 255.0)


def stretch_contrast(image: UInt8[Tensor, "3 height width"]) -> UInt8[Tensor, "3 height width"]:
    """Return the image with its `contrast_limits` moved to 0 and 255: for viewing only.

    One scale for all channels, so hues stay; an image of one grey value is returned as it is.
    """
    low, high = contrast_limits(image)
    return ((image.float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def display_scale(image_size: tuple[int, int]) -> int | float:
    """Return a factor at which an image of (height, width) is easy to view: a whole number, or below 1."""
    side = max(image_size)
    return max(1, round(_GOOD_SIDE / side)) if side <= _LONGEST_SIDE else _LONGEST_SIDE / side


def scale_within(image_size: tuple[int, int], side: int) -> int | float:
    """Return the factor at which the longer side of an image has at most `side` pixels; whole where it enlarges."""
    longest = max(image_size)
    return side // longest if longest <= side else side / longest


def scaled_size(image_size: tuple[int, int], scale: int | float) -> tuple[int, int]:
    """Return (height, width) after scaling, at least one pixel each."""
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def rescale(image: UInt8[Tensor, "3 height width"], scale: int | float) -> Picture:
    """Return the image as a picture, enlarged by repeating pixels, which keeps their values, or reduced by averaging.

    Raises:
        ValueError: if `scale` is above one and not whole, or not positive.
    """
    picture = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    if scale <= 0 or (scale > 1 and scale != int(scale)):
        raise ValueError(f"scale must be a whole number, or between 0 and 1 to reduce, got {scale}")
    if scale >= 1:
        return picture.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    height, width = scaled_size((image.shape[1], image.shape[2]), scale)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
