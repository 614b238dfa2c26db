"""The plain world: deterministic scenes, exact boxes, every class, sane numbers."""

import torch

from detinv.worlds.plain import KINDS, PlainWorld
from detinv.worlds.textures import Stripes


def test_scene_depends_on_seed_and_number_only():
    world = PlainWorld(seed=5)
    world.scene(0)
    a, b = world.scene(3), PlainWorld(seed=5).scene(3)
    assert torch.equal(a.image, b.image) and torch.equal(a.layout.boxes, b.layout.boxes)
    assert torch.equal(a.layout.masks, b.layout.masks) and a.layout.id == b.layout.id
    assert not torch.equal(a.image, world.scene(4).image)
    assert not torch.equal(a.image, PlainWorld(seed=6).scene(3).image)


def test_boxes_are_the_bounds_of_visible_masks():
    for index in range(20):
        layout = PlainWorld(seed=1).scene(index).layout
        assert (layout.masks.sum(0) <= 1).all()
        for box, mask in zip(layout.boxes.tolist(), layout.masks, strict=True):
            assert mask.sum() >= 30
            rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
            assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_every_class_appears_and_counts_stay_in_bounds():
    layouts = [PlainWorld(seed=2).scene(index).layout for index in range(60)]
    assert set(torch.cat([layout.labels for layout in layouts]).tolist()) == set(range(len(KINDS)))
    assert all(len(layout) <= 5 for layout in layouts)
    sides = torch.cat([(layout.boxes[:, 2:] - layout.boxes[:, :2]).amax(1) for layout in layouts])
    # A turn by twelve degrees can enlarge the box.
    assert sides.max() <= 60 * 1.2 + 2


def test_image_is_what_the_size_says():
    scene = PlainWorld(image_size=(96, 160), seed=3).scene(0)
    assert scene.image.shape == (3, 96, 160) and scene.image.dtype == torch.uint8
    assert scene.layout.image_size == (96, 160)


def test_objects_stand_out_from_the_background():
    world = PlainWorld(seed=4, max_objects=1)
    for index in range(10):
        scene = world.scene(index)
        if len(scene.layout) == 0:
            continue
        inside, pixels = scene.layout.masks[0], scene.image.float()
        # Two colours that differ by at least 0.3 in a channel from what lies behind, or from each other.
        assert (pixels[:, inside].mean(1) - pixels[:, ~inside].mean(1)).abs().max() > 8 or pixels[:, inside].std() > 20


def test_six_classes_with_an_outline_and_a_texture_of_their_own():
    assert len(KINDS) >= 6 and len({kind.name for kind in KINDS}) == len(KINDS)
    assert len({kind.outline for kind in KINDS}) == len(KINDS) == len({kind.texture for kind in KINDS})
    assert len({kind.texture.degrees for kind in KINDS if isinstance(kind.texture, Stripes)}) == 4
