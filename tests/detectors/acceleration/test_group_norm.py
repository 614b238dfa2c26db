"""Group normalisation for many gradients at once: the same numbers as torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detinv.detectors.acceleration import group_norm as module
from detinv.detectors.acceleration.group_norm import BatchedGroupNorms, group_norm

GENERATOR = torch.Generator().manual_seed(0)


def images(*shape: int) -> Tensor:
    """Return values far from zero, so that means matter, with channels last in memory."""
    made = 3 + 2 * torch.randn(shape, dtype=torch.float64, generator=GENERATOR)
    return made.to(memory_format=torch.channels_last)


def parameters(channels: int) -> tuple[Tensor, Tensor]:
    weight, bias = torch.randn(2, channels, dtype=torch.float64, generator=GENERATOR)
    return weight, bias


@pytest.fixture
def taken(monkeypatch) -> list[torch.Size]:
    """Sizes of the images whose gradient will be the closed form."""
    seen: list[torch.Size] = []
    apply = module._GroupNorm.apply
    monkeypatch.setattr(module._GroupNorm, "apply", lambda x, *rest: (seen.append(x.shape), apply(x, *rest))[1])
    return seen


@pytest.mark.parametrize("shape", [(1, 6, 3, 5), (2, 6, 2, 3)], ids=str)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_the_gradient_is_that_of_differences(taken, shape: tuple[int, ...], groups: int):
    weight, bias = parameters(6)
    assert torch.autograd.gradcheck(lambda x: group_norm(x, groups, weight, bias), images(*shape).requires_grad_())
    assert set(taken) == {shape}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_many_gradients_at_once_are_those_of_torch_one_by_one(taken, batch: int, channels_last: bool):
    x = images(batch, 32, 9, 7).requires_grad_()
    starts = torch.randn(4, batch, 32, 9, 7, dtype=torch.float64, generator=GENERATOR)
    if channels_last:
        starts = starts.movedim(2, -1).contiguous().movedim(-1, 2)
    layer = nn.GroupNorm(8, 32, eps=1e-3).double().requires_grad_(False)
    layer.weight[:], layer.bias[:] = parameters(32)
    expected = layer(x)
    with BatchedGroupNorms():
        found = layer(x)
    assert taken == [x.shape] and torch.equal(found, expected)
    loop = torch.stack([torch.autograd.grad(expected, x, start, retain_graph=True)[0] for start in starts])
    together = torch.vmap(lambda start: torch.autograd.grad(found, x, start, retain_graph=True)[0])(starts)
    torch.testing.assert_close(together, loop, rtol=1e-10, atol=1e-12)


def test_only_frozen_layers_with_weights_and_channels_last_are_taken(taken):
    x, (weight, bias) = images(2, 6, 3, 5), parameters(6)
    with BatchedGroupNorms():
        F.group_norm(x, 2, weight, bias)
        assert len(taken) == 1
        F.group_norm(x, 3)
        F.group_norm(x.contiguous(), 3, weight, bias)
        F.group_norm(x[..., 0, 0], 3, weight, bias)
        F.group_norm(x.bfloat16(), 3, weight.bfloat16(), bias.bfloat16())
        trained = weight.clone().requires_grad_()
        F.group_norm(x, 3, trained, bias).sum().backward()
    F.group_norm(x, 3, weight, bias)
    assert len(taken) == 1 and trained.grad is not None
