"""Orientation of textures: gratings drawn here, scenes of the plain world, and noise."""

import math

import pytest
import torch

from detinv.layouts.layout import Layout
from detinv.metrics.cues import dominant_orientation, orientation_agreement
from detinv.worlds.plain import PlainWorld
from detinv.worlds.sources import WorldLayouts, by_label


def grating(degrees, size=(64, 64), period=6.0):
    """Red stripes whose brightness changes along `degrees`, y downwards."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    angle = math.radians(degrees)
    wave = torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
    image = torch.full((3, *size), 90, dtype=torch.uint8)
    image[0] = (127 + 100 * wave).round().to(torch.uint8)
    return image


def apart(a, b):
    return abs((a - b + 90) % 180 - 90)


@pytest.mark.parametrize("degrees", range(0, 180, 15))
@pytest.mark.parametrize("box", [(0, 0, 64, 64), (10, 5, 34, 29), (3.4, 20.2, 60.1, 41.7), (20, 3, 42, 60)])
def test_direction_of_a_grating(degrees, box):
    assert apart(dominant_orientation(grating(degrees), torch.tensor(box).float()), degrees) < 4


def test_direction_lies_in_the_half_turn():
    for degrees in range(0, 180, 10):
        assert 0 <= dominant_orientation(grating(degrees), torch.tensor([0.0, 0, 64, 64])) < 180


def test_shading_and_single_pixels_are_ignored():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    image = grating(30).float() / 4 + (x * 2)[None] + 30 * ((x + y) % 2)[None]
    found = dominant_orientation(image.clamp(0, 255).to(torch.uint8), torch.tensor([8.0, 8, 40, 40]))
    assert apart(found, 30) < 5


def test_nothing_to_see_is_nan():
    assert math.isnan(
        dominant_orientation(torch.full((3, 40, 40), 77, dtype=torch.uint8), torch.tensor([1.0, 1, 30, 30]))
    )
    assert math.isnan(dominant_orientation(grating(0), torch.tensor([1.0, 1, 4, 4])))
    assert math.isnan(dominant_orientation(grating(0), torch.tensor([1.0, 1, 2, 40])))


@pytest.fixture(scope="module")
def scenes():
    return WorldLayouts("plain", count=120, seed=3).scenes()


def test_stripes_of_the_plain_world_are_seen(scenes):
    planted = by_label(PlainWorld.planted_orientations, PlainWorld.class_names)
    found = orientation_agreement([scene.layout for scene in scenes], [scene.image for scene in scenes], planted)
    assert found["share"] >= 0.95 and min(found["per_class"].values()) >= 0.9
    assert found["per_class"].keys() == planted.keys()
    labels = torch.cat([scene.layout.labels for scene in scenes]).tolist()
    assert found["objects"] == sum(label in planted for label in labels)


def test_noise_agrees_by_chance(scenes):
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randint(0, 256, scene.image.shape, generator=generator, dtype=torch.uint8) for scene in scenes]
    found = orientation_agreement(
        [scene.layout for scene in scenes], noise, by_label(PlainWorld.planted_orientations, PlainWorld.class_names)
    )
    # 1/6, and four standard deviations of about 190 objects.
    assert abs(found["share"] - 1 / 6) < 0.11


def test_tolerance_is_circular():
    layout = Layout(torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([0]), (64, 64), "a")
    for planted, share in [(170.0, 1), (10.0, 1), (20.0, 0), (160.0, 0), (90.0, 0)]:
        assert orientation_agreement([layout], [grating(0)], {0: planted})["share"] == share


def test_classes_without_stripes_are_left_out():
    layout = Layout(torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([4]), (64, 64), "a")
    found = orientation_agreement([layout], [grating(0)], {0: 0.0})
    assert found["objects"] == 0 and math.isnan(found["share"]) and found["per_class"] == {}


def test_sizes_must_agree():
    layout = Layout(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (32, 64), "a")
    with pytest.raises(ValueError, match="its image"):
        orientation_agreement([layout], [grating(0)], {})
