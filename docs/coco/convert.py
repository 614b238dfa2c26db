"""Turns published weights into those of the bundled detectors: python convert.py FROM TO.

FROM holds the files of `SOURCES`; the safetensors files appear in the folder TO. Needs the package onnx.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from detinv.detectors.class_names import COCO_CLASSES
from detinv.zoo.coco.fastestdet import FastestDet
from detinv.zoo.coco.nanodet import NanoDet
from detinv.zoo.coco.yolox import YOLOXNano
from detinv.zoo.weights import save_weights

# Of torch's normalisation layers.
_EPSILON = 1e-5


def graph_convolutions(path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Kernel and bias of every convolution of a graph, in its order."""
    graph = onnx.load(path).graph
    values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            yield values[node.input[1]], values[node.input[2]]


def fill(network: nn.Module, given: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Put kernels and biases into the convolutions of a network, whose modules are registered in the same order."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for layer, (kernel, bias) in zip(layers, given, strict=True):
            if layer.weight.shape != kernel.shape:
                kernel = unfolded(kernel)
            layer.weight.copy_(kernel)
            layer.bias.copy_(bias)


def unfolded(kernel: Tensor) -> Tensor:
    """A 3 x 3 kernel over four slices of the image as a 6 x 6 kernel over the image.

    The slices are the upper left, lower left, upper right and lower right pixel of each square of four.
    """
    outputs = len(kernel)
    slices = kernel.view(outputs, 2, 2, 3, 3, 3)  # right, down, colour, row, column
    return slices.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 6, 6)


def yolox_nano(path: Path) -> nn.Module:
    """YOLOX-Nano from its graph."""
    network = YOLOXNano()
    fill(network, graph_convolutions(path))
    return network


def nanodet_m(path: Path) -> nn.Module:
    """NanoDet-m from its graph."""
    network = NanoDet()
    fill(network, graph_convolutions(path))
    return network


def fastestdet(path: Path) -> nn.Module:
    """FastestDet from its state dict.

    The state dict lists what runs last in a unit first; its normalisation is folded into the convolutions.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    names = {
        "backbone.stem": ["backbone.first_conv.0"],
        "neck.entering": ["SPP.Conv1x1.conv1x1.0"],
        "neck.stacks": [f"SPP.S{depth}.{3 * place}" for depth in (1, 2, 3) for place in range(depth)],
        "neck.joined": ["SPP.output.0"],
        "head": ["detect_head.conv1x1.conv1x1.0"],
        "objectness": [f"detect_head.obj_layers.conv5x5.{place}" for place in (0, 3)],
        "regression": [f"detect_head.reg_layers.conv5x5.{place}" for place in (0, 3)],
        "classes": [f"detect_head.cls_layers.conv5x5.{place}" for place in (0, 3)],
    }
    network = FastestDet()
    for stage, units in enumerate(network.backbone.stages):
        for number in range(len(units)):
            unit = f"backbone.stage{stage + 2}.{number}"
            if number == 0:
                names[f"backbone.stages.{stage}.0.project"] = [f"{unit}.branch_proj.{place}" for place in (0, 2)]
            names[f"backbone.stages.{stage}.{number}.compute"] = [f"{unit}.branch_main.{place}" for place in (0, 3, 5)]
    for module, sources in names.items():
        fill(network.get_submodule(module), (folded(state, source) for source in sources))
    return network


def folded(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution without a bias and of the normalisation that follows it."""
    parent, _, place = name.rpartition(".")
    norm = f"{parent}.{int(place) + 1}"
    factor = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor
    return state[f"{name}.weight"] * factor[:, None, None, None], bias


SOURCES: dict[str, tuple[str, Callable[[Path], nn.Module]]] = {
    "fastestdet": ("fastestdet/fastestdet_coco.pth", fastestdet),
    "nanodet_m": ("nanodet/nanodet_m_416.onnx", nanodet_m),
    "yolox_nano": ("yolox/yolox_nano_416.onnx", yolox_nano),
}


def main(source: str, target: str) -> None:
    """Write the weights of all three."""
    for name, (file, convert) in SOURCES.items():
        network = convert(Path(source) / file)
        save_weights(network, Path(target) / f"{name}.safetensors", {"class_names": list(COCO_CLASSES)})


if __name__ == "__main__":
    main(*sys.argv[1:])
