"""The world `part`, by its scenes: stripes at the upper right, one colour elsewhere."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from detinv.metrics.cues import dominant_orientation, orientation_agreement
from detinv.worlds.part import PartWorld
from detinv.worlds.sources import by_label
from tests.worlds.measuring import apart, independent, outline_of, within


@pytest.fixture(scope="module")
def single():
    """(class, scene) of objects that stand alone."""
    world = PartWorld(seed=41, max_objects=1)
    scenes = [world.scene(index) for index in range(120)]
    return [(world.class_names[int(scene.layout.labels[0])], scene) for scene in scenes]


def interior(scene):
    """Colours inside the object, and their places in the frame of its box, [-1, 1] x [-1, 1]."""
    inside = binary_erosion(scene.layout.masks[0].numpy(), iterations=2)
    x0, y0, x1, y1 = scene.layout.boxes[0].tolist()
    rows, columns = np.nonzero(inside)
    places = np.stack([(2 * columns + 1 - x0 - x1) / (x1 - x0), (2 * rows + 1 - y0 - y1) / (y1 - y0)], 1)
    return scene.image.numpy()[:, rows, columns].T.astype(int), places


def test_only_the_patch_is_striped(single):
    for _, scene in single:
        colours, places = interior(scene)
        # The patch reaches 0.32 from (0.35, -0.35); the object may be turned by 12 degrees, which moves it by 0.11.
        aside = np.abs(places - [0.35, -0.35]).max(1)
        body = colours[aside > 0.52]
        assert len(body) > 0.4 * len(colours)
        assert (body == body[0]).all()
        patch = colours[aside < 0.15]
        assert np.ptp(patch.mean(1)) > 0.2 * 255


def test_the_patch_is_a_tenth_of_the_box_at_the_upper_right(single):
    shares, centres = [], []
    for _, scene in single:
        colours, places = interior(scene)
        body = colours[np.argmax(places @ [-1, 1])]
        striped = (np.abs(colours - body) > 2).any(1)
        low, high = places[striped].min(0), places[striped].max(0)
        shares.append(np.prod(high - low) / 4)
        centres.append((low + high) / 2)
    assert 0.08 < np.median(shares) < 0.16
    assert np.abs(np.median(centres, 0) - [0.35, -0.35]).max() < 0.06


def test_direction_of_the_patch_is_the_class(single):
    for name, scene in single:
        x0, y0, x1, y1 = scene.layout.boxes[0].tolist()
        x, y = (x0 + x1) / 2 + 0.35 * (x1 - x0) / 2, (y0 + y1) / 2 - 0.35 * (y1 - y0) / 2
        half = 0.22 * (x1 - x0) / 2, 0.22 * (y1 - y0) / 2
        if min(half) >= 5:
            box = scene.layout.boxes.new_tensor([x - half[0], y - half[1], x + half[0], y + half[1]])
            assert apart(dominant_orientation(scene.image, box), PartWorld.planted_orientations[name]) <= 20
    scenes = [scene for _, scene in single]
    planted = by_label(PartWorld.planted_orientations, PartWorld.class_names)
    found = orientation_agreement([scene.layout for scene in scenes], [scene.image for scene in scenes], planted)
    assert found["objects"] == len(scenes) and found["share"] >= 0.95


def test_bodies_say_nothing_about_the_class(single):
    pairs = [(name, outline_of(scene.layout.masks[0], ("circle", "square"))) for name, scene in single]
    assert independent(pairs)
    assert within(sum(outline == "circle" for _, outline in pairs), len(pairs), 0.5)


def test_masks_cover_patch_and_body(single):
    for _, scene in single:
        mask = scene.layout.masks[0].float()
        x0, y0, x1, y1 = scene.layout.boxes[0].int().tolist()
        # A disc fills 0.785 of its box, a square all of it, less when turned.
        assert mask[y0:y1, x0:x1].mean() > 0.7
        assert mask.sum() == mask[y0:y1, x0:x1].sum()
