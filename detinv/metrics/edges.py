"""Edges: whether they lie along an object's border or inside it."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

# Half the width of the band along a border: a share of the object's sides, and its least value in pixels.
_BAND, _LEAST_BAND = 0.05, 2


def edge_energy(image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "height width"]:
    """Return squared central differences across and down, summed over axes and channels.

    Args:
        image: RGB, 0 to 255, scaled to [0, 1]; its border pixels are repeated outwards.
    """
    padded = F.pad(image[None].double() / 255, (1, 1, 1, 1), mode="replicate")[0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return (across.square() + down.square()).sum(0).float()


def box_region(box: Float[Tensor, " 4"], image_size: tuple[int, int]) -> Bool[Tensor, "height width"]:
    """Return a mask of the pixels whose centres lie in an XYXY box."""
    height, width = image_size
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    x0, y0, x1, y1 = box.tolist()
    return ((y >= y0) & (y <= y1))[:, None] & ((x >= x0) & (x <= x1))


def border_share(energy: Float[Tensor, "height width"], region: Bool[Tensor, "height width"]) -> float:
    """Return how much of an object's edge energy lies along its border, in [0, 1]; one half if it is uniform.

    This is the mean energy of the pixels in a band along the region's border, over the sum of that and the mean energy
    of the pixels inside. To either side, the band is 5% of the region's width and height wide, and at least two pixels.

    Returns:
        NaN when there is nothing inside the band, or there are no edges at all.

    Source: section G.2 of the method, a proxy for "boundaries without inner structure".
    """
    if not region.any():
        return float("nan")
    rows, columns = torch.nonzero(region, as_tuple=True)
    reach = [max(_LEAST_BAND, round(_BAND * (int(places.max()) - int(places.min()) + 1))) for places in (rows, columns)]
    inside = ~_grown(~region, reach, beyond=1.0)
    band = _grown(region, reach, beyond=0.0) & ~inside
    if not inside.any():
        return float("nan")
    along, within = float(energy[band].mean()), float(energy[inside].mean())
    return along / (along + within) if along + within > 0 else float("nan")


def _grown(region: Bool[Tensor, "height width"], reach: list[int], beyond: float) -> Bool[Tensor, "height width"]:
    """Dilate a region by `reach` (rows, columns); outside the image all pixels belong to it (`beyond` 1) or none."""
    down, across = reach
    padded = F.pad(region[None, None].float(), (across, across, down, down), value=beyond)
    return F.max_pool2d(padded, (2 * down + 1, 2 * across + 1), stride=1)[0, 0] > 0
