"""Raw, differentiable outputs of a detector: before any threshold, top-k or suppression.

Everything downstream sees detectors only through these classes: class columns are 0 ... K-1 without background
or unused columns, rows run over all locations of all levels, boxes are XYXY in the pixels of the network's input.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assigner
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.scoring import Scoring


@dataclass(frozen=True)
class PostProcessing:
    """The constants of the detector's own, non-differentiable inference f.

    Args:
        score_thresh: candidates with a score at or below it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes of one class is suppressed; None where nothing is
            suppressed, because every object has one row of its own (set prediction, one-to-one heads).
        topk_candidates: most candidates kept before suppression, per ...
        detections_per_image: most detections returned.
        topk_per: ... "level", "class" or whole "image". A candidate is a pair of row and class.
        best_class_only: whether a row is a candidate for its best class alone.
        clip: whether boxes are clipped to the image "before" suppression, "after" it or "never".
        min_size: boxes with a side shorter than this many pixels, once clipped, are dropped before suppression.
        drop_empty: whether boxes without area, once clipped, are dropped at the end.
        class_offset: pixels by which the boxes of each class are moved apart before all classes are suppressed at
            once, where a library does so: far out, coordinates are rounded, and close calls may fall otherwise.
    """

    score_thresh: float
    nms_thresh: float | None
    topk_candidates: int
    detections_per_image: int
    topk_per: Literal["level", "class", "image"] = "level"
    best_class_only: bool = False
    clip: Literal["before", "after", "never"] = "before"
    min_size: float = 0.0
    drop_empty: bool = False
    class_offset: float | None = None

    @property
    def suppression(self) -> float:
        """`nms_thresh` as a number: infinite where nothing is suppressed."""
        return math.inf if self.nms_thresh is None else self.nms_thresh


@dataclass(frozen=True)
class DenseHead:
    """What is constant about a dense head for one input size.

    Args:
        anchors: reference boxes, one for each row.
        level_sizes: how many rows each pyramid level owns, finest first; rows are ordered by level.
        codec: decodes the head's regression.
        assigner: which rows an object trains, as the detector's own training assigns them; None for heads without
            suppression, whose rows and objects are matched at every step.
        post: the head's own post-processing.
        scoring: how the outputs become scores.
    """

    anchors: Float[Tensor, "anchor 4"]
    level_sizes: tuple[int, ...]
    codec: BoxCodec
    assigner: Assigner | None
    post: PostProcessing
    scoring: Scoring = field(default_factory=Scoring)

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
        logits: before sigmoid or softmax, one column a class, and then background where the head's scoring has it.
        deltas: what the head regresses; only `boxes` decodes it.
        head: the constants.
        quality_logits: a second factor of the score, such as FCOS's centre-ness; see `Scoring`.
        bins: logits of the distribution whose mean each delta is, for heads that regress one (distribution focal
            loss, Li et al. 2020); bin n stands for the value n.
        identities: what each row is, where a row's place does not say it: queries chosen anew in every pass are known
            by the token they were made of.
    """

    logits: Float[Tensor, "batch anchor column"]
    deltas: Float[Tensor, "batch anchor 4"]
    head: DenseHead
    quality_logits: Float[Tensor, "batch anchor"] | None = None
    bins: Float[Tensor, "batch anchor 4 bin"] | None = None
    identities: Int64[Tensor, "batch anchor"] | None = None

    @property
    def num_classes(self) -> int:
        """K, without the column for background."""
        return self.logits.shape[-1] - int(self.head.scoring.background)

    def scores(self) -> Float[Tensor, "batch anchor class"]:
        """What the head's own inference ranks, in [0, 1]."""
        return self.head.scoring.scores(self.logits, self.quality_logits)

    def log_scores(self) -> Float[Tensor, "batch anchor class"]:
        """Logarithms of the scores, in which no probability rounds to one."""
        return self.head.scoring.log_scores(self.logits, self.quality_logits)

    def best_log_scores(self) -> Float[Tensor, "batch anchor"]:
        """`log_scores` of each row's best class."""
        return self.head.scoring.best_log_scores(self.logits, self.quality_logits)

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
        bins = None if self.bins is None else self.bins.detach()
        return replace(
            self, logits=self.logits.detach(), deltas=self.deltas.detach(), quality_logits=quality, bins=bins
        )

    def outputs(self) -> list[Tensor]:
        """All raw outputs, with their gradient."""
        found = [self.logits, self.bins if self.bins is not None else self.deltas, self.quality_logits]
        return [output for output in found if output is not None]


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

    def outputs(self) -> list[Tensor]:
        """All raw outputs, with their gradient."""
        return [self.logits, self.deltas, *([] if self.mask_logits is None else [self.mask_logits])]


@dataclass(frozen=True)
class Predictions:
    """All raw outputs of one forward pass.

    Args:
        dense: the one-stage head or the queries of a set prediction; or the proposal head of a two-stage detector.
        roi: the second stage, where there is one.
        encoder: scores and boxes of the tokens among which a transformer chooses its queries, where it does: what is
            not chosen there cannot be decoded later.
    """

    dense: DensePredictions
    roi: RoIPredictions | None = None
    encoder: DensePredictions | None = None

    def detach(self) -> "Predictions":
        """The same numbers without gradient."""
        return Predictions(
            self.dense.detach(),
            None if self.roi is None else self.roi.detach(),
            None if self.encoder is None else self.encoder.detach(),
        )

    def outputs(self) -> list[Tensor]:
        """All raw outputs of all heads, with their gradient."""
        heads = (self.dense, self.roi, self.encoder)
        return [output for head in heads if head is not None for output in head.outputs()]
