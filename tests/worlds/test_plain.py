"""The plain world: every class has an outline and a texture of its own, and its scenes never change."""

import hashlib

import pytest
import torch

from detinv.worlds.plain import APPEARANCES, PlainWorld
from detinv.worlds.textures import Stripes
from tests.worlds.measuring import SHAPES, outline_of


# The bundled detectors learnt from these scenes, and results name layouts of them: written down by
# sha256(image, boxes, labels, masks) of PlainWorld(seed=0) when the shapes_* weights were trained.
@pytest.mark.golden
@pytest.mark.parametrize(
    ("index", "stored"),
    [
        (0, "bb18b96e1181acd9404264a5dcc952b058267968f1cec1a0af979b530b584889"),
        (3, "fe57431e7e4bd7de22cf5bc6f08218e121e506eeff3e92f7deedbddae143f855"),
    ],
)
def test_scenes_stay_what_they_were(index, stored):
    scene = PlainWorld(seed=0).scene(index)
    found = hashlib.sha256()
    for part in (scene.image, scene.layout.boxes, scene.layout.labels, scene.layout.masks):
        found.update(part.numpy().tobytes())
    assert found.hexdigest() == stored


def test_objects_stand_out_from_the_background():
    world = PlainWorld(seed=4, max_objects=1)
    for index in range(10):
        scene = world.scene(index)
        inside, pixels = scene.layout.masks[0], scene.image.float()
        # Two colours that differ by at least 0.3 in a channel from what lies behind, or from each other.
        assert (pixels[:, inside].mean(1) - pixels[:, ~inside].mean(1)).abs().max() > 8 or pixels[:, inside].std() > 20


def test_six_classes_with_an_outline_and_a_texture_of_their_own():
    assert len(APPEARANCES) >= 6 and tuple(APPEARANCES) == PlainWorld.class_names
    appearances = APPEARANCES.values()
    assert (
        len({appearance.outline for appearance in appearances})
        == len(appearances)
        == len({appearance.texture for appearance in appearances})
    )
    assert (
        len({appearance.texture.degrees for appearance in appearances if isinstance(appearance.texture, Stripes)}) == 4
    )


def test_outlines_are_those_the_classes_are_named_after():
    world = PlainWorld(seed=6, max_objects=1, min_side=30)
    for index in range(60):
        layout = world.scene(index).layout
        assert outline_of(layout.masks[0], tuple(SHAPES)) == world.class_names[int(layout.labels[0])]


def test_planted_orientations_are_those_of_the_striped_classes():
    assert PlainWorld.planted_orientations == {"circle": 90.0, "square": 0.0, "triangle": 45.0, "diamond": 135.0}
    assert torch.tensor(list(PlainWorld.planted_orientations.values())).unique().numel() == 4
