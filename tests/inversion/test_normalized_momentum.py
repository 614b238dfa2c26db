"""Momentum over gradients of one size for each image."""

import pytest
import torch
from torch import nn

from detinv.errors import ConfigError
from detinv.inversion.optim.normalized_momentum import NormalizedMomentum


def moved(start: torch.Tensor, gradients: torch.Tensor, **options: float) -> torch.Tensor:
    """Take a step along each of the gradients."""
    parameter = nn.Parameter(start.clone())
    optimizer = NormalizedMomentum([parameter], **options)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_steps_follow_the_plain_formula():
    torch.manual_seed(0)
    start, gradients = torch.randn(2, 3, 4, 5), torch.randn(3, 2, 3, 4, 5)
    lr, momentum, decay = 0.1, 0.5, 2.0
    images = []
    for image in range(2):
        position, velocity = start[image].double(), torch.zeros(3, 4, 5).double()
        for gradient in gradients[:, image].double():
            velocity = momentum * velocity + gradient / (gradient**2).mean() ** 0.5
            position = position - lr * decay * position - lr * velocity
        images.append(position.float())
    found = moved(start, gradients, lr=lr, momentum=momentum, weight_decay=decay)
    torch.testing.assert_close(found, torch.stack(images))


def test_what_steps_do_not_renew_fades_alike_at_any_size():
    start, gradients = torch.tensor([[3.0, 1.0, -0.5], [3.0, 0.01, 0.0]]), torch.zeros(10, 2, 3)
    gradients[:, :, 0] = 1e-6
    found = moved(start, gradients, lr=0.01, weight_decay=5.0)
    torch.testing.assert_close(found[:, 1:], start[:, 1:] * 0.95**10)
    assert torch.equal(moved(start, gradients, lr=0.01)[:, 1:], start[:, 1:])


def test_an_image_without_a_gradient_stays_as_it_is():
    start, gradients = torch.ones(2, 3), torch.zeros(4, 2, 3)
    gradients[:, 1] = torch.tensor([1.0, -1.0, 2.0])
    found = moved(start, gradients, weight_decay=5.0)
    assert torch.equal(found[0], start[0])
    assert not torch.equal(found[1], start[1])


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": -1.0},
        {"lr": 0.0, "weight_decay": -1.0},
        {"weight_decay": float("nan")},
        {"lr": 0.5, "weight_decay": 3.0},
    ],
)
def test_a_decay_that_turns_signs_round_is_refused(options: dict):
    with pytest.raises(ConfigError, match="weight_decay"):
        NormalizedMomentum([nn.Parameter(torch.zeros(1, 1))], **options)
