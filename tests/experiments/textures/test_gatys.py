"""Style transfer: its two losses against loops, and a search that lowers them."""

import pytest
import torch

from detinv.errors import ConfigError
from detinv.experiments.textures.gatys import CONTENT, STYLE, StyleTransfer, content_loss, gram, layer_style_loss
from tests.fakes import block_image


def features(seed, channels=3, height=4, width=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)


def published_gram(one):
    """G without normalisation: sums over places."""
    _, channels, height, width = one.shape
    found = torch.zeros(channels, channels, dtype=torch.float64)
    for i in range(channels):
        for j in range(channels):
            for y in range(height):
                for x in range(width):
                    found[i, j] += one[0, i, y, x] * one[0, j, y, x]
    return found


def test_style_loss_is_the_published_one():
    own, style = features(0), features(1)
    squared = (published_gram(own) - published_gram(style)).square().sum()
    wanted = squared / (4 * 3**2 * 20**2)
    torch.testing.assert_close(layer_style_loss(own, gram(style)), wanted)


def test_style_does_not_depend_on_the_size_of_a_repeated_image():
    torch.testing.assert_close(gram(features(0).repeat(1, 1, 2, 3)), gram(features(0)))


def test_content_loss_is_half_the_squared_distance():
    own, wanted = features(0), features(1)
    sums = sum(float(a - b) ** 2 for a, b in zip(own.flatten(), wanted.flatten(), strict=True))
    assert float(content_loss(own, wanted)) == pytest.approx(sums / 2)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_search_lowers_the_loss_and_stays_in_range(optimizer):
    method = StyleTransfer(weights="random", steps=4, optimizer=optimizer, content_share=1e-6)
    content = block_image((24, 32), 1)[None].float() / 255
    style = block_image((32, 24), 2)[None].float() / 255
    grams = {name: gram(found) for name, found in method.network(style, STYLE).items()}
    own = method.network(content, (CONTENT,))[CONTENT]

    def loss(pixels):
        found = method.network(pixels, (*STYLE, CONTENT))
        style_loss = sum(layer_style_loss(found[name], wanted) for name, wanted in grams.items()) / 5
        return float(1e-6 * content_loss(found[CONTENT], own) + style_loss)

    made = method.transfer(content, style)
    assert loss(made) < 0.8 * loss(content)
    assert made.min() >= 0 and made.max() <= 1


def test_content_alone_changes_nothing():
    image = block_image((24, 32), 1)
    method = StyleTransfer(weights="random", steps=2, optimizer="adam", content_share=1.0)
    made = method(image, torch.ones(2, 24, 32, dtype=torch.bool), image, torch.Generator())
    assert made[0].equal(image) and made[1].equal(image)


def test_images_that_the_network_pools_to_nothing():
    method = StyleTransfer(weights="random", steps=1)
    with pytest.raises(ConfigError, match="at least 16 pixels"):
        method(block_image((15, 40)), torch.ones(1, 15, 40, dtype=torch.bool), block_image((32, 32)), torch.Generator())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"optimizer": "sgd"}, "optimizer=sgd: choose lbfgs or adam"),
        ({"content_share": -1.0}, "content_share=-1.0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"device": "nowhere"}, "device=nowhere"),
    ],
)
def test_options_that_mean_nothing(options, message):
    with pytest.raises(ConfigError, match=message):
        StyleTransfer(weights="random", **options)
