"""Measure how far the cells of a trained network look from where their map is placed, in pixels of the network's input.

python -m tests.attribution.measurements.cell_places shapes_retinanet yolox_nano
"""

import argparse

import torch

from detinv.attribution.core.frames import cells_extent
from detinv.detectors.base import AbstractDetector
from detinv.detectors.hooks import capture_features
from detinv.detectors.load import load_detector

# Change of one pixel, and the part of the image, around its middle, in which pixels are chosen.
_CHANGE, _MIDDLE = 0.3, 0.3


@torch.no_grad()
def offsets(detector: AbstractDetector, count: int, side: int = 128) -> dict[str, torch.Tensor]:
    """Return, for each layer, how far to the right of and below a changed pixel the features change.

    Returns:
        Of each layer, (x, y) for each of `count` pixels.
    """
    size = detector.network_size((side, side))
    layers = [layer for layer in detector.feature_layers() if layer.stride is not None and not layer.tokens]
    generator = torch.Generator().manual_seed(1)
    pixels = 0.35 + _CHANGE * torch.rand(1, 3, *size, generator=generator)
    found: dict[str, list[list[float]]] = {layer.name: [] for layer in layers}
    with capture_features(detector, layers) as before:
        detector(pixels, [size])
    for _ in range(count):
        x, y = (
            int(length * (0.5 + _MIDDLE * (float(torch.rand(1, generator=generator)) - 0.5))) for length in size[::-1]
        )
        changed = pixels.clone()
        changed[0, :, y, x] += _CHANGE
        with capture_features(detector, layers) as after:
            detector(changed, [size])
        for layer in layers:
            change = (after[layer.name] - before[layer.name]).square().sum(1)[0]
            rows, columns = change.shape
            _, _, width, height = cells_extent(layer.stride, (rows, columns), size)
            ys = (torch.arange(rows) + 0.5) * (height / rows)
            xs = (torch.arange(columns) + 0.5) * (width / columns)
            if total := float(change.sum()):
                centre = float((change * xs).sum()) / total, float((change * ys[:, None]).sum()) / total
                found[layer.name].append([centre[0] - x - 0.5, centre[1] - y - 0.5])
    return {name: torch.tensor(rows) for name, rows in found.items() if rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detectors", nargs="+", help="names of registered ones")
    parser.add_argument("--count", type=int, default=40, help="of pixels")
    options = parser.parse_args()
    for name in options.detectors:
        for layer, values in offsets(load_detector(name), options.count).items():
            x, y = values.mean(0).tolist()
            error = float(values.std(0).mean()) / len(values) ** 0.5
            print(f"{name}, {layer}: {x:+.1f} right, {y:+.1f} below (+- {error:.1f})", flush=True)
