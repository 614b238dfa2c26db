"""Why raw predictions, post-processed, differ from a detector's inference: usual mistakes are undone, one at a time.

If with one mistake undone the two agree, that was it. Otherwise, what they still have in common tells where to look.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from detinv.checks.agreement import Agreement, agreement
from detinv.checks.trial import AdapterTrial
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.heads.predictions import DenseHead, Predictions
from detinv.detectors.heads.scoring import Scoring
from detinv.detectors.locate import BOX_TOLERANCE
from detinv.errors import DetinvError
from detinv.layouts.layout import Detections

# Images on which the mistakes are undone.
_IMAGES = 4
# Share of the detections that must agree for a mistake to be the cause.
_ALL = 0.98
# Difference of scores that rounding may make.
_ROUNDING = 1e-6
_ACTIVATIONS: tuple[Literal["sigmoid", "softmax"], ...] = ("sigmoid", "softmax")

Change = Callable[[Predictions, tuple[int, int]], Predictions]
"""Predictions and (height, width) of their canvas, to predictions in which one mistake is undone."""


def cause_of_difference(trial: AdapterTrial, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> str:
    """Return what to change so that raw predictions, post-processed, are the detector's inference.

    Args:
        images: those in which the two differ, at the size of the network's input.
    """
    images = images[:_IMAGES]
    own = [trial.detector.detect([image])[0] for image in images]
    for advice, turned, change in _mistakes(trial):
        try:
            ours = [_reported(trial, image, turned, change) for image in images]
        except (DetinvError, ValueError, TypeError, RuntimeError, IndexError):
            # Undoing a mistake that was not made may well be impossible.
            continue
        found = agreement(ours, own)
        if found.total and found.matched >= _ALL * found.total:
            return advice
    ours = [_reported(trial, image, _same, None) for image in images]
    return _in_common(ours, own)


def _reported(
    trial: AdapterTrial, image: Tensor, turned: Callable[[Tensor], Tensor], change: Change | None
) -> Detections:
    size = (image.shape[1], image.shape[2])
    pixels, batch = trial.batch([image], [trial.layout(size, 0, torch.Generator())])
    with torch.no_grad():
        predictions = trial.predict(turned(pixels), batch)
    if change is not None:
        predictions = change(predictions, batch.canvas_size)
    (found,) = postprocess(predictions, [size])
    return found


def _same(pixels: Tensor) -> Tensor:
    return pixels


def _mistakes(trial: AdapterTrial) -> Iterator[tuple[str, Callable[[Tensor], Tensor], Change | None]]:
    """Yield advice, and what undoes the mistake: a change of the pixels, then one of the predictions."""
    yield (
        "colour order: forward() must hand the network its channels in the order in which detect() does; RGB and BGR "
        "are exchanged",
        lambda pixels: pixels.flip(1),
        None,
    )
    range_advice = "range of the pixels: forward() gets values in [0, 1], and must scale them as detect() does, "
    yield f"{range_advice}here by 255", lambda pixels: pixels * 255, None
    yield f"{range_advice}without a factor of 255", lambda pixels: pixels / 255, None
    for step in (-1, 1):
        yield (
            "classes are off by one: the background comes first; drop its column, or move it to the end and say so "
            "with Scoring(background=True)",
            _same,
            partial(_of_classes, step),
        )
    for x, y in ((0.5, 0.5), (-0.5, -0.5), (0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5)):
        yield (
            "half a cell: the grid of the anchors starts half a stride beside that of detect(); shift the anchors by "
            f"{x:g} strides in x and {y:g} in y",
            _same,
            partial(_of_head, partial(_shifted, x, y)),
        )
    yield (
        "x and y are exchanged in the anchors: order them as the rows, (row of the grid, column, anchor of the cell)",
        _same,
        partial(_of_head, _transposed),
    )
    yield "x and y are exchanged in decode() of the codec", _same, partial(_of_head, partial(_recoded, True, 1.0))
    for factor in (2.0, 0.5):
        yield (
            f"sides of the boxes: decode() of the codec must give sides {factor:g} times as long (half sides taken for "
            "whole ones, or the reverse)",
            _same,
            partial(_of_head, partial(_recoded, False, factor)),
        )
    yield (
        "x and y are exchanged in the regression: the network gives (dy, dx, dh, dw), as TensorFlow's detectors do; "
        "bring the columns into the order in which decode() takes them",
        _same,
        _with_columns_exchanged,
    )
    yield (
        "probabilities: forward() returns what has passed the last sigmoid or softmax; return the logits, which alone "
        "keep their gradient",
        _same,
        _of_logits,
    )
    quality_powers = (1.0, 0.5, 0.0) if _has_quality(trial) else (0.0,)
    for activation, class_power, quality_power in product(_ACTIVATIONS, (1.0, 0.5), quality_powers):
        yield (
            f'scores: detect() ranks by what Scoring("{activation}", class_power={class_power:g}, '
            f"quality_power={quality_power:g}) computes",
            _same,
            partial(_of_head, partial(_rescored, activation, class_power, quality_power)),
        )
    for peak_kernel in (None, 3, 5, 7):
        yield (
            f"suppression: detect() does what PostProcessing(nms_thresh=None, peak_kernel={peak_kernel}) declares",
            _same,
            partial(_of_head, partial(_suppressed, peak_kernel)),
        )


def _of_classes(step: int, predictions: Predictions, canvas: tuple[int, int]) -> Predictions:
    """Move every class column of the last stage by one place."""
    roi = predictions.roi
    if roi is not None:
        return replace(predictions, roi=replace(roi, logits=roi.logits.roll(step, -1), deltas=roi.deltas.roll(step, 2)))
    return replace(predictions, dense=replace(predictions.dense, logits=predictions.dense.logits.roll(step, -1)))


def _of_head(
    change: Callable[[DenseHead, tuple[int, int]], DenseHead], predictions: Predictions, canvas: tuple[int, int]
) -> Predictions:
    """Change the constants of a one-stage head."""
    if predictions.roi is not None:
        raise ValueError("the boxes of a second stage do not come from the dense head")
    dense = predictions.dense
    return replace(predictions, dense=replace(dense, head=change(dense.head, canvas)))


def _with_columns_exchanged(predictions: Predictions, canvas: tuple[int, int]) -> Predictions:
    """Exchange the columns of x and y in the last stage's regression."""
    roi, order = predictions.roi, [1, 0, 3, 2]
    if roi is not None:
        return replace(predictions, roi=replace(roi, deltas=roi.deltas[..., order]))
    return replace(predictions, dense=replace(predictions.dense, deltas=predictions.dense.deltas[..., order]))


def _of_logits(predictions: Predictions, canvas: tuple[int, int]) -> Predictions:
    """Turn probabilities of the last stage back into logits."""
    roi, dense = predictions.roi, predictions.dense
    if roi is not None:
        return replace(predictions, roi=replace(roi, logits=_before(roi.logits, "softmax")))
    quality = dense.quality_logits
    return replace(
        predictions,
        dense=replace(
            dense,
            logits=_before(dense.logits, dense.head.scoring.activation),
            quality_logits=None if quality is None else _before(quality, "sigmoid"),
        ),
    )


def _before(outputs: Tensor, activation: Literal["sigmoid", "softmax"]) -> Tensor:
    """Return the logits of outputs that are probabilities, and any others as they are."""
    if bool(((outputs < 0) | (outputs > 1)).any()):
        return outputs
    return outputs.logit() if activation == "sigmoid" else outputs.log()


def _has_quality(trial: AdapterTrial) -> bool:
    return trial.predicted(trial.sizes[0]).dense.quality_logits is not None


def _shifted(x: float, y: float, head: DenseHead, canvas: tuple[int, int]) -> DenseHead:
    strides = torch.tensor(head.strides_on(canvas), device=head.anchors.device)[head.levels]
    return replace(head, anchors=head.anchors + strides[:, None] * head.anchors.new_tensor([x, y, x, y]))


def _transposed(head: DenseHead, canvas: tuple[int, int]) -> DenseHead:
    return replace(head, anchors=head.anchors[:, [1, 0, 3, 2]])


def _recoded(exchanged: bool, factor: float, head: DenseHead, canvas: tuple[int, int]) -> DenseHead:
    return replace(head, codec=_Recoded(head.codec, exchanged, factor))


def _rescored(
    activation: Literal["sigmoid", "softmax"],
    class_power: float,
    quality_power: float,
    head: DenseHead,
    canvas: tuple[int, int],
) -> DenseHead:
    old = head.scoring
    return replace(head, scoring=Scoring(activation, old.background, class_power, quality_power, old.objectness))


def _suppressed(peak_kernel: int | None, head: DenseHead, canvas: tuple[int, int]) -> DenseHead:
    return replace(head, post=replace(head.post, nms_thresh=None, peak_kernel=peak_kernel))


@dataclass(frozen=True)
class _Recoded:
    """A codec whose decoded boxes are changed."""

    codec: BoxCodec
    exchanged: bool
    factor: float

    @property
    def parts(self) -> tuple[str, str, str, str]:
        return self.codec.parts

    def decode(self, deltas: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        boxes = self.codec.decode(deltas, anchors)
        if self.exchanged:
            boxes = boxes[..., [1, 0, 3, 2]]
        centres, half = (boxes[..., :2] + boxes[..., 2:]) / 2, self.factor * (boxes[..., 2:] - boxes[..., :2]) / 2
        return torch.cat([centres - half, centres + half], dim=-1)

    def encode(self, boxes: Float[Tensor, "*rows 4"], anchors: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
        raise NotImplementedError

    def expresses(
        self, boxes: Float[Tensor, "batch object 4"], anchors: Float[Tensor, "anchor 4"]
    ) -> Bool[Tensor, "batch object anchor"]:
        return self.codec.expresses(boxes, anchors)


def _in_common(ours: Sequence[Detections], own: Sequence[Detections]) -> str:
    """Return where to look, from what the two have in common."""
    by_box, by_score = agreement(ours, own, scores=False), agreement(ours, own, boxes=False)
    alike, count = sum(map(_with_a_twin, own)), sum(map(len, own))
    if alike > count / 2 and by_box.matched < _ALL * by_box.total:
        return (
            f"{alike} of {count} detections have the score of another one, so that rounding decides which of them are "
            "kept: try trained weights, or photographs (images=FOLDER)"
        )
    if by_score.matched >= _ALL * by_score.total:
        return f"classes and scores agree, boxes do not: {_of_boxes(by_score)}"
    if by_box.matched >= _ALL * by_box.total:
        return "boxes agree, scores or classes do not: look at Scoring, quality_logits and the order of the columns"
    few, many = sorted((sum(map(len, ours)), sum(map(len, own))))
    if few and min(by_box.matched, by_score.matched) >= _ALL * few:
        return f"one side reports {many}, the other {few}: look at the constants of PostProcessing"
    if by_score.matched > by_box.matched and by_score.matched > few / 2:
        return f"most classes and scores agree, boxes do not: {_of_boxes(by_score)}"
    return "neither boxes nor scores agree: look at what forward() does to the pixels before the network"


def _with_a_twin(found: Detections) -> int:
    """Return how many detections share their score, but for rounding, with another one."""
    close = (found.scores[:, None] - found.scores[None]).abs() <= _ROUNDING
    return int((close.sum(1) > 1).sum())


def _of_boxes(found: Agreement) -> str:
    """Return which part of the boxes differs, from pairs that have the same class and score."""
    (ours, own) = found.pairs
    centres, own_centres = (ours[:, :2] + ours[:, 2:]) / 2, (own[:, :2] + own[:, 2:]) / 2
    apart = float((centres - own_centres).abs().median())
    longer = float(((ours[:, 2:] - ours[:, :2]) - (own[:, 2:] - own[:, :2])).abs().median())
    factor = float((centres * own_centres).sum() / centres.square().sum())
    if apart > BOX_TOLERANCE and float((factor * centres - own_centres).abs().median()) < 0.1 * apart:
        return (
            f"centres must lie {factor:.3g} times as far from the upper left corner: look at the strides, of the cells "
            "and in decode()"
        )
    if apart < 0.1 * longer:
        return f"centres are right and sides wrong (median {longer:.1f} px): look at how decode() makes the sides"
    if longer < 0.1 * apart:
        return f"sides are right and centres wrong (median {apart:.1f} px): look at the anchors and at decode()"
    return f"centres are off by {apart:.1f} px and sides by {longer:.1f} px (medians): look at decode() of the codec"
