"""Layers of a detector by name, path or row, and the features of a batch of images there."""

from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.feature_layers import FeatureLayer, HeadName
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.hooks import capture_features
from detinv.detectors.regions import Regions
from detinv.detectors.rows import TargetRows
from detinv.errors import ConfigError
from detinv.inputs.printable import suggestion
from detinv.layouts.batch import LayoutBatch
from detinv.types import Pixels


def find_layer(detector: AbstractDetector, name: str) -> FeatureLayer:
    """Return the feature layer of that name, or at that path.

    Args:
        detector: whose layer it is.
        name: one of `AbstractDetector.feature_layers`; or the dotted path of any module, followed by a colon and a key
            or number where the module returns several tensors and only one is meant, such as "model.backbone:0".

    Raises:
        ConfigError: when the detector has no such layer; suggests the nearest.
    """
    declared = {layer.name: layer for layer in detector.feature_layers()}
    if name in declared:
        return declared[name]
    module, colon, output = name.partition(":")
    paths = [path for path, _ in detector.named_modules() if path]
    if module not in paths:
        listed = f" (there are {', '.join(declared)}, and every module's path)" if declared else ""
        raise ConfigError(f"the detector has no layer {name!r}{suggestion(module, [*declared, *paths])}{listed}")
    return FeatureLayer(name, module, output=output if colon else None)


def layers_of_rows(detector: AbstractDetector, predictions: Predictions, rows: TargetRows) -> list[FeatureLayer]:
    """Return the layer that each row was predicted from: of the second stage where there is one, else of the head.

    Args:
        detector: that predicted.
        predictions: of one pass.
        rows: which of them; several axes are flattened.

    Raises:
        DetectorError: when the layers of the head are not known.
    """
    head: HeadName = "dense" if predictions.roi is None else "roi"
    number = rows.rows
    if predictions.roi is not None and rows.given:
        number = number + predictions.roi.rois.shape[1] - predictions.roi.given
    layers = detector.level_layers(head)
    levels = detector.row_levels(predictions, head)[rows.images, number]
    return [layers[level] for level in levels.flatten().tolist()]


def read_features(
    detector: AbstractDetector, layer: FeatureLayer, pixels: Pixels, layouts: LayoutBatch
) -> list[Tensor]:
    """Return the features of one pass in fp32, with gradient to the pixels; images run along the first axis of each.

    There is one tensor for each call of the layer's module, as a head is called for every level, and for each tensor
    that the layer stands for. Features of regions become (batch, object, ...), those of the layouts' boxes; they are
    zero where there is no object.

    Args:
        detector: whose layer it is.
        layer: where features are captured.
        pixels: RGB in [0, 1], on the layouts' canvas.
        layouts: their boxes are the regions given to a second stage.

    Raises:
        ConfigError: when the module is not called, has no such output, or does not return one row for each image.
    """
    with capture_features(detector, [layer]) as captured:
        detector(pixels, layouts.image_sizes, Regions(layouts.boxes, layouts.valid))
    features = captured.every(layer.name)
    if layer.per_region:
        count = layouts.boxes.shape[1]
        given = [one.unflatten(0, (len(layouts), -1))[:, -count:] for one in features]
        features = [one * layouts.valid.view(*layouts.valid.shape, *[1] * (one.ndim - 2)) for one in given]
    rows = {len(one) for one in features}
    if rows != {len(layouts)}:
        raise ConfigError(
            f"layer {layer.name}: {max(rows)} rows for {len(layouts)} images; choose a layer before regions are pooled"
        )
    return [one.float() for one in features]
