"""Detectron2's pooling of regions from a pyramid without asking how many regions each level has.

Detectron2 sorts regions by level, and the host waits for their numbers. Here each level pools all regions, those of
other levels at a place outside of its features, where they are zero and have no gradient.
"""

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from jaxtyping import Float
from torch import Tensor, nn

# A coordinate outside of all features, in pixels.
_NOWHERE = -1e6


class LevelPooler(ROIPooler):
    """Detectron2's pooling over several levels, with the same options and the same result.

    Args:
        ordinary: see `suits`; its parts are shared.
    """

    def __init__(self, ordinary: ROIPooler) -> None:
        nn.Module.__init__(self)
        self.output_size, self.level_poolers = ordinary.output_size, ordinary.level_poolers
        self.min_level, self.max_level = ordinary.min_level, ordinary.max_level
        self.canonical_level, self.canonical_box_size = ordinary.canonical_level, ordinary.canonical_box_size
        self.train(ordinary.training)

    @staticmethod
    def suits(pooler: ROIPooler | None) -> bool:
        """Tell whether a pooler can be replaced by one of this class."""
        return (
            pooler is not None
            and type(pooler) is ROIPooler
            and len(pooler.level_poolers) > 1
            and all(type(one) is ROIAlign for one in pooler.level_poolers)
        )

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Float[Tensor, "roi channel rows columns"]:
        """Pool the features of all images' boxes, image by image."""
        every = torch.cat([boxes.tensor for boxes in box_lists])
        images = torch.cat([every.new_full((len(boxes), 1), number) for number, boxes in enumerate(box_lists)])
        level_of = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )[:, None]
        result: Tensor | None = None
        for number, (features, pooler) in enumerate(zip(x, self.level_poolers, strict=True)):
            pooled = pooler(features, torch.cat([images, torch.where(level_of == number, every, _NOWHERE)], dim=1))
            result = pooled if result is None else result + pooled
        assert result is not None
        return result
