"""Gradients of what a dense head says, taken on the windows of its levels that it sees.

Legend: N objects, Q questions, C channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.forward import ForwardPass, scalars
from detinv.attribution.core.gradients import Seeds
from detinv.attribution.core.questions import Question
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.heads.window import HeadWindow
from detinv.detectors.rows import TargetRows

# Objects whose windows pass through the head together.
_TOGETHER = 32


def window_seeds(
    window: HeadWindow, levels: Sequence[FeatureLayer], passed: ForwardPass, questions: Sequence[Question]
) -> Iterator[Seeds]:
    """Yield seeds at the levels of a dense head for all objects and questions; scalars are ordered as by objects.

    The window of an object is as large as what its row depends on, and lies within the feature map, so that where it
    meets the border the head finds the same padding. One backward pass of the head gives the gradients of one question
    for all objects, since each depends on its own window alone.

    Args:
        window: of the detector.
        levels: what the head receives, captured in the pass.
    """
    head, rows = passed.predictions.dense.head, passed.rows.rows
    numbers = head.levels[rows]
    start = 0
    for number, (layer, size) in enumerate(zip(levels, head.level_sizes, strict=True)):
        for objects in (numbers == number).nonzero()[:, 0].split(_TOGETHER):
            if len(objects):
                yield _level_seeds(window, number, passed, passed.features[layer.name], start, size, objects, questions)
        start += size


def _level_seeds(
    window: HeadWindow,
    level: int,
    passed: ForwardPass,
    features: Float[Tensor, "1 channel height width"],
    first: int,
    size: int,
    objects: Int64[Tensor, " object"],
    questions: Sequence[Question],
) -> Seeds:
    """Return the seeds of objects whose rows are all of one level, which begins at row `first` and has `size` rows."""
    height, width = features.shape[2:]
    anchors = size // (height * width)
    rows = passed.rows.rows[objects]
    cells, anchor = (rows - first) // anchors, (rows - first) % anchors
    ys, xs = cells // width, cells % width
    side = 2 * window.radius + 1
    shape = (min(side, height), min(side, width))
    tops = (ys - window.radius).clamp(min=0, max=height - shape[0]).tolist()
    lefts = (xs - window.radius).clamp(min=0, max=width - shape[1]).tolist()
    places = [
        (slice(None), slice(top, top + shape[0]), slice(left, left + shape[1]))
        for top, left in zip(tops, lefts, strict=True)
    ]
    crops = torch.stack([features.detach()[0][place] for place in places]).requires_grad_()
    with torch.enable_grad(), torch.autocast(crops.device.type, enabled=False):
        outputs = window.outputs(level, crops)
        inside = (ys - ys.new_tensor(tops)) * shape[1] + xs - xs.new_tensor(lefts)
        mine = (torch.arange(len(objects), device=rows.device), inside * anchors + anchor)
        head = replace(
            passed.predictions.dense.head, anchors=passed.predictions.dense.head.anchors[rows], level_sizes=(len(rows),)
        )
        quality = None if outputs.quality_logits is None else outputs.quality_logits[mine][None]
        predictions = Predictions(
            DensePredictions(outputs.logits[mine][None], outputs.deltas[mine][None], head, quality)
        )
        values = scalars(predictions, _rows(passed.rows, objects), questions)
        found = torch.stack(
            [
                torch.autograd.grad(values[:, question].sum(), crops, retain_graph=True)[0]
                for question in range(len(questions))
            ],
            dim=1,
        ).flatten(0, 1)
    numbers = (objects[:, None] * len(questions) + torch.arange(len(questions), device=objects.device)).flatten()

    def of(part: slice) -> list[Tensor]:
        gradients = found.new_zeros(len(found[part]), *features.shape)
        for index, gradient in enumerate(found[part]):
            gradients[index, 0][places[(part.start + index) // len(questions)]] = gradient
        return [gradients]

    return Seeds(numbers, [features], of)


def _rows(rows: TargetRows, objects: Int64[Tensor, " object"]) -> TargetRows:
    """Return the objects' targets when theirs are the only rows, in their order."""
    return TargetRows(
        torch.zeros_like(objects),
        torch.arange(len(objects), device=objects.device),
        rows.labels[objects],
        boxes=None if rows.boxes is None else rows.boxes[objects],
    )
