"""The signature of a texture method, and how its result is put into an image."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor


@runtime_checkable
class TextureMethod(Protocol):
    """Gives the objects of one image other textures."""

    def __call__(
        self,
        image: UInt8[Tensor, "3 height width"],
        masks: Bool[Tensor, "object height width"],
        style: UInt8[Tensor, "3 _ _"],
        generator: torch.Generator,
    ) -> UInt8[Tensor, "object 3 height width"]:
        """The image once for each object, re-textured at least inside the object's mask.

        What lies outside the mask is never used; see `composite`.

        Args:
            image: RGB.
            masks: each with a pixel at least.
            style: another image, whose texture is taken where the method takes one.
            generator: on the CPU, of all that is random.
        """
        ...

    def describe(self) -> str:
        """Describe the method and all that its result depends on, weights included, for the record of a run."""
        ...


def composite(
    image: UInt8[Tensor, "3 height width"],
    textured: UInt8[Tensor, "3 height width"],
    mask: Bool[Tensor, "height width"],
) -> UInt8[Tensor, "3 height width"]:
    """Combine `textured` inside the mask with the very bytes of `image` outside.

    Source: section G.8 of the method: x' = m S(x) + (1 - m) x.
    """
    return torch.where(mask, textured, image)
