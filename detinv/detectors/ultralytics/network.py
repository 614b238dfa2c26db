"""The structure of ultralytics' networks: layers name those whose outputs they receive, and the last is the head."""

from typing import Any

from torch import Tensor, nn

from detinv.types import Inputs


def head_of(network: Any) -> Any:
    """Return the last layer of one of the library's networks; any other module is returned itself."""
    return network.model[-1] if isinstance(getattr(network, "model", None), nn.Sequential) else network


def head_sources(network: Any) -> list[int]:
    """Return the numbers of the layers whose outputs the head takes, finest level first."""
    head = network.model[-1]
    numbers = [head.f] if isinstance(head.f, int) else head.f
    # Negative numbers count back from the head.
    return [number if number >= 0 else len(network.model) - 1 + number for number in numbers]


def neck_start(network: Any) -> int:
    """Return the number of the first layer of the neck: the first that upsamples, or else the head."""
    kinds = [isinstance(layer, nn.Upsample) for layer in network.model]
    return kinds.index(True) if True in kinds else len(kinds) - 1


def head_inputs(network: Any, inputs: Inputs) -> list[Tensor]:
    """Return the feature maps that the head receives, finest level first, with gradient to the inputs."""
    outputs: list[Tensor | None] = []
    latest: Any = inputs

    def received_by(layer: Any) -> Any:
        """Return the outputs that a layer receives; -1 is the layer before it."""
        if isinstance(layer.f, int):
            return latest if layer.f == -1 else outputs[layer.f]
        return [latest if number == -1 else outputs[number] for number in layer.f]

    for layer in network.model[:-1]:
        latest = layer(received_by(layer))
        outputs.append(latest if layer.i in network.save else None)
    return received_by(network.model[-1])
