"""The pretended GPU behaves as a GPU does, and notes who waits."""

import pytest
import torch
import torch.nn.functional as F

import detinv
from tests.fakes import tiny_detector
from tests.pretended_gpu import GPU, PretendedGpu

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")

WAITS = {
    "item": lambda on_gpu: on_gpu.sum().item(),
    "bool": lambda on_gpu: bool(on_gpu.any()),
    "list": lambda on_gpu: on_gpu.tolist(),
    "to the host": lambda on_gpu: on_gpu.cpu(),
    "to the device": lambda on_gpu: torch.zeros(3).to(GPU),
    "numbers to the device": lambda on_gpu: torch.tensor([1, 2], device="cuda"),
    "numbers beside others": lambda on_gpu: on_gpu.new_tensor([1, 2]),
    "nonzero": lambda on_gpu: on_gpu.nonzero(),
    "a mask": lambda on_gpu: on_gpu[on_gpu > 0],
    "a list as index": lambda on_gpu: on_gpu[[0, 1]],
    "synchronize": lambda on_gpu: torch.cuda.synchronize(),
}
NONE = {
    "arithmetic": lambda on_gpu: torch.where(on_gpu > 0, on_gpu * 2.0 + 1, 0.0).topk(2),
    "an index on the device": lambda on_gpu: on_gpu[torch.arange(2, device=GPU)],
    "pinned": lambda on_gpu: torch.zeros(3).pin_memory().to(GPU, non_blocking=True),
    "made there": lambda on_gpu: torch.full((2, 3), 4.0, device="cuda") + torch.tensor(1.0),
}


@pytest.mark.parametrize("name", [*WAITS, *NONE])
def test_waits_are_noted_and_nothing_else(name):
    with PretendedGpu() as gpu:
        on_gpu = torch.arange(4.0, device=GPU)
        (WAITS | NONE)[name](on_gpu)
    assert len(gpu.waits) == (name in WAITS)
    assert all(line.startswith("test_pretended_gpu.py:") for line in gpu.waits)


def test_both_sides_do_not_mix():
    with PretendedGpu():
        with pytest.raises(RuntimeError, match="expected all tensors to be on cuda:0"):
            torch.zeros(2, device=GPU) + torch.zeros(2)
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=GPU, generator=torch.Generator())
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            torch.zeros(2, device="cuda:1")
    assert not torch.cuda.is_available()


def test_a_shape_may_change_in_place():
    with PretendedGpu():
        on_gpu = torch.arange(6.0, device=GPU).view(2, 3).t_().unsqueeze_(0)
        assert on_gpu.shape == (on_gpu + 1).shape == on_gpu.cpu().shape == (1, 3, 2)
        assert on_gpu.flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_numbers_gradients_and_precisions_are_as_elsewhere():
    images, kernels = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    expected = images.clone().requires_grad_()
    F.conv2d(expected, kernels).relu().square().sum().backward()
    with PretendedGpu():
        found = images.to(GPU).requires_grad_()
        F.conv2d(found, kernels.to(GPU)).relu().square().sum().backward()
        assert found.device == GPU and found.grad.is_cuda and not found.is_cpu
        with torch.autocast("cuda", torch.bfloat16):
            assert F.conv2d(found, kernels.to(GPU)).dtype == torch.bfloat16
        layer = torch.nn.Linear(2, 2).to("cuda")
        torch.optim.Adam(layer.parameters()).step()
        assert layer.weight.device == GPU and next(layer.parameters()) is layer.weight
        torch.testing.assert_close(found.grad.cpu(), expected.grad)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["retinanet", "maskrcnn"])
@pytest.mark.parametrize("method", ["default", "odam", "d_rise"])
def test_attribution_is_the_cpu_s(family, method):
    detector = tiny_detector(family)
    image = (torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    boxes, labels = [torch.tensor([[4.0, 6.0, 30.0, 28.0]])], [torch.tensor([1])]
    (expected,) = detinv.attribute(detector, [image], boxes, labels, method=method)
    with PretendedGpu():
        (found,) = detinv.attribute(detector.to(GPU), [image], boxes, labels, method=method)
    assert found.map.device.type == "cpu"
    torch.testing.assert_close(found.map, expected.map, rtol=1e-2, atol=1e-3 * float(expected.map.abs().max()))
