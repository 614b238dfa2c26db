"""The default method of attribution on detectors of transformers. Inversions are in tests/checks."""

import pytest
import torch

import detinv
from tests.fakes import block_image

pytest.importorskip("transformers", reason="needs the optional library transformers: pip install 'detinv[detr]'")

from tests.transformers_fakes import ARCHITECTURES, tiny_transformer  # noqa: E402


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_default_method_explains_a_detection(architecture):
    detector = tiny_transformer(architecture)
    image = block_image((64, 96), 1)
    (found,) = detector.detect([image])
    inside = found.boxes.clamp(min=0).minimum(torch.tensor([96.0, 64, 96, 64]))
    best = int((inside[:, 2:] - inside[:, :2]).prod(1).argmax())
    maps = detinv.attribute(detector, [image], [inside[best : best + 1]], [found.labels[best : best + 1]])
    assert len(maps) == 1
    heat = maps[0].heat()
    assert heat.isfinite().all()
    assert heat.max() > 0
