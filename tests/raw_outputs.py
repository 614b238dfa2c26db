"""Raw predictions with random numbers in float64, one set for each kind of head."""

from dataclasses import replace

import torch

from detinv.detectors.heads.codec import DeltaCodec, DistanceCodec
from detinv.detectors.heads.distances import PointCodec
from detinv.detectors.heads.predictions import (
    DenseHead,
    DensePredictions,
    PostProcessing,
    Predictions,
    RoIPredictions,
)
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.rows import TargetRows
from detinv.detectors.transformers.codec import RelativeCodec

POST = PostProcessing(0.05, 0.5, 100, 100)
IMAGES, ROWS, LABELS = torch.tensor([0, 1, 1, 0]), torch.tensor([3, 0, 4, 3]), torch.tensor([1, 0, 2, 2])
ANCHORS = [[4.0, 6.0, 20.0, 16.0], [0.0, 0.0, 8.0, 8.0], [8.0, 2.0, 40.0, 30.0], [10.0, 10.0, 18.0, 14.0], [1, 2, 4, 9]]
# Family: scoring, codec, whether there is a quality output.
HEADS = {
    "retinanet": (Scoring(), DeltaCodec(), False),
    "fcos": (Scoring(class_power=0.5, quality_power=0.5), DistanceCodec(), True),
    "ssd": (Scoring("softmax", background=True), DeltaCodec((10.0, 10.0, 5.0, 5.0)), False),
    "yolox": (Scoring(quality_power=1.0, objectness=True), DeltaCodec(), True),
    "fastestdet": (Scoring("softmax", False, 0.4, 0.6, objectness=True), DeltaCodec(), True),
    "yolo": (Scoring(), PointCodec(), False),
    "yolo without distributions": (Scoring(), PointCodec(unit=(64.0, 48.0)), False),
    "detr": (Scoring("softmax", background=True), RelativeCodec(), False),
}
FAMILIES = [*HEADS, "maskrcnn"]


def _noise(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def dense_of(family):
    """Two images, five rows, three classes, in float64."""
    scoring, codec, quality = HEADS[family]
    generator = torch.Generator().manual_seed(3)
    anchors = torch.tensor(ANCHORS, dtype=torch.float64)
    head = DenseHead(anchors, (3, 2), codec, None, POST, scoring)
    deltas = _noise(generator, 2, 5, 4)
    # Distances, so that boxes are none of those that a ReLU has cut.
    deltas = deltas.abs() + 0.1 if isinstance(codec, DistanceCodec | PointCodec | RelativeCodec) else 0.4 * deltas
    return DensePredictions(
        2 * _noise(generator, 2, 5, 3 + int(scoring.background)),
        deltas,
        head,
        _noise(generator, 2, 5) if quality else None,
    )


def predicted(family):
    """Predictions of one pass; of "maskrcnn" three proposals and two given regions in each image."""
    if family != "maskrcnn":
        return Predictions(dense_of(family))
    generator = torch.Generator().manual_seed(5)
    stage, anchors = dense_of("retinanet"), torch.tensor(ANCHORS, dtype=torch.float64)
    stage = replace(stage, logits=stage.logits[..., :1])
    roi = RoIPredictions(
        torch.stack([anchors, anchors + 3]),
        torch.ones(2, 5, dtype=torch.bool),
        2 * _noise(generator, 2, 5, 4),
        _noise(generator, 2, 5, 3, 4),
        DeltaCodec((10.0, 10.0, 5.0, 5.0)),
        torch.zeros(2, 5, dtype=torch.int64),
        2,
        POST,
        _noise(generator, 2, 2, 3, 4, 4),
        torch.tensor([[4, 2, 0], [1, 3, 2]]),
    )
    return Predictions(stage, roi)


def rows_of(family, given=False):
    """Four targets in two images, of which two share a row."""
    if family != "maskrcnn":
        return TargetRows(IMAGES, ROWS, LABELS)
    rows = torch.tensor([1, 0, 1, 0]) if given else torch.tensor([2, 0, 1, 0])
    sources = torch.tensor([3, 1, 2, 0]) if given else None
    return TargetRows(IMAGES, rows, LABELS, given=given, proposal_rows=sources)
