"""Loss terms of each kind of head: (predictions, targets) to one value per image, in fp32.

Legend: B images, R rows, K classes, M object slots, P regions, w level weights.
All sums are over the rows of one image only, so that images of a batch do not influence each other.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from detinv.detectors.predictions import DensePredictions, RoIPredictions
from detinv.inversion.targets.base import DenseTargets, ProposalTargets, RoITargets
from detinv.inversion.targets.shared import take
from detinv.layouts.boxes import generalized_iou

# The published normaliser of the positive term: a running mean in training that stays at its start value.
_POSITIVE_NORMALIZER = 100.0

Terms = dict[str, Float[Tensor, " batch"]]


@dataclass(frozen=True)
class TermOptions:
    """Where the terms may leave their published form.

    Args:
        positive_cap: logit above which the positive term asks for no more; null for never, as published.
    """

    positive_cap: float | None = None

    def capped(self, logits: Float[Tensor, "batch object"]) -> Float[Tensor, "batch object"]:
        """Logits, constant beyond the cap."""
        return logits if self.positive_cap is None else logits.clamp(max=self.positive_cap)


def dense_terms(
    predictions: DensePredictions,
    targets: DenseTargets,
    level_weights: Float[Tensor, " level"],
    options: TermOptions | None = None,
) -> Terms:
    """Terms of a one-stage head: "cls", "reg", "positive" and, with a quality output, "centerness".

    - cls: sigmoid focal loss (alpha 0.25, gamma 2) over the compared classes, per compared row;
    - reg: 1 - GIoU of decoded box and object, per row that stands for an object;
    - positive: minus the raw logit of each object's class at its best row, over 100;
    - centerness: binary cross-entropy, per compared row.

    Source: section B.3 of the method as published in code; the paper's equation 9 says cross-entropy for "cls".
    Departures: normalised per image, never by zero; see `TermOptions`.
    """
    options = options or TermOptions()
    weights = level_weights[predictions.head.levels]
    row_weights = weights[targets.rows]
    focal = sigmoid_focal_loss(take(predictions.logits, targets.rows), targets.class_targets, alpha=0.25, gamma=2.0)
    counted = targets.class_weights.amax(-1)
    focal = (focal * targets.class_weights).sum(-1) * row_weights
    terms = {"cls": focal.sum(1) / counted.sum(1).clamp(min=1)}

    giou = generalized_iou(predictions.boxes(targets.rows), targets.box_targets)
    matched = targets.box_weights.sum(1).clamp(min=1)
    terms["reg"] = ((1 - giou) * targets.box_weights * row_weights).sum(1) / matched

    terms["positive"] = -_positive(predictions.logits, targets, weights, options)
    if predictions.quality_logits is not None and targets.quality_targets is not None:
        assert targets.quality_weights is not None
        entropy = F.binary_cross_entropy_with_logits(
            take(predictions.quality_logits, targets.rows), targets.quality_targets, reduction="none"
        )
        compared = targets.quality_weights.sum(1).clamp(min=1)
        terms["centerness"] = (entropy * targets.quality_weights * row_weights).sum(1) / compared
    return terms


def _positive(
    logits: Float[Tensor, "batch anchor class"],
    targets: DenseTargets,
    weights: Float[Tensor, " anchor"],
    options: TermOptions,
) -> Float[Tensor, " batch"]:
    """Weighted sum of each object's logit at its row, over the published normaliser."""
    rows = targets.positive_rows
    chosen = options.capped(take(logits, rows).gather(2, targets.positive_labels[..., None])[..., 0])
    return (chosen * weights[rows] * targets.positive_weights).sum(1) / _POSITIVE_NORMALIZER


def proposal_terms(
    predictions: DensePredictions, targets: ProposalTargets, level_weights: Float[Tensor, " level"]
) -> Terms:
    """Terms of a region proposal network: "rpn_cls" (binary cross-entropy) and "rpn_reg" (L1 on deltas).

    Source: section C.2 of the method as published in code.
    """
    weights = level_weights[predictions.head.levels]
    entropy = F.binary_cross_entropy_with_logits(
        predictions.logits[..., 0], targets.objectness_targets, reduction="none"
    )
    distance = (predictions.deltas - targets.delta_targets).abs().sum(-1)
    return {
        "rpn_cls": (entropy * targets.objectness_weights * weights).sum(1) / targets.normalizer,
        "rpn_reg": (distance * targets.delta_weights * weights).sum(1) / targets.normalizer,
    }


def roi_terms(
    predictions: RoIPredictions,
    targets: RoITargets,
    level_weights: Float[Tensor, " level"],
    options: TermOptions | None = None,
) -> Terms:
    """Terms of a second stage: "roi_cls", "roi_reg", "roi_positive" and, where masks are wanted, "roi_mask".

    - roi_cls: softmax cross-entropy per compared region; roi_reg: L1 on the wanted class's deltas, over the same;
    - roi_positive: minus the raw logit of each object's class at the object's own box, over 100;
    - roi_mask: binary cross-entropy of the wanted class's mask logits at the object's box, mean over objects.

    Source: sections C.5 to C.7 of the method as published in code.
    """
    options = options or TermOptions()
    weights = level_weights[predictions.levels]
    entropy = F.cross_entropy(predictions.logits.transpose(1, 2), targets.labels, reduction="none")
    # Background has no deltas; its rows weigh nothing, whatever column is read.
    column = targets.labels.clamp(max=predictions.deltas.shape[2] - 1)
    deltas = predictions.deltas.gather(2, column[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    distance = (deltas - targets.delta_targets).abs().sum(-1)
    terms = {
        "roi_cls": (entropy * targets.class_weights * weights).sum(1),
        "roi_reg": (distance * targets.delta_weights * weights).sum(1),
    }
    given = slice(predictions.logits.shape[1] - predictions.given, None)
    chosen = options.capped(predictions.logits[:, given].gather(2, targets.object_labels[..., None])[..., 0])
    object_weights = targets.object_weights * weights[:, given]
    terms["roi_positive"] = -(chosen * object_weights).sum(1) / _POSITIVE_NORMALIZER
    if targets.mask_targets is not None and predictions.mask_logits is not None:
        terms["roi_mask"] = _mask_term(predictions.mask_logits, targets, targets.mask_targets, object_weights)
    return terms


def _mask_term(
    mask_logits: Float[Tensor, "batch object class side side"],
    targets: RoITargets,
    mask_targets: Float[Tensor, "batch object side side"],
    object_weights: Float[Tensor, "batch object"],
) -> Float[Tensor, " batch"]:
    index: Int64[Tensor, "batch object 1 1 1"] = targets.object_labels[..., None, None, None]
    side = mask_logits.shape[-1]
    logits = mask_logits.gather(2, index.expand(-1, -1, 1, side, side))[:, :, 0]
    entropy = F.binary_cross_entropy_with_logits(logits, mask_targets, reduction="none").mean((-2, -1))
    return (entropy * object_weights).sum(1) / targets.object_weights.sum(1).clamp(min=1)
