"""Images on which an adapter is tried."""

import torch
from jaxtyping import UInt8
from torch import Tensor


def random_image(image_size: tuple[int, int], generator: torch.Generator) -> UInt8[Tensor, "3 height width"]:
    """Patches of random colours under noise: edges at many scales, so that some detector finds something."""
    height, width = image_size
    image = torch.full((3, height, width), 0.5)
    for _ in range(30):
        top, left = (int(torch.randint(side, (), generator=generator)) for side in image_size)
        bottom = top + 1 + int(torch.randint(height // 2, (), generator=generator))
        right = left + 1 + int(torch.randint(width // 2, (), generator=generator))
        image[:, top:bottom, left:right] = torch.rand(3, 1, 1, generator=generator)
    image = image + 0.08 * torch.randn(3, height, width, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
