"""Substitutes for texture transfer that use nothing but the object itself."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from detinv.errors import ConfigError
from detinv.inversion.pixels.blur import gaussian_blur, gaussian_kernel


class PatchShuffle:
    """The object's own square windows in a random order: its outline and fine texture stay, its drawing goes.

    The object's box is cut into cells, and each is filled with a window drawn at random among those that lie inside
    the mask. Where none fits, the window's side is halved until one does.

    Args:
        side: of a window, in pixels.

    Raises:
        ConfigError: for a side below 1.
    """

    def __init__(self, side: int = 8) -> None:
        if side < 1:
            raise ConfigError(f"experiment.texture.side={side}: choose at least 1 pixel")
        self.side = side

    def __call__(
        self,
        image: UInt8[Tensor, "3 height width"],
        masks: Bool[Tensor, "object height width"],
        style: UInt8[Tensor, "3 _ _"],
        generator: torch.Generator,
    ) -> UInt8[Tensor, "object 3 height width"]:
        """See `TextureMethod`; the style does not matter."""
        found = image.repeat(len(masks), 1, 1, 1)
        for shuffled, mask in zip(found, masks, strict=True):
            ys, xs = _reach(mask)
            side = self.side
            while not len(origins := _windows(mask, side)):
                side //= 2
            cells = (-(-len(ys) // side), -(-len(xs) // side))
            drawn = origins[torch.randint(len(origins), cells, generator=generator)]
            drawn = drawn.repeat_interleave(side, 0)[: len(ys)].repeat_interleave(side, 1)[:, : len(xs)]
            source_y = drawn[..., 0] + (torch.arange(len(ys)) % side)[:, None]
            source_x = drawn[..., 1] + torch.arange(len(xs)) % side
            shuffled[:, ys[:, None], xs] = image[:, source_y, source_x]
        return found

    def describe(self) -> str:
        return f"windows of {self.side} x {self.side} pixels of the object itself, in a random order"


class InteriorBlur:
    """The object blurred within its own mask: its outline stays sharp, and no colour crosses it.

    Args:
        share: standard deviation of the Gaussian, as a share of the square root of the mask's area.

    Raises:
        ConfigError: for a share that is not positive.
    """

    def __init__(self, share: float = 0.1) -> None:
        if not share > 0:
            raise ConfigError(f"experiment.texture.share={share}: choose a number above 0")
        self.share = share

    def __call__(
        self,
        image: UInt8[Tensor, "3 height width"],
        masks: Bool[Tensor, "object height width"],
        style: UInt8[Tensor, "3 _ _"],
        generator: torch.Generator,
    ) -> UInt8[Tensor, "object 3 height width"]:
        """See `TextureMethod`; nothing is random and the style does not matter."""
        found = image.repeat(len(masks), 1, 1, 1)
        for blurred, mask in zip(found, masks, strict=True):
            ys, xs = _reach(mask)
            inside = mask[ys[:, None], xs]
            window = image[:, ys[:, None], xs].float()
            sigma = self.share * float(mask.sum()) ** 0.5
            blurred[:, ys[:, None], xs] = _blur_within(window, inside, sigma).round().clamp(0, 255).to(torch.uint8)
        return found

    def describe(self) -> str:
        return f"Gaussian blur inside the mask, standard deviation {self.share:g} times the square root of its area"


def _reach(mask: Bool[Tensor, "height width"]) -> tuple[Tensor, Tensor]:
    """Row and column numbers of the mask's bounding box."""
    ys, xs = torch.nonzero(mask.any(1))[:, 0], torch.nonzero(mask.any(0))[:, 0]
    return torch.arange(int(ys[0]), int(ys[-1]) + 1), torch.arange(int(xs[0]), int(xs[-1]) + 1)


def _windows(mask: Bool[Tensor, "height width"], side: int) -> Tensor:
    """(row, column) of the upper left pixel of every square window inside the mask."""
    if side > min(mask.shape):
        return torch.zeros(0, 2, dtype=torch.int64)
    outside = F.max_pool2d((~mask)[None].float(), side, stride=1)[0]
    return torch.nonzero(outside == 0)


def _blur_within(
    image: Float[Tensor, "3 height width"], mask: Bool[Tensor, "height width"], sigma: float
) -> Float[Tensor, "3 height width"]:
    """Gaussian means over the pixels of the mask alone; meaningful inside it."""
    # Beyond the window lies nothing: the blur's own border, a mirror, would count pixels twice.
    margin = gaussian_kernel(sigma).shape[1] // 2
    weighted = F.pad(torch.cat([image * mask, mask[None].float()]), [margin] * 4)[None]
    sums = gaussian_blur(weighted, sigma, torch.tensor([weighted.shape[2:]]))[0]
    sums = sums[:, margin : margin + image.shape[1], margin : margin + image.shape[2]]
    return sums[:3] / sums[3:].clamp(min=torch.finfo(sums.dtype).tiny)
