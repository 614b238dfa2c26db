"""Features by name, on tiny detectors with random weights."""

from functools import cache

import pytest
import torch

from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.features import find_layer, layers_of_rows, read_features
from detinv.detectors.hooks import count_hooks
from detinv.detectors.regions import Regions
from detinv.detectors.rows import TargetRows
from detinv.errors import ConfigError
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.fakes import block_image, tiny_detector

SIZE = (64, 64)
LAYOUTS = [
    Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0], [32.0, 30.0, 60.0, 62.0]]), torch.tensor([0, 2]), SIZE, "a"),
    Layout(torch.tensor([[20.0, 12.0, 44.0, 52.0]]), torch.tensor([1]), SIZE, "b"),
]


@cache
def detector(family):
    return tiny_detector(family)


@pytest.fixture
def batch():
    return LayoutBatch.collate(LAYOUTS)


@pytest.fixture
def pixels():
    return torch.stack([block_image(SIZE, seed) for seed in range(2)]).float() / 255


def test_levels_are_what_the_backbone_gives_and_takes(pixels, batch):
    model = detector("fasterrcnn").model
    inputs = (pixels - detector("fasterrcnn").pixel_mean[:, None, None]) / detector("fasterrcnn").pixel_std[
        :, None, None
    ]
    stem = model.backbone.stem(inputs)
    c2 = model.backbone.stages["4"](stem)
    c3 = model.backbone.stages["8"](c2)
    levels = model.backbone(inputs)
    wanted = {"c1": stem, "c2": c2, "c3": c3, "p2": levels["0"], "p5": levels["3"], "model.backbone:1": levels["1"]}
    for name, features in wanted.items():
        (found,) = read_features(detector("fasterrcnn"), find_layer(detector("fasterrcnn"), name), pixels, batch)
        torch.testing.assert_close(found, features)
    everything = read_features(detector("fasterrcnn"), FeatureLayer("all", "model.backbone"), pixels, batch)
    assert [one.shape for one in everything] == [one.shape for one in levels.values()]


def test_features_of_boxes_are_those_of_the_boxes_given(pixels, batch):
    rcnn = detector("fasterrcnn")
    (found,) = read_features(rcnn, find_layer(rcnn, "roi"), pixels, batch)
    levels = rcnn.model.backbone((pixels - rcnn.pixel_mean[:, None, None]) / rcnn.pixel_std[:, None, None])
    pooled = rcnn.model.roi_heads.box_roi_pool(levels, list(batch.boxes.unbind(0)), [SIZE] * 2)
    torch.testing.assert_close(found[0], pooled[:2])
    torch.testing.assert_close(found[1, 0], pooled[2])
    # The second image has no second object.
    assert not found[1, 1].any()


def test_a_module_that_is_called_for_every_level_gives_all_of_them(pixels, batch):
    layer = find_layer(detector("retinanet"), "model.head.classification_head.cls_logits")
    found = read_features(detector("retinanet"), layer, pixels, batch)
    assert [one.shape[-1] for one in found] == [8, 4, 2]


def test_what_a_later_layer_does_in_place_is_not_read(pixels, batch):
    retinanet = tiny_detector("retinanet")
    layer = find_layer(retinanet, "model.backbone.stages.8.0.norm1")
    (before,) = read_features(retinanet, layer, pixels, batch)
    retinanet.model.backbone.stages["8"][0].relu.inplace = True
    (after,) = read_features(retinanet, layer, pixels, batch)
    torch.testing.assert_close(before, after)
    assert (after < 0).any()


@pytest.mark.parametrize("name", ["c2", "p3", "roi", "model.backbone.stem"])
def test_gradient_reaches_the_pixels_and_no_hook_is_left(name, pixels, batch):
    rcnn = detector("fasterrcnn")
    before = count_hooks(rcnn)
    pixels.requires_grad_()
    (found,) = read_features(rcnn, find_layer(rcnn, name), pixels, batch)
    found.square().sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad.flatten(1).abs().amax(1) > 0).all()
    assert all(parameter.grad is None for parameter in rcnn.parameters())
    assert count_hooks(rcnn) == before


@pytest.mark.parametrize("name", ["c3", "p3"])
def test_no_hook_is_left_after_an_exception(name, pixels, batch):
    retinanet = detector("retinanet")
    before = count_hooks(retinanet)
    with pytest.raises(ValueError, match="must be multiples"):
        read_features(retinanet, find_layer(retinanet, name), pixels[..., :50], batch)
    assert count_hooks(retinanet) == before


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("p9", r"no layer 'p9' \(there are c1, c2, c3, c4, c5, p3, p4, p5, and every module's path\)"),
        ("model.backbone.fpm", "did you mean 'model.backbone.fpn'"),
        ("", "no layer ''"),
    ],
)
def test_a_layer_that_is_not_there(name, problem):
    with pytest.raises(ConfigError, match=problem):
        find_layer(detector("retinanet"), name)


@pytest.mark.parametrize(
    ("family", "name", "problem"),
    [
        ("retinanet", "model.backbone:9", "model.backbone returns 0, 1, 2, not '9'"),
        ("retinanet", "model.transform", "was not called in the forward pass"),
        ("fasterrcnn", "model.roi_heads.box_head", "rows for 2 images"),
    ],
)
def test_a_layer_that_cannot_be_read(family, name, problem, pixels, batch):
    with pytest.raises(ConfigError, match=problem):
        read_features(detector(family), find_layer(detector(family), name), pixels, batch)


def test_layers_of_rows_of_a_head_and_of_given_regions(pixels):
    with torch.no_grad():
        dense = detector("retinanet")(pixels)
    images, rows = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[0, 8 * 8 * 9], [(8 * 8 + 4 * 4) * 9, 5]])
    found = layers_of_rows(detector("retinanet"), dense, TargetRows(images, rows, torch.zeros_like(rows)))
    assert [layer.name for layer in found] == ["p3", "p4", "p5", "p3"]
    large = torch.rand(1, 3, 256, 256)
    boxes = torch.tensor([[[4.0, 6.0, 12.0, 14.0], [0.0, 0.0, 130.0, 130.0], [2.0, 0.0, 250.0, 252.0]]])
    with torch.no_grad():
        second = detector("fasterrcnn")(large, regions=Regions.of(boxes))
    given = TargetRows.of_batch(torch.tensor([[2, 0, 1]]), torch.zeros(1, 3, dtype=torch.int64), given=True)
    assert [layer.name for layer in layers_of_rows(detector("fasterrcnn"), second, given)] == ["p4", "p2", "p3"]
    own = TargetRows.of_batch(torch.tensor([[7]]), torch.zeros(1, 1, dtype=torch.int64))
    (layer,) = layers_of_rows(detector("fasterrcnn"), second, own)
    assert layer == detector("fasterrcnn").layer_of_row(second, 0, 7, "roi")
