"""Raw, differentiable outputs of a detector: before any threshold, top-k or suppression.

Everything downstream sees detectors only through these classes: class columns are 0 ... K-1 without background
or unused columns, rows run over all locations of all levels, boxes are XYXY in the pixels of the network's input.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.assign import Assigner
from detinv.detectors.codec import BoxCodec


@dataclass(frozen=True)
class PostProcessing:
    """The constants of the detector's own, non-differentiable inference f.

    Args:
        score_thresh: candidates with a score at or below it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes of one class is suppressed.
        topk_candidates: most candidates kept per level before suppression.
        detections_per_image: most detections returned.
    """

    score_thresh: float
    nms_thresh: float
    topk_candidates: int
    detections_per_image: int


@dataclass(frozen=True)
class DenseHead:
    """What is constant about a dense head for one input size.

    Args:
        anchors: reference boxes, one for each row.
        level_sizes: how many rows each pyramid level owns, finest first; rows are ordered by level.
        codec: decodes the head's regression.
        assigner: which rows an object trains, as the detector's own training assigns them.
        post: the head's own post-processing.
    """

    anchors: Float[Tensor, "anchor 4"]
    level_sizes: tuple[int, ...]
    codec: BoxCodec
    assigner: Assigner
    post: PostProcessing

    @cached_property
    def levels(self) -> Int64[Tensor, " anchor"]:
        """Level number of each row, 0 = finest."""
        sizes = torch.tensor(self.level_sizes, device=self.anchors.device)
        numbers = torch.arange(len(self.level_sizes), device=self.anchors.device)
        return torch.repeat_interleave(numbers, sizes, output_size=len(self.anchors))


@dataclass(frozen=True)
class DensePredictions:
    """Outputs of a dense head: a one-stage detector's, or a region proposal network's (one class, "object").

    Args:
        logits: before the sigmoid, one column a class.
        deltas: what the head regresses; only `boxes` decodes it.
        head: the constants.
        quality_logits: FCOS's centre-ness; where present the score is sqrt(sigmoid(logit) * sigmoid(quality)).
    """

    logits: Float[Tensor, "batch anchor class"]
    deltas: Float[Tensor, "batch anchor 4"]
    head: DenseHead
    quality_logits: Float[Tensor, "batch anchor"] | None = None

    def boxes(self, rows: Int64[Tensor, "batch row"] | None = None) -> Float[Tensor, "batch row 4"]:
        """Decoded boxes in fp32, of all rows or of the chosen ones; gradient flows to the deltas."""
        deltas, anchors = self.deltas, self.head.anchors
        if rows is not None:
            deltas = deltas.gather(1, rows[..., None].expand(-1, -1, 4))
            anchors = anchors[rows]
        return self.head.codec.decode(deltas.float(), anchors.expand_as(deltas))

    def detach(self) -> "DensePredictions":
        """The same numbers without gradient."""
        quality = None if self.quality_logits is None else self.quality_logits.detach()
        return replace(self, logits=self.logits.detach(), deltas=self.deltas.detach(), quality_logits=quality)


@dataclass(frozen=True)
class RoIPredictions:
    """Outputs of the second stage at R regions of each image: the detector's proposals, then the boxes given to it.

    Args:
        rois: regions the head looked at; constants, no gradient flows into them.
        valid: false for rows that only fill up.
        logits: before the softmax, K classes and then background.
        deltas: class-specific regression relative to `rois`.
        codec: decodes it.
        levels: index of the pyramid level each region is pooled from, 0 = finest.
        given: how many of the last rows are the boxes given by the caller.
        post: the head's own post-processing; its score is the softmax.
        mask_logits: class-specific mask logits at the given boxes only.
    """

    rois: Float[Tensor, "batch roi 4"]
    valid: Bool[Tensor, "batch roi"]
    logits: Float[Tensor, "batch roi columns"]
    deltas: Float[Tensor, "batch roi class 4"]
    codec: BoxCodec
    levels: Int64[Tensor, "batch roi"]
    given: int
    post: PostProcessing
    mask_logits: Float[Tensor, "batch object class side side"] | None = None

    def detach(self) -> "RoIPredictions":
        """The same numbers without gradient."""
        masks = None if self.mask_logits is None else self.mask_logits.detach()
        return replace(self, logits=self.logits.detach(), deltas=self.deltas.detach(), mask_logits=masks)


@dataclass(frozen=True)
class Predictions:
    """All raw outputs of one forward pass.

    Args:
        dense: the one-stage head, or the proposal head of a two-stage detector.
        roi: the second stage, where there is one.
    """

    dense: DensePredictions
    roi: RoIPredictions | None = None

    def detach(self) -> "Predictions":
        """The same numbers without gradient."""
        return replace(self, dense=self.dense.detach(), roi=None if self.roi is None else self.roi.detach())
