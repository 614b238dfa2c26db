"""Where an image's edges lie: along an object's border, or inside it."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

# Half the width of the band along a border: a share of the object's sides, and at least so many pixels.
_BAND, _LEAST_BAND = 0.05, 2


def edge_energy(image: UInt8[Tensor, "3 height width"]) -> Float[Tensor, "height width"]:
    """Squared differences of each pixel's neighbours across and down, summed over the channels.

    Args:
        image: RGB, 0 to 255; read in units of [0, 1]. Beyond its edges it goes on as it ends.
    """
    padded = F.pad(image[None].double() / 255, (1, 1, 1, 1), mode="replicate")[0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return (across.square() + down.square()).sum(0).float()


def box_region(box: Float[Tensor, " 4"], image_size: tuple[int, int]) -> Bool[Tensor, "height width"]:
    """The pixels whose centres lie in an XYXY box."""
    height, width = image_size
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    x0, y0, x1, y1 = box.tolist()
    return ((y >= y0) & (y <= y1))[:, None] & ((x >= x0) & (x <= x1))


def border_share(energy: Float[Tensor, "height width"], region: Bool[Tensor, "height width"]) -> float:
    """How much of the edge energy of an object lies along its border, in [0, 1]; one half where edges lie anywhere.

    The mean energy of a pixel in a band along the region's border, over the sum of that and of the mean energy of a
    pixel inside. The band reaches 5% of the region's width and height, and at least two pixels, to both sides.

    Returns:
        NaN when there is nothing inside the band, or no edge at all.

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
    """The region and all within `reach` (rows, columns) of it; `beyond` the image everything is in it (1) or not."""
    down, across = reach
    padded = F.pad(region[None, None].float(), (across, across, down, down), value=beyond)
    return F.max_pool2d(padded, (2 * down + 1, 2 * across + 1), stride=1)[0, 0] > 0
