"""Resizing of 8-bit images to 8 bits again, as programs do that deploy small detectors."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from detinv.errors import DetectorError
from detinv.inputs.printable import quoted


def check_resize(resize: str) -> None:
    """Check the choice of how an adapter resizes images.

    Args:
        resize: "antialiased", averaging over all of an image's pixels, or "published", as the authors' own code does.

    Raises:
        DetectorError: for anything else.
    """
    if resize not in ("antialiased", "published"):
        raise DetectorError(f"resize={quoted(resize)}: choose antialiased or published")


def averaged_8bit(image: UInt8[Tensor, "3 _ _"], size: tuple[int, int]) -> UInt8[Tensor, "3 _ _"]:
    """Resize by Pillow's bilinear filter, which averages over all pixels where the result is smaller.

    An image of `size` is returned as it is.

    Args:
        size: (height, width).
    """
    if image.shape[1:] == size:
        return image
    # Not torch's filter, which rounds only once: a level here and there changes which detections come close to a
    # threshold.
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    resized = np.array(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(2, 0, 1).contiguous().to(image.device)


def interpolated_8bit(image: UInt8[Tensor, "3 _ _"], size: tuple[int, int]) -> UInt8[Tensor, "3 _ _"]:
    """Resize by reading each pixel from four neighbours, as OpenCV's `resize` does (equal but for one level).

    An image of `size` is returned as it is.

    Args:
        size: (height, width).
    """
    if image.shape[1:] == size:
        return image
    resized = F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def warped_8bit(image: UInt8[Tensor, "3 _ _"], size: tuple[int, int]) -> UInt8[Tensor, "3 _ _"]:
    """Resize bilinearly without antialiasing, leaving the centre of the first pixel where it is.

    So does OpenCV's `warpPerspective` with a matrix that scales. An image of `size` is returned as it is.

    Args:
        size: (height, width).
    """
    height, width = image.shape[1:]
    if (height, width) == size:
        return image
    y = (2 * torch.arange(size[0], device=image.device) * (height / size[0]) + 1) / height - 1
    x = (2 * torch.arange(size[1], device=image.device) * (width / size[1]) + 1) / width - 1
    grid = torch.stack(torch.broadcast_tensors(x, y[:, None]), dim=-1)
    warped = F.grid_sample(image[None].float(), grid[None], mode="bilinear", align_corners=False)[0]
    return warped.round().to(torch.uint8)
