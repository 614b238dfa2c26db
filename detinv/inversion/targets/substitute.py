"""Raw predictions with pseudo-targets written into them, for checks; the inversion never needs them."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from detinv.detectors.heads.predictions import DensePredictions, Predictions, RoIPredictions
from detinv.inversion.targets.base import DenseTargets, RoITargets, Targets

# A logit beyond any threshold.
_CERTAIN = 25.0


@torch.no_grad()
def substitute(predictions: Predictions, targets: Targets) -> Predictions:
    """Return the outputs that the detector should give: targets where their weight is positive, else current outputs.

    Regions given to a second stage are treated as proposals, because the proposal head should propose them.
    """
    roi = predictions.roi
    if roi is not None:
        assert targets.roi is not None
        return replace(predictions, roi=_second_stage(roi, targets.roi))
    assert targets.dense is not None
    return replace(predictions, dense=_dense(predictions.dense, targets.dense), encoder=None)


def _dense(predictions: DensePredictions, targets: DenseTargets) -> DensePredictions:
    scoring, classes = predictions.head.scoring, predictions.num_classes
    rows, wanted, weights = targets.rows, targets.class_targets, targets.class_weights > 0
    current = _take(predictions.logits, rows)
    foreground, changed = wanted.sum(-1, keepdim=True) > 0, weights.any(-1, keepdim=True)
    certain = torch.where(wanted > 0, _CERTAIN, -_CERTAIN)
    if scoring.activation == "sigmoid":
        logits = torch.where(weights, certain, current)
    elif scoring.background:
        # A softmax cannot lower one class alone, so the whole row becomes an object of its class, or background.
        background = torch.where(foreground, -_CERTAIN, _CERTAIN)
        logits = torch.where(changed, torch.cat([certain, background], dim=-1), current)
    else:
        logits = torch.where(changed & foreground, certain, current)
    quality = predictions.quality_logits
    if quality is not None and targets.quality_targets is not None and targets.quality_weights is not None:
        value = torch.where(targets.quality_targets > 0, _CERTAIN, -_CERTAIN)
        quality = _put(quality, rows, torch.where(targets.quality_weights > 0, value, _take(quality, rows)))
    anchors = predictions.head.anchors[rows]
    code = predictions.head.codec.encode(targets.box_targets, anchors)
    deltas = torch.where(targets.box_weights[..., None] > 0, code, _take(predictions.deltas, rows))
    assert logits.shape[-1] == classes + int(scoring.background)
    return replace(
        predictions,
        logits=_put(predictions.logits, rows, logits),
        deltas=_put(predictions.deltas, rows, deltas),
        quality_logits=quality,
        bins=None,
    )


def _second_stage(predictions: RoIPredictions, targets: RoITargets) -> RoIPredictions:
    columns = torch.arange(predictions.logits.shape[-1], device=predictions.logits.device)
    certain = torch.where(columns == targets.labels[..., None], _CERTAIN, -_CERTAIN)
    logits = torch.where(targets.class_weights[..., None] > 0, certain, predictions.logits)
    classes = columns[:-1]
    mine = (classes == targets.labels[..., None]) & (targets.delta_weights[..., None] > 0)
    deltas = torch.where(mine[..., None], targets.delta_targets[:, :, None], predictions.deltas)
    return replace(predictions, logits=logits, deltas=deltas, given=0, mask_logits=None)


def _take(values: Tensor, rows: Int64[Tensor, "batch row"]) -> Tensor:
    return values[torch.arange(len(rows), device=rows.device)[:, None], rows]


def _put(values: Tensor, rows: Int64[Tensor, "batch row"], new: Float[Tensor, "batch row *tail"]) -> Tensor:
    changed = values.clone()
    changed[torch.arange(len(rows), device=rows.device)[:, None], rows] = new.to(values.dtype)
    return changed
