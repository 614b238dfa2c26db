"""Layers that the three networks share. Convolutions have a bias: their normalisation is folded into them."""

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Side of the noise that random weights are settled on, in pixels.
_SIDE = 128
_LEAST_SPREAD = 1e-6


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of a map, or divides it by `stride`."""
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups)


def depthwise(channels: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that treats each channel alone."""
    return convolution(channels, channels, kernel, stride, channels)


class ShuffleUnit(nn.Module):
    """The unit of ShuffleNetV2: half of its outputs are computed, the others passed on or, with stride 2, projected.

    Args:
        inputs: number of channels; as many as `outputs` if the stride is 1.
        outputs: number of channels, even.
        stride: 1 or 2.
        activation: after each pointwise convolution.
        alternate: which half is passed on: every second channel, or the first half of channels that the unit before has
            interleaved. Both mix the halves from unit to unit; trained weights fit one of them only.

    Source: Ma et al. 2018, "ShuffleNet V2", figure 3.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: nn.Module, alternate: bool) -> None:
        super().__init__()
        half = outputs // 2
        if stride == 2:
            self.project = nn.Sequential(depthwise(inputs, stride=2), convolution(inputs, half), activation)
        self.compute = nn.Sequential(
            convolution(inputs if stride == 2 else half, half),
            activation,
            depthwise(half, stride=stride),
            convolution(half, half),
            activation,
        )
        self.stride = stride
        self.alternate = alternate

    def forward(self, features: Tensor) -> Tensor:
        if self.stride == 2:
            halves = self.project(features), self.compute(features)
        else:
            passed, entering = (features[:, 0::2], features[:, 1::2]) if self.alternate else features.chunk(2, dim=1)
            halves = passed, self.compute(entering)
        # Interleaved channels are those of a new axis, before it is flattened away.
        return torch.cat(halves, dim=1) if self.alternate else torch.stack(halves, dim=2).flatten(1, 2)


class ShuffleNet(nn.Module):
    """The stages of ShuffleNetV2 with strides 8, 16 and 32.

    Args:
        widths: channels of the first layer and of the three stages.
        activation, alternate: see `ShuffleUnit`.
    """

    repeats = (4, 8, 4)

    def __init__(self, widths: tuple[int, int, int, int], activation: nn.Module, alternate: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, widths[0], 3, 2), activation, nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    ShuffleUnit(outputs if number else inputs, outputs, 1 if number else 2, activation, alternate)
                    for number in range(count)
                )
            )
            for count, inputs, outputs in zip(self.repeats, widths[:-1], widths[1:], strict=True)
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = self.stem(inputs)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


@torch.no_grad()
def draw_weights(network: nn.Module, last: Mapping[str, tuple[float, float]], low: float, high: float) -> None:
    """Draw random weights under which outputs differ from cell to cell; torch's global generator is used.

    Every convolution is scaled so that its outputs have unit variance when the network sees noise.

    Args:
        network: of convolutions with biases.
        last: the ends of names of convolutions whose outputs are raw predictions, with their standard deviation and
            mean.
        low, high: range of the network's input.

    Source: Mishkin and Matas 2016, "All you need is a good init".
    """
    coarse = F.interpolate(torch.rand(2, 3, 8, 8), (_SIDE, _SIDE))
    noise = low + (high - low) * (coarse + torch.rand(2, 3, _SIDE, _SIDE)) / 2
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            goal = next((goal for ending, goal in last.items() if name.endswith(ending)), (1.0, 0.0))
            handles.append(module.register_forward_pre_hook(partial(_settle, goal=goal)))
    network.train(False)(noise)
    for handle in handles:
        handle.remove()


def _settle(layer: nn.Conv2d, inputs: tuple[Tensor], goal: tuple[float, float]) -> None:
    """Draw the weights of a layer, and scale them to what it receives."""
    assert layer.bias is not None
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    output = layer.forward(inputs[0])
    factor = goal[0] / output.std().clamp(min=_LEAST_SPREAD)
    layer.weight.mul_(factor)
    layer.bias.fill_(goal[1] - float(factor * output.mean()))
