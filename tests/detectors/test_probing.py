"""Feature layers of a detector about which nothing is declared, found in one forward pass."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from detinv.detectors.base import AbstractDetector
from detinv.detectors.features import find_layer, read_features
from detinv.detectors.heads.assigners import PointAssigner
from detinv.detectors.heads.codec import DistanceCodec
from detinv.detectors.heads.predictions import DenseHead, DensePredictions, PostProcessing, Predictions
from detinv.detectors.hooks import capture_features, count_hooks
from detinv.detectors.probing import backbone_stages, module_outputs, probed_layers
from detinv.errors import ConfigError, DetectorError
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout
from tests.gradients import dependencies

ACTIVATION = nn.ReLU()


def block(inputs, outputs, stride=2):
    """A convolution, and an activation that all blocks share."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), ACTIVATION)


class Attention(nn.Module):
    """A factor for each channel, from a map of one cell."""

    def __init__(self, channels):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scale = nn.Conv2d(channels, channels, 1)

    def forward(self, features):
        return features * self.scale(self.pool(features)).sigmoid()


class Stage(nn.Module):
    """Its first block still works at the finer stride."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.reduce = block(inputs, inputs, 1)
        self.down = block(inputs, outputs)
        self.attention = Attention(outputs)

    def forward(self, features):
        return self.attention(self.down(self.reduce(features)))


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = block(3, 4)
        self.stage4, self.stage8, self.stage16 = Stage(4, 6), Stage(6, 8), Stage(8, 10)

    def forward(self, pixels):
        fine = self.stage8(self.stage4(self.stem(pixels)))
        return {"fine": fine, "coarse": self.stage16(fine)}


class Homemade(AbstractDetector):
    """Two levels, one class, and distances to the sides of a box."""

    def __init__(self):
        super().__init__()
        self.class_names, self.size_divisor, self.detections_per_image = ("thing",), 16, 10
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.backbone = Backbone()
        self.neck = nn.ModuleList([nn.Conv2d(8, 12, 1), nn.Conv2d(10, 12, 1)])
        self.classify, self.regress = nn.Conv2d(12, 1, 3, padding=1), nn.Conv2d(12, 4, 3, padding=1)
        self.freeze()

    def network_size(self, image_size):
        return image_size

    def forward(self, pixels, image_sizes=None, regions=None):
        levels = [layer(level) for layer, level in zip(self.neck, self.backbone(pixels).values(), strict=True)]
        logits, deltas = ([head(level) for level in levels] for head in (self.classify, self.regress))
        anchors = torch.cat([self.cells(level, pixels) for level in levels])
        post = PostProcessing(0.05, 0.5, 100, 10)
        sizes = tuple(level.shape[2] * level.shape[3] for level in levels)
        head = DenseHead(anchors, sizes, DistanceCodec(), PointAssigner(radius=1.5), post)
        logits, deltas = (torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2) for maps in (logits, deltas))
        return Predictions(DensePredictions(logits, deltas, head))

    @staticmethod
    def cells(level, pixels):
        rows, columns = level.shape[2:]
        stride = pixels.shape[3] / columns
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corners = torch.stack([x, y, x + 1, y + 1], -1).reshape(-1, 4)
        return corners * stride

    def detect(self, images):
        return []


@pytest.fixture(scope="module")
def homemade():
    torch.manual_seed(0)
    return Homemade()


def test_outermost_maps_and_finer_stages_are_found(homemade):
    found = {
        layer.name: (layer.module, layer.output, layer.stride, layer.channels) for layer in homemade.feature_layers()
    }
    assert found == {
        "c1": ("backbone.stem", None, 2, 4),
        "c2": ("backbone.stage4", None, 4, 6),
        "backbone:fine": ("backbone", "fine", 8, 8),
        "backbone:coarse": ("backbone", "coarse", 16, 10),
        "neck.0": ("neck.0", None, 8, 12),
        "neck.1": ("neck.1", None, 16, 12),
    }
    assert count_hooks(homemade) == 0


class Whole(nn.Module):
    """Backbone, neck and heads as one module, which returns nothing but the maps of the heads."""

    def __init__(self):
        super().__init__()
        self.backbone, self.neck = Backbone(), nn.Conv2d(8, 12, 1)
        self.classify, self.regress = nn.Conv2d(12, 1, 1), nn.Conv2d(12, 4, 1)

    def forward(self, pixels):
        features = self.neck(self.backbone(pixels)["fine"])
        return self.classify(features), self.regress(features)


def test_a_module_that_returns_the_raw_predictions_is_looked_into():
    torch.manual_seed(0)
    network, raw = nn.ModuleDict({"network": Whole()}), []
    outputs = module_outputs(network, (64, 64), lambda: raw.extend(network["network"](torch.rand(1, 3, 64, 64))))
    found = {layer.name: layer.stride for layer in probed_layers(outputs, raw)}
    inside = "network.backbone"
    assert found == {"c1": 2, "c2": 4, f"{inside}:fine": 8, f"{inside}:coarse": 16, "network.neck": 8}


def test_a_row_depends_on_its_level_and_what_that_is_made_of(homemade):
    assert [layer.name for layer in homemade.level_layers()] == ["neck.0", "neck.1"]
    with capture_features(homemade, homemade.feature_layers()) as features:
        predictions = homemade(torch.rand(1, 3, 64, 64))
    levels = homemade.row_levels(predictions)[0]
    fine = {"c1", "c2", "backbone:fine", "neck.0"}
    coarse = {"c1", "c2", "backbone:fine", "backbone:coarse", "neck.1"}
    for level, wanted in enumerate((fine, coarse)):
        row = int((levels == level).nonzero()[5])
        assert homemade.layer_of_row(predictions, 0, row).name == f"neck.{level}"
        for target in (predictions.dense.logits[0, row, 0], predictions.dense.boxes()[0, row, 1]):
            assert dependencies(target, features) == wanted


def test_layers_are_found_by_name_and_by_path(homemade):
    layouts = LayoutBatch.collate([Layout(torch.tensor([[4.0, 6.0, 30.0, 28.0]]), torch.tensor([0]), (64, 64), "a")])
    pixels = torch.rand(1, 3, 64, 64)
    for name in ("c2", "backbone.stage4"):
        (found,) = read_features(homemade, find_layer(homemade, name), pixels, layouts)
        torch.testing.assert_close(found, homemade.backbone.stage4(homemade.backbone.stem(pixels)))
    with pytest.raises(ConfigError, match=r"no layer 'p3' \(there are c1, c2, backbone:fine"):
        find_layer(homemade, "p3")


def test_a_head_of_another_kind_has_no_layers(homemade):
    with pytest.raises(DetectorError, match="Homemade: the layers of head 'roi' are not known"):
        homemade.level_layers("roi")


class Queries(Homemade):
    """Rows of which each may report an object anywhere."""

    @staticmethod
    def cells(level, pixels):
        whole = torch.tensor([0.0, 0.0, pixels.shape[3], pixels.shape[2]])
        return whole.expand(level.shape[2] * level.shape[3], 4)


class SetPrediction(Queries):
    def forward(self, pixels, image_sizes=None, regions=None):
        dense = super().forward(pixels).dense
        return Predictions(replace(dense, head=replace(dense.head, assigner=None)))


def test_rows_of_a_set_prediction_see_the_last_map():
    detector = SetPrediction()
    assert [layer.name for layer in detector.level_layers()] == ["neck.1", "neck.1"]
    assert detector.level_layers()[0] is detector.feature_layers()[-1]


def test_levels_without_a_map_of_their_stride_must_be_declared():
    with pytest.raises(DetectorError, match="no feature map of stride 128 for the dense head; declare level_layers"):
        Queries().level_layers()


def test_a_backbone_that_is_one_module_still_has_stages():
    network = nn.Sequential(nn.Sequential(block(3, 4), block(4, 4, 1), block(4, 5), Stage(5, 6)))
    outputs = module_outputs(network, (64, 96), lambda: network(torch.rand(1, 3, 64, 96)))
    found = {layer.name: layer.module for layer in backbone_stages(outputs, ["0"])}
    assert found == {"c1": "0.1", "c2": "0.2", "c3": "0"}
    assert list(found) == ["c1", "c2", "c3"]
    assert [layer.name for layer in backbone_stages(outputs, ["0"], finer_than=8)] == ["c1", "c2"]
