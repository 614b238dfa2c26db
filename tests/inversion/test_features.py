"""Reconstructions from features: what moves, what stays, and what a layer of one box leaves free."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from detinv.detectors.features import find_layer
from detinv.detectors.load import load_detector
from detinv.errors import ConfigError
from detinv.inversion.features import feature_errors, invert_features, relative_error
from detinv.inversion.preset import load_preset
from detinv.inversion.regularisers.total_variation import TotalVariation
from detinv.layouts.layout import Layout
from detinv.metrics.edges import box_region
from detinv.metrics.reconstruction import image_similarity
from detinv.worlds.plain import PlainWorld
from detinv.zoo.weights import weight_hash
from tests.fakes import block_image, tiny_detector

SIZE = (64, 64)
BOX = torch.tensor([[8.0, 8.0, 40.0, 36.0]])
LAYOUTS = [Layout(BOX, torch.tensor([1]), SIZE, name) for name in ("a", "b")]
IMAGES = [block_image(SIZE, seed) for seed in range(2)]
CPU = {"accelerator": "cpu"}


@cache
def detector(family):
    return tiny_detector(family)


def invert(family, layer, *, images=IMAGES, layouts=LAYOUTS, steps=30, preset=None, **options):
    member = detector(family)
    found = find_layer(member, layer)
    return invert_features(member, found, images, layouts, preset or load_preset(), steps=steps, trainer=CPU, **options)


def errors(family, layer, images):
    return feature_errors(detector(family), find_layer(detector(family), layer), images, IMAGES, LAYOUTS)


def test_relative_error_against_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 5, generator=generator)]
    reference = [torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 5, generator=generator)]
    for number, value in enumerate(relative_error(features, reference).tolist()):
        distance = size = 0.0
        for one, other in zip(features, reference, strict=True):
            for a, b in zip(one[number].flatten().tolist(), other[number].flatten().tolist(), strict=True):
                distance += (a - b) ** 2
                size += b**2
        assert value == pytest.approx(distance / size, rel=1e-5)
    assert relative_error(reference, reference).tolist() == [0, 0]
    assert relative_error([torch.ones(1, 4)], [torch.zeros(1, 4)]).tolist() == [4]


@pytest.mark.parametrize("layer", ["p3", pytest.param("p4", marks=pytest.mark.slow)])
def test_the_error_falls_by_half_and_weights_stay(layer):
    before = weight_hash(detector("retinanet"))
    start = errors("retinanet", layer, invert("retinanet", layer, steps=0))
    end = errors("retinanet", layer, invert("retinanet", layer))
    assert all(after < 0.5 * first for first, after in zip(start, end, strict=True))
    assert weight_hash(detector("retinanet")) == before


def test_the_network_may_run_at_half_precision():
    layer = find_layer(detector("retinanet"), "p3")
    trainer = {**CPU, "precision": "bf16-mixed"}
    images = invert_features(detector("retinanet"), layer, IMAGES, LAYOUTS, load_preset(), steps=10, trainer=trainer)
    start = errors("retinanet", "p3", invert("retinanet", "p3", steps=0))
    assert all(after < 0.8 * first for first, after in zip(start, errors("retinanet", "p3", images), strict=True))


def test_images_have_no_part_in_each_other():
    together = invert("retinanet", "p3", steps=3)
    alone = invert("retinanet", "p3", images=IMAGES[1:], layouts=LAYOUTS[1:], steps=3)
    # Batched convolutions add in another order.
    assert int((together[1].int() - alone[0].int()).abs().max()) <= 1


def test_a_box_is_reconstructed_inside_and_free_outside():
    rcnn = load_detector("shapes_fasterrcnn")
    scene = PlainWorld(seed=5).scene(0)
    layout = scene.layout.select(torch.arange(len(scene.layout)) == 0)
    layer = find_layer(rcnn, "roi")
    start, end = (
        invert_features(rcnn, layer, [scene.image], [layout], load_preset(), steps=steps, trainer=CPU)
        for steps in (0, 30)
    )
    before, after = (feature_errors(rcnn, layer, one, [scene.image], [layout]) for one in (start, end))
    assert after[0] < 0.1 * before[0]
    region = box_region(layout.boxes[0], layout.image_size)
    assert image_similarity(end[0], scene.image, region).correlation > 0.25
    # Coarse steps reach beyond the box, but do not draw what is there.
    assert image_similarity(end[0], scene.image, ~region).correlation < 0.1
    assert (
        image_similarity(end[0], scene.image, region).rmse < 0.95 * image_similarity(start[0], scene.image, region).rmse
    )


def test_regularisers_of_the_preset_count():
    preset = load_preset()
    smooth = replace(preset, regularisers={"total_variation": TotalVariation(10.0)})
    rough, even = (invert("retinanet", "c3", steps=10, preset=one)[0].float() for one in (preset, smooth))
    variation = [image.diff(dim=1).square().mean() + image.diff(dim=2).square().mean() for image in (rough, even)]
    assert variation[1] < 0.5 * variation[0]


def test_the_contrast_of_other_photographs_is_no_limit(monkeypatch):
    """It is that of the image that features are taken from; a whole layout is held to its detector's photographs."""
    photographs = load_preset("photographs")
    free = invert("retinanet", "p3", preset=photographs, steps=6)
    monkeypatch.setattr(detector("retinanet"), "contrast", 0.001)
    limited = invert("retinanet", "p3", preset=photographs, steps=6)
    assert all(torch.equal(one, other) for one, other in zip(free, limited, strict=True))


def test_an_image_has_the_size_of_its_layout():
    small = Layout(BOX, torch.tensor([1]), (40, 64), "small")
    layer = find_layer(detector("retinanet"), "c3")
    with pytest.raises(ValueError, match="an image of size"):
        invert_features(detector("retinanet"), layer, IMAGES[:2], [LAYOUTS[0], small], load_preset(), steps=1)


def test_a_layer_that_cannot_be_read_is_named():
    with pytest.raises(ConfigError, match="was not called"):
        invert("retinanet", "model.transform", steps=1)
