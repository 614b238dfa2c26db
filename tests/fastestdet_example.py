"""The tutorial's example, docs/fastestdet, as its own modules, and a small detector of it that finds something."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from detinv.checks.images import random_image

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "fastestdet"


@contextmanager
def example_on_the_import_path() -> Iterator[None]:
    """Let `module` find the example's files, within this block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield
        for name in ("adapter", "fastestdet"):
            sys.modules.pop(name, None)


def module(name):
    return importlib.import_module(name)


def random_images(size, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [random_image(size, generator) for _ in range(count)]


def lively(image_size=(64, 96), num_classes=5, score_thresh=0.001):
    """A detector with random weights whose outputs differ from cell to cell."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = module("fastestdet").FastestDet(num_classes)
        norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        network.train()(torch.stack(random_images(image_size, 8, seed=9)).flip(1) / 255)
        # Some boxes small, some large, some beyond the image.
        network.detect_head.reg_layers.conv5x5[4].bias.data = torch.tensor([0.0, 0.0, -1.0, -1.0])
        network.detect_head.cls_layers.conv5x5[4].weight.data *= 3
    names = [f"class{number}" for number in range(num_classes)]
    return module("adapter").FastestDetDetector(network, names, image_size, score_thresh, 0.45)
