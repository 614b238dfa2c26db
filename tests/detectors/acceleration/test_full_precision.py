"""Whether float32 products may be rounded to TF32: asked for, stated and put back."""

import pytest
import torch

import detinv
from detinv.detectors.acceleration.full_precision import float32_products, tf32
from detinv.layouts.layout import Layout
from tests.fakes import tiny_detector


def test_tf32_is_allowed_within_the_block_alone():
    before = float32_products()
    with tf32(True):
        assert float32_products() == {"matmul": "tf32", "convolution": "tf32"}
    with pytest.raises(ZeroDivisionError), tf32(False):
        assert float32_products() == {"matmul": "ieee", "convolution": "ieee"}
        1 / 0  # noqa: B018
    with tf32(None):
        assert float32_products() == before
    assert float32_products() == before


@pytest.mark.parametrize(("asked", "stated"), [(True, "tf32"), (False, "ieee")])
def test_an_inversion_states_it(asked, stated):
    layout = Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0]]), torch.tensor([1]), (64, 64), "a")
    run = {"steps": 0, "progress": False, "trainer": {"accelerator": "cpu"}}
    result = detinv.invert(tiny_detector("retinanet"), [layout], allow_tf32=asked, **run)
    assert result.metrics["float32_products"] == {"matmul": stated, "convolution": stated}
