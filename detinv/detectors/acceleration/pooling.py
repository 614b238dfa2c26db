"""What layers that replace torchvision's pooling over several levels have in common."""

from torchvision.ops import MultiScaleRoIAlign


class ReplacedPooling(MultiScaleRoIAlign):
    """torchvision's pooling over several levels, with the same options and the same result.

    Args:
        ordinary: the layer that is replaced; has run once, so that it knows the strides of its levels.
    """

    def __init__(self, ordinary: MultiScaleRoIAlign) -> None:
        super().__init__(ordinary.featmap_names, ordinary.output_size, ordinary.sampling_ratio)
        self.canonical_scale, self.canonical_level = ordinary.canonical_scale, ordinary.canonical_level
        self.scales, self.map_levels = ordinary.scales, ordinary.map_levels
        self.train(ordinary.training)
