"""Masks without sharp edges, made of few parameters."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# How sharply the smooth maximum prefers the largest value.
_SHARPNESS = 20.0


@dataclass(frozen=True, eq=False)
class SmoothMasks:
    """Masks that are, at each cell of a grid, the smooth maximum of the parameters around it, by their distance.

    Args:
        size: (height, width) of the image.
        cells: (rows, columns) of the grid.
        kernel: what a parameter counts at each place of the window around it.
        most: what a mask of ones becomes before it is divided by that.

    Source: Fong et al. 2019, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks", section 3.2.
    """

    size: tuple[int, int]
    cells: tuple[int, int]
    kernel: Float[Tensor, "side side"]
    most: Float[Tensor, "rows columns"]

    @classmethod
    def of(cls, size: tuple[int, int], cell: float, reach: float, device: torch.device) -> "SmoothMasks":
        """Return masks of an image.

        Args:
            cell: distance of neighbouring parameters, in pixels.
            reach: distance, in pixels, in units of which the kernel falls; it is flat up to a half of it.
        """
        cells = (max(1, round(size[0] / cell)), max(1, round(size[1] / cell)))
        radius = max(1, round(2 * reach / cell))
        offsets = torch.arange(-radius, radius + 1, device=device) * (cell / reach)
        distances = (offsets.square() + offsets[:, None].square()).sqrt()
        kernel = torch.exp(-2 * (distances - 0.5).clamp(min=0).square())
        ones = torch.ones(1, *cells, device=device)
        return cls(size, cells, kernel, _smooth_maximum(ones, kernel)[0])

    def coarse(self, parameters: Float[Tensor, "mask rows columns"]) -> Float[Tensor, "mask rows columns"]:
        """Return masks at the cells, in [0, 1] for parameters in [0, 1]."""
        return _smooth_maximum(parameters, self.kernel) / self.most

    def fine(self, coarse: Float[Tensor, "mask rows columns"]) -> Float[Tensor, "mask height width"]:
        """Return masks at the pixels, from those at the cells."""
        return F.interpolate(coarse[:, None], self.size, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)

    def area_error(
        self, coarse: Float[Tensor, "mask rows columns"], shares: Float[Tensor, " mask"]
    ) -> Float[Tensor, " mask"]:
        """Return how far each mask is from one that is 1 on its share of the image and 0 elsewhere, wherever it is.

        Values are sorted and compared with that many ones after zeros, squared, mean over the image.
        """
        values = coarse.flatten(1).sort(dim=1).values
        places = torch.arange(values.shape[1], device=values.device) + 1
        wanted = (places - values.shape[1] * (1 - shares[:, None])).clamp(0, 1)
        return (values - wanted).square().mean(1)


def _smooth_maximum(values: Float[Tensor, "mask rows columns"], kernel: Tensor) -> Float[Tensor, "mask rows columns"]:
    radius = kernel.shape[0] // 2
    around = F.unfold(values[:, None], kernel.shape[0], padding=radius) * kernel.flatten()[:, None]
    return (around * (_SHARPNESS * around).softmax(1)).sum(1).unflatten(1, values.shape[1:])
