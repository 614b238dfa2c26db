"""What all texture methods promise: the background's bytes, no look beyond the mask, and one result a seed."""

import pytest
import torch

from detinv.experiments.textures.base import composite
from detinv.experiments.textures.gatys import StyleTransfer
from detinv.experiments.textures.interior import InteriorBlur, PatchShuffle
from detinv.experiments.textures.phase import PhaseRandomised
from tests.fakes import block_image

# All that keep to the object; a style transfer works on the whole image.
OF_THE_OBJECT = {"phase": PhaseRandomised(), "shuffle": PatchShuffle(4), "blur": InteriorBlur(0.1)}


@pytest.fixture(scope="module")
def methods():
    return OF_THE_OBJECT | {"gatys": StyleTransfer(weights="random", steps=2, optimizer="adam", content_share=1e-6)}


@pytest.fixture(scope="module")
def masks():
    found = torch.zeros(2, 40, 56, dtype=torch.bool)
    found[0, 5:25, 8:30] = True
    found[0, 5:12, 8:15] = False
    found[1, 30:40, 40:56] = True
    return found


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", [*OF_THE_OBJECT, "gatys"])
def test_only_the_object_changes(methods, masks, name):
    image, style = block_image((40, 56), 1), block_image((32, 48), 2)
    before = image.clone()
    textured = methods[name](image, masks, style, seeded())
    assert textured.shape == (2, 3, 40, 56) and textured.dtype == torch.uint8
    assert image.equal(before)
    for one, mask in zip(textured, masks, strict=True):
        made = composite(image, one, mask)
        assert made[:, ~mask].equal(image[:, ~mask])
        changed = (made != image).any(0)
        assert changed[mask].float().mean() > 0.5


@pytest.mark.parametrize("name", OF_THE_OBJECT)
def test_what_lies_outside_the_mask_is_not_looked_at(masks, name):
    image, style = block_image((40, 56), 1), block_image((32, 48), 2)
    other = torch.where(masks[0], image, 255 - image)
    first = OF_THE_OBJECT[name](image, masks[:1], style, seeded())
    second = OF_THE_OBJECT[name](other, masks[:1], style, seeded())
    assert first[0][:, masks[0]].equal(second[0][:, masks[0]])


@pytest.mark.parametrize("name", ["phase", "shuffle"])
def test_the_generator_alone_is_random(masks, name):
    image, style = block_image((40, 56), 1), block_image((32, 48), 2)
    method = OF_THE_OBJECT[name]
    first, again, other = (method(image, masks, style, seeded(seed)) for seed in (3, 3, 4))
    assert first.equal(again)
    assert not first.equal(other)


def test_every_method_says_what_it_is(methods):
    described = {name: method.describe() for name, method in methods.items()}
    assert len(set(described.values())) == len(described)
    assert "VGG-19 random (" in described["gatys"]
