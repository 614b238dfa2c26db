"""Scalars of single raw predictions, with gradient: what an attribution, an attack or a loss asks of a detector.

Legend: N targets (any shape), K classes.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.rows import RowOutputs, TargetRows, is_class, of_class, row_outputs
from detinv.errors import DetectorError
from detinv.layouts.boxes import paired_iou

SIDES = ("left", "top", "right", "bottom")


def questions(predictions: Predictions) -> tuple[str, ...]:
    """Return the names of all questions that `target_values` can answer about these predictions.

    "mask" is among them only when there are mask logits, which exist at given regions.
    """
    names = ["class", "contrast", "log_probability", "score", "log_score"]
    dense, roi = predictions.dense, predictions.roi
    columns = roi.logits.shape[-1] if roi is not None else dense.logits.shape[-1]
    if columns < 2:
        names.remove("contrast")
    if roi is not None:
        names.append("objectness")
    elif dense.quality_logits is not None:
        names.append("objectness" if dense.head.scoring.objectness else "centerness")
    names += [*SIDES, "box", *(roi or dense.head).codec.parts]
    if roi is not None and roi.mask_logits is not None and roi.given:
        names.append("mask")
    return tuple(names)


def target_values(
    predictions: Predictions,
    rows: TargetRows,
    question: str,
    *,
    against: str | int | Int64[Tensor, "*target"] = "runner_up",
    mask_cells: str | Bool[Tensor, "*target side side"] = "foreground",
) -> Float[Tensor, "*target"]:
    """Return one scalar for each row, differentiable with respect to everything that the predictions depend on.

    Nothing passes through thresholds, ranking or suppression. Shapes are fixed, so that the function works under
    `torch.vmap` and its gradient under `torch.autograd.grad(..., is_grads_batched=True)`; nothing waits for the device.

    Args:
        predictions: raw outputs of one pass. The second stage is asked where there is one; to ask a proposal head or an
            encoder, pass it alone, as `Predictions(predictions.dense)` or `Predictions(predictions.encoder)`.
        rows: which of them; on the same device.
        question: one of
            - "class": logit of the target's class;
            - "contrast": that logit minus what `against` says;
            - "log_probability": logarithm of the class probability alone;
            - "score", "log_score": the score that inference ranks, with centre-ness or objectness, in [0, 1], and its
              logarithm; the gradient of both survives where the score rounds to 0 or 1;
            - "objectness", "centerness": logit of the head's quality output. Objectness of a two-stage detector is
              that of the anchor from which the region was proposed;
            - "left", "top", "right", "bottom": side of the decoded box, in pixels of the network's input, not clipped;
            - "box": IoU of the decoded box with `rows.boxes`, in [0, 1];
            - a part of the head's own code by the name its codec gives it, such as "dx", "dy", "dw", "dh";
            - "mask": mean mask logit of the target's class over `mask_cells`, at given regions.
        against: "runner_up", the best other class of the same row in this pass, chosen without gradient; "others", the
            mean logit of all other classes; "background", where the head has that column; or class numbers, one for
            all targets or one each. To hold the runner-up through several passes, take it from `runner_up`.
        mask_cells: "foreground", the cells whose logit is above 0 in this pass, chosen without gradient (0, without
            gradient, where there is none); "box", the whole grid; or the cells themselves.

    Raises:
        DetectorError: for a question that this detector, or these rows, cannot answer; the message lists those it can.

    Source: for the use of such scalars in attribution, Zhao & Chan 2023, "ODAM".
    """
    possible = questions(predictions)
    if question == "mask" and question not in possible and predictions.roi is not None:
        raise DetectorError(
            "mask: there are no mask logits; they need a detector with masks, and regions given to its forward pass"
        )
    if question not in possible:
        raise DetectorError(f"{question}: this detector cannot be asked that; choose one of {', '.join(possible)}")
    if question == "objectness" and predictions.roi is not None:
        return _proposal_logits(predictions, rows)
    if question == "mask":
        return _mask_logits(predictions, rows, mask_cells)
    outputs = row_outputs(predictions.roi or predictions.dense, rows)
    if question == "class":
        return of_class(outputs.logits, rows.labels)
    if question == "contrast":
        return of_class(outputs.logits, rows.labels) - _contrasted(outputs, rows.labels, against)
    if question == "log_probability":
        return outputs.log_probability(rows.labels)
    if question in ("score", "log_score"):
        found = outputs.log_score(rows.labels)
        return found if question == "log_score" else found.exp()
    if question in ("objectness", "centerness"):
        assert outputs.quality_logits is not None
        return outputs.quality_logits
    if question == "box":
        if rows.boxes is None:
            raise DetectorError("box: give the boxes to compare with as `boxes` of the rows")
        return paired_iou(outputs.boxes(), rows.boxes)
    if question in SIDES:
        return outputs.boxes()[..., SIDES.index(question)]
    return outputs.deltas[..., outputs.codec.parts.index(question)]


@torch.no_grad()
def runner_up(predictions: Predictions, rows: TargetRows) -> Int64[Tensor, "*target"]:
    """Return the class of highest logit at each row, the target's own and background left out.

    Raises:
        DetectorError: when the detector has one class only.
    """
    return _runner_up(row_outputs(predictions.roi or predictions.dense, rows).class_logits(), rows.labels)


def _runner_up(logits: Float[Tensor, "*target class"], labels: Int64[Tensor, "*target"]) -> Int64[Tensor, "*target"]:
    if logits.shape[-1] < 2:
        raise DetectorError("contrast: this detector has one class, which has no runner-up")
    return logits.detach().masked_fill(is_class(logits, labels), -torch.inf).argmax(-1)


def _contrasted(
    outputs: RowOutputs, labels: Int64[Tensor, "*target"], against: str | int | Tensor
) -> Float[Tensor, "*target"]:
    logits = outputs.class_logits()
    if isinstance(against, str):
        if against == "runner_up":
            return of_class(logits, _runner_up(logits, labels))
        if against == "others":
            if logits.shape[-1] < 2:
                raise DetectorError("contrast: this detector has one class, and no others")
            return (logits.sum(-1) - of_class(logits, labels)) / (logits.shape[-1] - 1)
        if against == "background":
            if not outputs.scoring.background:
                raise DetectorError("contrast: this detector has no column for background")
            return outputs.logits[..., -1]
        raise DetectorError(f"against={against}: choose runner_up, others, background or a class number")
    other = torch.as_tensor(against, dtype=torch.int64, device=labels.device).expand_as(labels)
    return of_class(logits, other)


def _proposal_logits(predictions: Predictions, rows: TargetRows) -> Float[Tensor, "*target"]:
    assert predictions.roi is not None
    source = rows.proposal_rows
    if source is None:
        if rows.given:
            raise DetectorError(
                "objectness: no anchor proposed a given region; say whose logit is meant by `proposal_rows`"
            )
        if predictions.roi.sources is None:
            raise DetectorError("objectness: this adapter does not say which anchor proposed a region")
        source = predictions.roi.sources[rows.images, rows.rows]
    return predictions.dense.logits[rows.images, source, 0]


def _mask_logits(
    predictions: Predictions, rows: TargetRows, cells: str | Bool[Tensor, "*target side side"]
) -> Float[Tensor, "*target"]:
    assert predictions.roi is not None and predictions.roi.mask_logits is not None
    if not rows.given:
        raise DetectorError("mask: mask logits exist at given regions only; hand the boxes to the forward pass")
    logits = predictions.roi.mask_logits[rows.images, rows.rows, rows.labels]
    if isinstance(cells, str):
        if cells not in ("foreground", "box"):
            raise DetectorError(f"mask_cells={cells}: choose foreground, box, or a tensor of cells")
        chosen = logits.detach() > 0 if cells == "foreground" else torch.ones_like(logits, dtype=torch.bool)
    else:
        chosen = cells
    return (logits * chosen).sum((-2, -1)) / chosen.sum((-2, -1)).clamp(min=1)
