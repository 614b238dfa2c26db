"""Random-phase textures: the spectrum of a style image without its shapes, in the colours of the object.

Legend: H x W pixels; spectra are those of real images, half of them stored.
"""

import math

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor


class PhaseRandomised:
    """The style image's spectrum with random phases, brought to the object's mean colour and contrast.

    All channels get the same change of phase, so that colours that go together in the style image still do. Mean and
    standard deviation of every channel inside the mask stay those of the object, but for what rounding and clipping
    take: neither colour nor contrast is what changes. Needs no weights.

    Source: Galerne et al. 2011, random phase noise.
    """

    def __call__(
        self,
        image: UInt8[Tensor, "3 height width"],
        masks: Bool[Tensor, "object height width"],
        style: UInt8[Tensor, "3 _ _"],
        generator: torch.Generator,
    ) -> UInt8[Tensor, "object 3 height width"]:
        """One texture for the whole image, recoloured for each object; see `TextureMethod`."""
        texture = tiled(random_phases(style.double(), generator), image.shape[1], image.shape[2])
        found = image.new_empty(len(masks), *image.shape)
        for row, mask in enumerate(masks):
            found[row] = recoloured(texture, image.double(), mask).round().clamp(0, 255).to(torch.uint8)
        return found

    def describe(self) -> str:
        return (
            "random phases for the spectrum of another image, brought to the object's mean colour and contrast inside "
            "its mask, channel by channel"
        )


def random_phases(
    image: Float[Tensor, "3 height width"], generator: torch.Generator
) -> Float[Tensor, "3 height width"]:
    """Make a periodic texture with the image's mean and the spectrum of its periodic component.

    The phases added are those of white noise, which are random and those of a real image.
    """
    height, width = image.shape[1:]
    spectrum = torch.fft.rfft2(periodic_component(image))
    noise = torch.fft.rfft2(torch.randn(height, width, generator=generator, dtype=image.dtype))
    turn = noise / noise.abs().clamp(min=torch.finfo(image.dtype).tiny)
    turn[0, 0] = 1  # the mean stays
    return torch.fft.irfft2(spectrum * turn, s=(height, width))


def periodic_component(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Remove the jumps between opposite edges, which would give the spectrum a cross of lines.

    Source: Moisan 2011, "Periodic plus smooth image decomposition".
    """
    height, width = image.shape[1:]
    jumps = torch.zeros_like(image)
    rows, columns = image[:, -1] - image[:, 0], image[:, :, -1] - image[:, :, 0]
    jumps[:, 0] += rows
    jumps[:, -1] -= rows
    jumps[:, :, 0] += columns
    jumps[:, :, -1] -= columns
    turns_y = torch.fft.fftfreq(height, dtype=image.dtype) * 2 * math.pi
    turns_x = torch.fft.rfftfreq(width, dtype=image.dtype) * 2 * math.pi
    laplacian = 2 * torch.cos(turns_y)[:, None] + 2 * torch.cos(turns_x) - 4
    laplacian[0, 0] = 1  # there the jumps cancel
    smooth = torch.fft.rfft2(jumps) / laplacian
    smooth[:, 0, 0] = 0
    return image - torch.fft.irfft2(smooth, s=(height, width))


def tiled(texture: Float[Tensor, "3 _ _"], height: int, width: int) -> Float[Tensor, "3 {height} {width}"]:
    """Fill a plane with copies of `texture`, and return its upper left."""
    rows, columns = torch.arange(height) % texture.shape[1], torch.arange(width) % texture.shape[2]
    return texture[:, rows][:, :, columns]


def recoloured(
    texture: Float[Tensor, "3 height width"],
    image: Float[Tensor, "3 height width"],
    mask: Bool[Tensor, "height width"],
) -> Float[Tensor, "3 height width"]:
    """Shift and scale `texture` to the mean and standard deviation of `image` inside the mask, channel by channel.

    Where the texture is of one colour inside the mask, only the mean can be met.
    """
    own, wanted = texture[:, mask], image[:, mask]
    spread = own.std(1, correction=0, keepdim=True)
    factor = torch.where(spread > 1e-6, wanted.std(1, correction=0, keepdim=True) / spread.clamp(min=1e-6), 0.0)
    shifted = (texture - own.mean(1)[:, None, None]) * factor[..., None]
    return shifted + wanted.mean(1)[:, None, None]
