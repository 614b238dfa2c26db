"""Loss terms of each kind of head: (predictions, targets) to one value per image, in fp32.

Legend: B images, R rows, K classes, M object slots, P regions, w level weights.
All sums are over the rows of one image only, so that images of a batch do not influence each other.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from detinv.detectors.heads.predictions import DensePredictions, RoIPredictions
from detinv.detectors.heads.scoring import Scoring
from detinv.inversion.targets.base import DenseTargets, ProposalTargets, RoITargets
from detinv.inversion.targets.shared import take
from detinv.layouts.boxes import generalized_iou

# The published normaliser of the positive term: a running mean in training that stays at its start value.
_POSITIVE_NORMALIZER = 100.0
# What the largest distance stays below the last bin, so that there is always a bin above it.
_BIN_MARGIN = 0.01

Terms = dict[str, Float[Tensor, " batch"]]


@dataclass(frozen=True)
class TermOptions:
    """Where the terms may leave their published form.

    Args:
        positive_cap: value above which the positive term asks for no more; null for never, as published.
        log_odds: whether the positive term raises the log-odds of an object's class, which mean the same for every
            head, or its raw logit, as published.
        deltas: whether heads with suppression have the term of that name.
        background_rows: over how many rows the classification of those that stand for no object is averaged at least;
            null averages all compared rows together, as published, so that a stray one weighs the less the more
            objects there are.
    """

    positive_cap: float | None = None
    log_odds: bool = False
    deltas: bool = False
    background_rows: int | None = None

    def evidence(
        self, logits: Float[Tensor, "batch object column"], labels: Int64[Tensor, "batch object"], sigmoid: bool
    ) -> Float[Tensor, "batch object"]:
        """Return what the positive term raises for each object, from the logits at its row.

        Under a softmax, a logit alone means nothing: its class is as likely as the others allow. Under sigmoids it is
        the log-odds, whatever the others are.

        Args:
            sigmoid: whether the columns are independent.
        """
        wanted = logits.gather(2, labels[..., None])
        if self.log_odds and not sigmoid:
            others = logits.scatter(2, labels[..., None], -torch.inf)
            wanted = wanted - others.logsumexp(-1, keepdim=True)
        return wanted[..., 0] if self.positive_cap is None else wanted[..., 0].clamp(max=self.positive_cap)


def dense_terms(
    predictions: DensePredictions,
    targets: DenseTargets,
    level_weights: Float[Tensor, " level"],
    options: TermOptions | None = None,
) -> Terms:
    """Terms of a one-stage head or of queries.

    - cls: per compared row, sigmoid focal loss (alpha 0.25, gamma 2), or cross-entropy where the head has a softmax;
    - reg: 1 - GIoU of decoded box and object, per row that stands for an object;
    - positive: minus the evidence of each object's class at its best row, over 100; see `TermOptions`;
    - centerness or objectness, with a quality output: binary cross-entropy, per compared row;
    - dfl, where distributions are regressed: cross-entropy of the two bins around each distance, per row of an object;
    - l1, without suppression: L1 distance in the head's own code, per row of an object;
    - deltas, with suppression and where it is asked for: the same. GIoU hardly tells a small object in a large box from
      one in a larger box; its code does.

    Source: section B.3 of the method as published in code; the paper's equation 9 says cross-entropy for "cls". "dfl":
    Li et al. 2020, equation 6; "l1": Carion et al. 2020, section 3.1.
    Departures: normalised per image, never by zero; see `TermOptions`.
    """
    options = options or TermOptions()
    head = predictions.head
    weights = level_weights[head.levels]
    row_weights = weights[targets.rows]
    # Read once: each reading has a gradient as large as all logits.
    count = targets.rows.shape[1]
    logits = take(predictions.logits, torch.cat([targets.rows, targets.positive_rows], dim=1))
    losses = _class_loss(logits[:, :count], targets, head.scoring)
    terms = {"cls": _mean_of_rows(losses * row_weights, targets.class_weights.amax(-1), targets, options)}

    giou = generalized_iou(predictions.boxes(targets.rows), targets.box_targets)
    matched = targets.box_weights.sum(1).clamp(min=1)
    box_weights = targets.box_weights * row_weights
    terms["reg"] = ((1 - giou) * box_weights).sum(1) / matched

    chosen = options.evidence(logits[:, count:], targets.positive_labels, head.scoring.activation == "sigmoid")
    object_weights = targets.positive_weights * weights[targets.positive_rows]
    terms["positive"] = -(chosen * object_weights).sum(1) / _POSITIVE_NORMALIZER
    if predictions.quality_logits is not None and targets.quality_targets is not None:
        assert targets.quality_weights is not None
        entropy = F.binary_cross_entropy_with_logits(
            take(predictions.quality_logits, targets.rows), targets.quality_targets, reduction="none"
        )
        name = "objectness" if head.scoring.objectness else "centerness"
        terms[name] = _mean_of_rows(
            entropy * targets.quality_weights * row_weights, targets.quality_weights, targets, options
        )
    one_to_one = not head.post.suppresses
    if predictions.bins is not None or one_to_one or options.deltas:
        code = head.codec.encode(targets.box_targets, head.anchors[targets.rows])
        if predictions.bins is not None:
            terms["dfl"] = (_bin_loss(take(predictions.bins, targets.rows), code) * box_weights).sum(1) / matched
        else:
            distance = (take(predictions.deltas, targets.rows) - code).abs().sum(-1)
            # An empty slot's box has no code.
            distance = distance.masked_fill(targets.box_weights == 0, 0)
            terms["l1" if one_to_one else "deltas"] = (distance * box_weights).sum(1) / matched
    return terms


def _mean_of_rows(
    losses: Float[Tensor, "batch row"],
    compared: Float[Tensor, "batch row"],
    targets: DenseTargets,
    options: TermOptions,
) -> Float[Tensor, " batch"]:
    """Mean over the compared rows, or the sum of the means over those that stand for objects and over the others.

    Args:
        losses: weighted, so that those of rows that are not compared are 0.
        compared: 1 for a row that is, else 0.
    """
    if options.background_rows is None:
        return losses.sum(1) / compared.sum(1).clamp(min=1)
    objects, others = (targets.box_weights > 0).float(), (targets.box_weights <= 0).float()
    return (losses * objects).sum(1) / (compared * objects).sum(1).clamp(min=1) + (losses * others).sum(1) / (
        compared * others
    ).sum(1).clamp(min=options.background_rows)


def _class_loss(
    logits: Float[Tensor, "batch row column"], targets: DenseTargets, scoring: Scoring
) -> Float[Tensor, "batch row"]:
    """Loss of each row's classification, weighted."""
    if scoring.activation == "sigmoid":
        focal = sigmoid_focal_loss(logits, targets.class_targets, alpha=0.25, gamma=2.0)
        return (focal * targets.class_weights).sum(-1)
    wanted = targets.class_targets
    if scoring.background:
        wanted = torch.cat([wanted, 1 - wanted.sum(-1, keepdim=True)], dim=-1)
    # Without a column for background, a row of no class wants none: its objectness pushes it down.
    return -(wanted * logits.log_softmax(-1)).sum(-1) * targets.class_weights.amax(-1)


def _bin_loss(
    bins: Float[Tensor, "batch row 4 bin"], distances: Float[Tensor, "batch row 4"]
) -> Float[Tensor, "batch row"]:
    """Cross-entropy of the two bins around each distance, mean over the four sides."""
    distances = distances.clamp(0, bins.shape[-1] - 1 - _BIN_MARGIN)
    low = distances.floor()
    share = distances - low
    logs = bins.log_softmax(-1)
    index = low.long()[..., None]
    below, above = logs.gather(-1, index)[..., 0], logs.gather(-1, index + 1)[..., 0]
    return -((1 - share) * below + share * above).mean(-1)


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
    - roi_positive: minus the evidence of each object's class at the object's own box, over 100;
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
    chosen = options.evidence(predictions.logits[:, given], targets.object_labels, sigmoid=False)
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
