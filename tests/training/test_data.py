"""Samples: never twice the same scene, photographs each once an epoch, boxes that move with the pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from detinv.layouts.layout import Layout
from detinv.training.data import PhotographSource, SceneSource, TrainingData
from detinv.worlds.plain import PlainWorld

SIZE = (48, 64)


def photograph(path, box, shade):
    """Dark picture with one bright box."""
    pixels = np.full((*SIZE, 3), 30, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = shade
    Image.fromarray(pixels).save(path)


def source(tmp_path, count=4, seed=1):
    boxes = [(10 + 4 * k, 12, 26 + 4 * k, 30) for k in range(count)]
    layouts, paths = [], []
    for k, box in enumerate(boxes):
        path = tmp_path / f"{k}.png"
        photograph(path, box, 200 + 10 * k)
        paths.append(path)
        layouts.append(Layout(torch.tensor([box], dtype=torch.float32), torch.tensor([0]), SIZE, str(k)))
    return PhotographSource(layouts, paths, ("cell",), SIZE, seed=seed)


def test_scenes_are_the_world_s():
    world = PlainWorld(image_size=(64, 64), seed=5)
    image, layout = SceneSource(world).sample(3)
    assert torch.equal(image, world.scene(3).image)
    assert layout.id == world.scene(3).layout.id


def test_photographs_come_once_an_epoch(tmp_path):
    photographs = source(tmp_path)
    epochs = [[photographs.sample(4 * epoch + k)[1].id for k in range(4)] for epoch in range(6)]
    assert all(sorted(epoch) == ["0", "1", "2", "3"] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_sample_depends_on_seed_and_number_only(tmp_path):
    one, same, other = (source(tmp_path, seed=seed) for seed in (1, 1, 2))
    one.sample(0)
    assert torch.equal(one.sample(5)[0], same.sample(5)[0])
    assert torch.equal(one.sample(5)[1].boxes, same.sample(5)[1].boxes)
    assert not all(torch.equal(one.sample(k)[0], other.sample(k)[0]) for k in range(4))


def test_boxes_stay_around_the_bright_pixels(tmp_path):
    """Whatever flip, zoom, shift and colour: the box in the layout is the box one sees."""
    photographs = source(tmp_path)
    flips = set()
    for number in range(60):
        image, layout = photographs.sample(number)
        bright = image.float().mean(0) > 115
        ys, xs = torch.nonzero(bright, as_tuple=True)
        seen = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
        assert len(layout) == 1
        torch.testing.assert_close(layout.boxes[0], seen, atol=1.6, rtol=0)
        flips.add((bool(seen[0] > 24), bool(seen[1] > 24)))
    assert len(flips) > 1


def test_larger_photographs_are_resized_with_their_boxes(tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(path)
    layout = Layout(torch.tensor([[20.0, 20.0, 60.0, 60.0]]), torch.tensor([0]), (96, 128), "large")
    image, resized = PhotographSource([layout], [path], ("cell",), SIZE).sample(0)
    assert image.shape == (3, *SIZE)
    assert resized.image_size == SIZE


@pytest.mark.parametrize("first_label", [0, 1])
def test_batches_are_what_torchvision_takes(first_label):
    world = PlainWorld(image_size=(64, 64), seed=5, max_side=30)
    data = TrainingData(SceneSource(world), first_label, batch_size=2, steps_per_epoch=3, masks=True)
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    images, targets = batches[1]
    for offset, (image, target) in enumerate(zip(images, targets, strict=True)):
        scene = world.scene(2 + offset)
        torch.testing.assert_close(image, scene.image.float() / 255)
        assert torch.equal(target["boxes"], scene.layout.boxes)
        assert torch.equal(target["labels"], scene.layout.labels + first_label)
        assert target["masks"].dtype == torch.uint8
        assert torch.equal(target["masks"].bool(), scene.layout.masks)
