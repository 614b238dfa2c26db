"""Pooling of regions from a pyramid without asking how many regions each level has.

torchvision sorts regions by level, and the host waits for their numbers, once for each level. Here each level pools all
regions, those of other levels at a place outside of its features, where they are zero, cost little and have no
gradient. The sum over all levels is the same to the last bit.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from detinv.detectors.acceleration.pooling import ReplacedPooling

# A coordinate outside of all features, in pixels.
_NOWHERE = -1e6


class LevelPooling(ReplacedPooling):
    """torchvision's pooling over several levels, with the same options and the same result.

    Args:
        ordinary: see `suits`.
    """

    @staticmethod
    def suits(layer: MultiScaleRoIAlign) -> bool:
        """Tell whether a layer can be replaced by one of this class."""
        return type(layer) is MultiScaleRoIAlign and layer.scales is not None and len(layer.scales) > 1

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Float[Tensor, "roi channel rows columns"]:
        """Pool the features of all images' boxes, image by image."""
        assert self.scales is not None and self.map_levels is not None
        levels = [x[name] for name in self.featmap_names if name in x]
        images = torch.cat([one.new_full((len(one), 1), number) for number, one in enumerate(boxes)])
        every, level_of = torch.cat(boxes), self.map_levels(boxes)[:, None]
        pooled = [
            roi_align(
                features,
                torch.cat([images, torch.where(level_of == number, every, _NOWHERE)], dim=1),
                self.output_size,
                scale,
                self.sampling_ratio,
            )
            for number, (features, scale) in enumerate(zip(levels, self.scales, strict=True))
        ]
        result = pooled[0]
        for more in pooled[1:]:
            result = result + more
        return result
