"""Pooling of regions from a pyramid, with a fast gradient to the features on the CPU.

Each output of RoIAlign is a weighted sum over sixteen or so positions of a feature map, with weights that depend on the
boxes only. With channels last in memory a position is a row, and the sums over rows, and their gradient, are those of
an embedding bag.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from detinv.detectors.acceleration.pooling import ReplacedPooling


class RowPooling(ReplacedPooling):
    """torchvision's pooling over several levels, with the same options and the same result.

    Args:
        ordinary: see `suits`.
    """

    @staticmethod
    def suits(layer: MultiScaleRoIAlign) -> bool:
        """Tell whether a layer can be replaced by one of this class."""
        return type(layer) is MultiScaleRoIAlign and layer.scales is not None and layer.sampling_ratio > 0

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Float[Tensor, "roi channel rows columns"]:
        """Pool the features of all images' boxes, image by image."""
        levels = [x[name] for name in self.featmap_names if name in x]
        first = levels[0]
        if first.device.type != "cpu" or first.dtype != boxes[0].dtype or torch.is_autocast_enabled("cpu"):
            return super().forward(x, boxes, image_shapes)
        # One image at a time: the order in which gradients are summed depends on the number of images.
        return torch.cat([self._pooled([level[k : k + 1] for level in levels], boxes[k]) for k in range(len(boxes))])

    def _pooled(
        self, levels: list[Float[Tensor, "1 channel _ _"]], boxes: Float[Tensor, "roi 4"]
    ) -> Float[Tensor, "roi channel rows columns"]:
        """Features of one image's boxes."""
        places, weights = self._places([(level.shape[2], level.shape[3]) for level in levels], [boxes])
        table = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in levels])
        pooled = F.embedding_bag(places, table, mode="sum", per_sample_weights=weights)
        height, width = self.output_size
        return pooled.view(-1, height * width, table.shape[1]).transpose(1, 2).unflatten(2, (height, width))

    @torch.no_grad()
    def _places(
        self, grids: list[tuple[int, int]], boxes: list[Float[Tensor, "_ 4"]]
    ) -> tuple[Int64[Tensor, "bin place"], Float[Tensor, "bin place"]]:
        """Rows that each bin of each box sums, and their weights."""
        assert self.scales is not None
        every = torch.cat(boxes)
        image = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(one) for one in boxes]))
        level = torch.zeros_like(image) if self.map_levels is None else self.map_levels(boxes)
        sizes = torch.tensor(grids)[level]
        counts = torch.tensor([len(boxes) * height * width for height, width in grids])
        start = (counts.cumsum(0) - counts)[level] + image * sizes.prod(1)
        corners = every * torch.tensor(self.scales, dtype=every.dtype)[level, None]
        rows, row_weights = self._along(corners[:, 1], corners[:, 3], sizes[:, 0], self.output_size[0])
        columns, column_weights = self._along(corners[:, 0], corners[:, 2], sizes[:, 1], self.output_size[1])
        found = (start[:, None, None] + rows * sizes[:, 1, None, None])[:, :, None, :, None]
        found = found + columns[:, None, :, None]
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None]
        return found.flatten(0, 2).flatten(1), weights.flatten(0, 2).flatten(1)

    def _along(
        self, low: Float[Tensor, " roi"], high: Float[Tensor, " roi"], length: Int64[Tensor, " roi"], bins: int
    ) -> tuple[Int64[Tensor, "roi {bins} place"], Float[Tensor, "roi {bins} place"]]:
        """The same along one axis: two neighbours of each of a bin's samples, which count linearly."""
        samples = self.sampling_ratio
        step = ((high - low).clamp(min=1) / bins)[:, None, None]
        bin_number = torch.arange(bins, dtype=low.dtype)[:, None]
        within = torch.arange(samples, dtype=low.dtype) + 0.5
        # In the library's order of operations, so that places are rounded alike.
        at = (low[:, None, None] + bin_number * step) + within * step / samples
        last = (length - 1)[:, None, None]
        inside = (at >= -1) & (at <= length[:, None, None])
        at = torch.minimum(at.clamp(min=0), last.to(at.dtype))
        before = at.long()
        share = at - before
        places = torch.stack([before, torch.minimum(before + 1, last)], dim=-1)
        weights = torch.stack([1 - share, share], dim=-1) * inside[..., None] / samples
        return places.flatten(2), weights.flatten(2)
