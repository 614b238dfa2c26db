"""From the pixels of an image to the canvas that a network receives, and from its feature maps back."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from detinv.detectors.base import AbstractDetector


@dataclass(frozen=True)
class Frame:
    """Where an image lies on a canvas: a point (x, y) of the image is at (x, y) * scale + offset of the canvas.

    Args:
        image_size: (height, width) of the image.
        canvas_size: (height, width) of the canvas.
        scale, offset: (x, y).
    """

    image_size: tuple[int, int]
    canvas_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    @classmethod
    def of(
        cls,
        detector: AbstractDetector,
        image_size: tuple[int, int],
        network_size: tuple[int, int],
        canvas_size: tuple[int, int],
    ) -> "Frame":
        """Return the frame of an image, from how the detector converts boxes to its pixels.

        Args:
            image_size, network_size: (height, width) of the image, and of what `network_image` makes of it.
            canvas_size: (height, width) of the canvas that holds the latter at its upper left.
        """
        # A box around the centre: detectors may clip boxes to the image, and may pad what they make of it.
        height, width = network_size
        box = torch.tensor([0.45 * width, 0.45 * height, 0.55 * width, 0.55 * height], dtype=torch.float64)
        x0, y0, x1, y1 = detector.boxes_in_image(box[None], network_size, image_size)[0].tolist()
        scale = (0.1 * width / (x1 - x0), 0.1 * height / (y1 - y0))
        offset = (float(box[0]) - x0 * scale[0], float(box[1]) - y0 * scale[1])
        return cls(image_size, canvas_size, scale, offset)

    def to_canvas(self, boxes: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        """Convert boxes XYXY from pixels of the image to pixels of the canvas."""
        return boxes * boxes.new_tensor(self.scale * 2) + boxes.new_tensor(self.offset * 2)

    def to_image(self, boxes: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        """Convert boxes XYXY from pixels of the canvas to pixels of the image."""
        return (boxes - boxes.new_tensor(self.offset * 2)) / boxes.new_tensor(self.scale * 2)


def cells_extent(
    stride: int | None, cells: tuple[int, int], canvas_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return (x0, y0, x1, y1), in pixels of the canvas, that the cells of a feature map cover.

    Where the stride does not divide the canvas, the last cells reach beyond it. Centres of cells are those of patches
    and of even kernels; with odd kernels, as in ResNets, a cell looks up to (stride - 1) / 2 pixels further to the
    upper left, which is less than half a cell.

    Args:
        stride: pixels from one cell to the next; where it is not known or does not fit, cells share the canvas.
        cells: (rows, columns).
        canvas_size: (height, width).
    """
    height, width = canvas_size
    if stride is None or (-(-height // stride), -(-width // stride)) != cells:
        return 0.0, 0.0, float(width), float(height)
    return 0.0, 0.0, float(cells[1] * stride), float(cells[0] * stride)


def resampled(
    maps: Float[Tensor, "*maps rows columns"],
    extent: tuple[float, float, float, float],
    size: tuple[int, int],
) -> Float[Tensor, "*maps height width"]:
    """Resample maps to a grid of `size`, bilinearly; beyond the outermost cells their values continue.

    Args:
        maps: cells of equal size.
        extent: (x0, y0, x1, y1) that the new grid covers, in fractions of the extent of the old one.
        size: (height, width) of the new grid.
    """
    x0, y0, x1, y1 = extent
    dtype, device = maps.dtype, maps.device
    xs = x0 + (torch.arange(size[1], dtype=dtype, device=device) + 0.5) * ((x1 - x0) / size[1])
    ys = y0 + (torch.arange(size[0], dtype=dtype, device=device) + 0.5) * ((y1 - y0) / size[0])
    grid = torch.stack(torch.meshgrid(2 * xs - 1, 2 * ys - 1, indexing="xy"), -1)
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    found = F.grid_sample(flat, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return found.reshape(*maps.shape[:-2], *size)


def placed(
    one: Float[Tensor, "rows columns"], extent: tuple[float, float, float, float], size: tuple[int, int]
) -> Float[Tensor, "height width"]:
    """Return a map at the pixels of an image, bilinearly; 0 where it does not reach.

    Args:
        extent: (x0, y0, x1, y1) that the map covers, in pixels of the image; it may reach beyond it.
        size: (height, width) of the image.
    """
    height, width = size
    x0, y0, x1, y1 = extent
    across, down = x1 - x0, y1 - y0
    part = (-x0 / across, -y0 / down, (width - x0) / across, (height - y0) / down)
    xs, ys = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    inside = ((ys >= y0) & (ys <= y1))[:, None] & ((xs >= x0) & (xs <= x1))
    return resampled(one[None], part, size)[0] * inside.to(one.device)
