"""Gradients of what a dense head says, taken on the windows of its levels that it sees.

Legend: N objects, Q questions, C channels.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.attribution.core.forward import ForwardPass, scalars
from detinv.attribution.core.gradients import Seeds, gradients, seeds_of
from detinv.attribution.core.questions import Question
from detinv.detectors.acceleration.group_norm import BatchedGroupNorms
from detinv.detectors.acceleration.short_convolutions import ShortConvolutions
from detinv.detectors.feature_layers import FeatureLayer
from detinv.detectors.heads.predictions import DensePredictions, Predictions
from detinv.detectors.heads.window import HeadWindow
from detinv.detectors.rows import TargetRows

# Objects whose windows pass through the head together, and cells of all their gradients for one question; at least one
# object.
_TOGETHER, _CELLS = 32, 16384


def window_seeds(
    window: HeadWindow, levels: Sequence[FeatureLayer], passed: ForwardPass, questions: Sequence[Question]
) -> Iterator[Seeds]:
    """Yield seeds at the levels of a dense head for all objects and questions; scalars are ordered as by objects.

    The window of an object is as large as what its row depends on, and lies within the feature map, so that where it
    meets the border the head finds the same padding. One backward pass of the head gives the gradients of one question
    for all objects, since each depends on its own window alone. Where the head normalises over a level, the window is
    all of that level and each object needs a pass of its own; other levels, and branches of the head that a question is
    not about, are still left out, and on the CPU its convolutions and normalisations go the short way.

    Args:
        window: of the detector.
        levels: what the head receives, captured in the pass.
    """
    head, rows = passed.predictions.dense.head, passed.rows.rows
    numbers = head.levels[rows]
    start, short = 0, ShortConvolutions()
    for number, (layer, size) in enumerate(zip(levels, head.level_sizes, strict=True)):
        features = passed.features[layer.name]
        together = max(1, min(_TOGETHER, _CELLS // math.prod(_shape(window, features))))
        for objects in (numbers == number).nonzero()[:, 0].split(together):
            if len(objects):
                yield _level_seeds(window, number, passed, features, start, size, objects, questions, short)
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
    short: ShortConvolutions,
) -> Seeds:
    """Return the seeds of objects whose rows are all of one level, which begins at row `first` and has `size` rows."""
    height, width = features.shape[2:]
    anchors = size // (height * width)
    rows = passed.rows.rows[objects]
    cells, anchor = (rows - first) // anchors, (rows - first) % anchors
    ys, xs = cells // width, cells % width
    shape = _shape(window, features)
    tops = (ys - shape[0] // 2).clamp(min=0, max=height - shape[0]).tolist()
    lefts = (xs - shape[1] // 2).clamp(min=0, max=width - shape[1]).tolist()
    places = [
        (slice(None), slice(top, top + shape[0]), slice(left, left + shape[1]))
        for top, left in zip(tops, lefts, strict=True)
    ]
    whole = window.radius is None
    crops = features.detach() if whole else torch.stack([features.detach()[0][place] for place in places])
    which = torch.zeros_like(rows) if whole else torch.arange(len(objects), device=rows.device)
    crops.requires_grad_()
    with torch.enable_grad(), torch.autocast(crops.device.type, enabled=False):
        if whole:
            with short, BatchedGroupNorms():
                outputs = window.outputs(level, crops)
        else:
            outputs = window.outputs(level, crops)
        inside = (ys - ys.new_tensor(tops)) * shape[1] + xs - xs.new_tensor(lefts)
        mine = (which, inside * anchors + anchor)
        whole_head = passed.predictions.dense.head
        # Chosen rows are no grid.
        post = replace(whole_head.post, peak_kernel=None)
        head = replace(whole_head, anchors=whole_head.anchors[rows], level_sizes=(len(rows),), post=post)
        quality = None if outputs.quality_logits is None else outputs.quality_logits[mine][None]
        predictions = Predictions(
            DensePredictions(outputs.logits[mine][None], outputs.deltas[mine][None], head, quality)
        )
        # Each question by itself, so that branches of the head that it is not about have no part in its graph.
        answers = [scalars(predictions, _rows(passed.rows, objects), [question])[:, 0] for question in questions]

        def derived(answer: Tensor) -> Tensor:
            """Return each object's gradient on its window."""
            if not whole:
                return torch.autograd.grad(answer.sum(), crops, retain_graph=True)[0]
            ((_, (found,)),) = gradients([seeds_of(answer)], [crops], sys.maxsize)
            return found[:, 0]

        found = torch.stack([derived(answer) for answer in answers], dim=1).flatten(0, 1)
    numbers = (objects[:, None] * len(questions) + torch.arange(len(questions), device=objects.device)).flatten()

    def of(part: slice) -> list[Tensor]:
        if whole:
            return [found[part][:, None]]
        gradients = found.new_zeros(len(found[part]), *features.shape)
        for index, gradient in enumerate(found[part]):
            gradients[index, 0][places[(part.start + index) // len(questions)]] = gradient
        return [gradients]

    return Seeds(numbers, [features], of)


def _shape(window: HeadWindow, features: Float[Tensor, "1 channel height width"]) -> tuple[int, int]:
    """Return (height, width) of the windows of a level."""
    height, width = features.shape[2:]
    if window.radius is None:
        return height, width
    side = 2 * window.radius + 1
    return min(side, height), min(side, width)


def _rows(rows: TargetRows, objects: Int64[Tensor, " object"]) -> TargetRows:
    """Return the objects' targets when theirs are the only rows, in their order."""
    return TargetRows(
        torch.zeros_like(objects),
        torch.arange(len(objects), device=objects.device),
        rows.labels[objects],
        boxes=None if rows.boxes is None else rows.boxes[objects],
    )
