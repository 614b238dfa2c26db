"""Dense heads that can be run on a window of a feature map, because they see no further."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

_POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Identity, nn.BatchNorm2d, FrozenBatchNorm2d)


class HeadOutputs(NamedTuple):
    """Raw outputs of a dense head, as in `DensePredictions`."""

    logits: Float[Tensor, "batch anchor column"]
    deltas: Float[Tensor, "batch anchor 4"]
    quality_logits: Float[Tensor, "batch anchor"] | None = None


@dataclass(frozen=True)
class HeadWindow:
    """How to run a dense head on windows of its levels.

    Rows of a level are ordered by cell (row by row) and then by anchor, with the same number of anchors in each cell.

    Args:
        radius: how many cells in each direction an output depends on; None for the whole level, and no other.
        outputs: computes the outputs of all cells of windows (N, C, height, width) of the level of this number. Beyond
            the window it sees what it sees beyond the border of a whole feature map.
    """

    radius: int | None
    outputs: Callable[[int, Float[Tensor, "window channel height width"]], HeadOutputs]


def window_radius(branches: Iterable[nn.Module]) -> int | None:
    """Return how many cells in each direction an output of convolutional branches depends on.

    Args:
        branches: each a sequence of convolutions with stride 1, normalisation by stored statistics, and activations,
            or of such sequences.

    Returns:
        None if a branch contains anything else, such as normalisation over the whole map, or by a layer for each level.
    """
    largest = 0
    for branch in branches:
        radius = 0
        for module in branch.modules():
            if isinstance(module, nn.Conv2d):
                if module.stride != (1, 1):
                    return None
                radius += max(
                    (size - 1) // 2 * dilation
                    for size, dilation in zip(module.kernel_size, module.dilation, strict=True)
                )
            elif not isinstance(module, (*_POINTWISE, nn.Sequential)):
                return None
        largest = max(largest, radius)
    return largest
