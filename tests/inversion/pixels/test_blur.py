"""Blur against scipy; the published schedule of it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detinv.inversion.pixels.blur import gaussian_blur, gaussian_kernel
from detinv.inversion.pixels.updates import PeriodicBlur


@pytest.mark.parametrize("size", [(17, 23), (5, 9), (32, 31)])
@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.7, 4.925])
def test_blur_equals_scipy(size: tuple[int, int], sigma: float):
    """Also where the kernel is longer than the image."""
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter1d(gaussian_filter1d(image.numpy(), sigma, axis=2), sigma, axis=3)
    ours = gaussian_blur(image, sigma, torch.tensor([size]))
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-6)


def test_blur_keeps_to_each_image_of_a_padded_batch():
    generator = torch.Generator().manual_seed(0)
    canvas = torch.randn(2, 3, 24, 32, generator=generator)
    sizes = torch.tensor([[24, 32], [13, 20]])
    blurred = gaussian_blur(canvas, 2.0, sizes)
    alone = gaussian_blur(canvas[1:, :, :13, :20].contiguous(), 2.0, sizes[1:])
    torch.testing.assert_close(blurred[1:, :, :13, :20], alone, atol=1e-6, rtol=0)


def test_published_blur_schedule():
    """4.925 at first, 0.5 from the 153rd blur on; 200 blurs in 1,000 steps, the last after step 995."""
    blur = PeriodicBlur()

    sigmas = {step: blur.sigma(step) for step in range(1000) if step % blur.every == 0}
    assert len(sigmas) == 200
    assert sigmas[0] == pytest.approx(4.925)
    assert max(sigmas) == 995
    assert min(step for step, sigma in sigmas.items() if sigma == 0.5) == 760


class _Host(TorchDispatchMode):
    """Refuses float64 anywhere but on the CPU, as Apple's GPUs do; tensors without data stand for theirs."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                assert tensor.device.type == "cpu", f"{function} makes float64 on {tensor.device}"
        return found


def test_no_float64_reaches_the_device():
    images, sizes = torch.zeros(2, 3, 24, 32, device="meta"), torch.tensor([[24, 32], [13, 20]], device="meta")
    with _Host():
        assert gaussian_blur(images, 1.7, sizes).device.type == "meta"


def test_kernels_are_kept():
    assert gaussian_kernel(1.25) is gaussian_kernel(1.25)
    assert gaussian_kernel(1.25).dtype == torch.float32
