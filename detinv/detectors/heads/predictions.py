"""Raw, differentiable outputs of a detector: before any threshold, top-k or suppression.

Everything downstream knows detectors only through these classes: class columns are 0 ... K-1 without background or
unused columns, rows run over all locations of all levels, and boxes are XYXY in pixels of the network's input.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.assigners import Assigner
from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.peaks import grid_shapes
from detinv.detectors.heads.scoring import Scoring
from detinv.errors import DetectorError


@dataclass(frozen=True)
class PostProcessing:
    """The constants of the detector's own, non-differentiable inference f.

    Args:
        score_thresh: candidates whose score is not above it are dropped.
        nms_thresh: IoU above which the lower-scored of two boxes is suppressed, for each ...; None for heads that give
            one row per object and need no suppression (set prediction, one-to-one heads), or have `peak_kernel` only.
        topk_candidates: largest number of candidates (pairs of row and class) kept before suppression, for each ...
        detections_per_image: largest number of detections returned.
        topk_per: ... "level", "class" or whole "image".
        best_class_only: whether a row is a candidate for its best class only.
        clip: whether boxes are clipped to the image "before" suppression, "after" it or "never".
        min_size: boxes with a side shorter than this, in pixels after clipping, are dropped before suppression.
        drop_empty: whether boxes with no area after clipping are dropped at the end.
        suppress_per: ... "class", or "level" as proposal heads do.
        class_offset: pixels by which the boxes of each class are shifted so that one suppression serves all classes,
            in libraries that do so. Large coordinates are rounded, which can change the outcome of close calls.
        peak_kernel: side, in cells, of a max pooling of the scores of each class on each level; only rows whose score
            equals the pooled one are candidates of the class, as in CenterNet. For heads with one row for each cell.

    Raises:
        ValueError: unless `peak_kernel` is odd and at least 3.
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
    suppress_per: Literal["class", "level"] = "class"
    class_offset: float | None = None
    peak_kernel: int | None = None

    def __post_init__(self) -> None:
        if self.peak_kernel is not None and (self.peak_kernel < 3 or self.peak_kernel % 2 == 0):
            raise ValueError(f"peak_kernel must be odd and at least 3, got {self.peak_kernel}")

    @property
    def suppresses(self) -> bool:
        """Return whether rows suppress others at all; else every row above the threshold is reported."""
        return self.nms_thresh is not None or self.peak_kernel is not None

    @property
    def suppression(self) -> float:
        """Return `nms_thresh` as a number, infinite where it is None."""
        return math.inf if self.nms_thresh is None else self.nms_thresh


@dataclass(frozen=True)
class DenseHead:
    """The constants of a dense head for one input size.

    Args:
        anchors: reference boxes, one per row.
        level_sizes: number of rows of each pyramid level, finest first; rows are ordered by level.
        codec: decodes the head's regression.
        assigner: assigns rows to objects as the detector's training does; None for heads without suppression, whose
            rows and objects are matched in every step.
        post: the head's own post-processing.
        scoring: how the outputs become scores.
        strides: pixels from one cell to the next of each level; None where only the anchors say so, see `strides_on`.

    Raises:
        ValueError: when the levels do not add up to the rows, or strides are not given for each of them; of a head that
            keeps local maxima, also when it has no assigner, not one row for each cell of a grid, or classes whose
            scores cannot be changed one at a time.
    """

    anchors: Float[Tensor, "anchor 4"]
    level_sizes: tuple[int, ...]
    codec: BoxCodec
    assigner: Assigner | None
    post: PostProcessing
    scoring: Scoring = field(default_factory=Scoring)
    strides: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if sum(self.level_sizes) != len(self.anchors):
            raise ValueError(f"levels of {self.level_sizes} rows, but {len(self.anchors)} anchors")
        if self.strides is not None and len(self.strides) != len(self.level_sizes):
            raise ValueError(f"{len(self.level_sizes)} levels need as many strides, got {self.strides}")
        if self.post.peak_kernel is not None:
            if self.assigner is None:
                raise ValueError("peak_kernel is a suppression, and a head with suppression needs an assigner")
            if self.scoring.activation != "sigmoid" or self.scoring.objectness:
                raise ValueError(f"peak_kernel needs a sigmoid for each class and no objectness, got {self.scoring}")
            # Also tells whether the rows lie on grids, before a step depends on it.
            _ = self.grids

    @cached_property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Return (rows, columns) of each level's cells, for heads with one row for each cell."""
        return grid_shapes(self.anchors, self.level_sizes)

    @cached_property
    def levels(self) -> Int64[Tensor, " anchor"]:
        """Return the level number of each row; 0 is the finest."""
        sizes = torch.tensor(self.level_sizes, device=self.anchors.device)
        numbers = torch.arange(len(self.level_sizes), device=self.anchors.device)
        return torch.repeat_interleave(numbers, sizes, output_size=len(self.anchors))

    def strides_on(self, canvas: tuple[int, int]) -> tuple[int, ...]:
        """Return the stride of each level, in pixels: as declared, or from how many columns its anchors have.

        Args:
            canvas: (height, width) of the network's input.
        """
        return level_strides(self.anchors, self.level_sizes, canvas) if self.strides is None else self.strides


def level_strides(
    anchors: Float[Tensor, "anchor 4"], level_sizes: Sequence[int], canvas: tuple[int, int]
) -> tuple[int, ...]:
    """Return the stride of each level of a dense head, from how many columns its anchors have.

    Args:
        anchors: XYXY in pixels of the canvas, ordered by level; those of one cell share their centre.
        level_sizes: how many each level has.
        canvas: (height, width).
    """
    centres = (anchors[:, 0] + anchors[:, 2]) / 2
    columns = [len((1e3 * level).round().unique()) for level in centres.split(list(level_sizes))]
    return tuple(round(canvas[1] / count) for count in columns)


@dataclass(frozen=True)
class DensePredictions:
    """Outputs of a dense head: a one-stage detector's, or a region proposal network's (one class, "object").

    Each row reports an object or none, and its targets are those of all outputs that it is made of. Where a network
    computes an output once for several rows, such as the classes of a cell that has several boxes, repeat it for each
    of them (`expand` copies nothing). The assigner must then give rows that share an output to the same object, or
    objects of two classes ask opposite things of it.

    Args:
        logits: before sigmoid or softmax, one column per class, then background where the head has it.
        deltas: the head's regression, which `boxes` decodes.
        head: the constants.
        quality_logits: logit of a second factor of the score, such as FCOS's centre-ness; see `Scoring`.
        bins: logits of the distribution whose mean each delta is, for heads that regress a distribution (distribution
            focal loss, Li et al. 2020); bin n stands for the value n.
        identities: what identifies each row in every pass, where its position does not: for queries that are chosen
            again in every pass, the token that each was made from.
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
        """Return the scores that the head's own inference ranks, in [0, 1]."""
        return self.head.scoring.scores(self.logits, self.quality_logits)

    def log_scores(self) -> Float[Tensor, "batch anchor class"]:
        """Return the logarithms of the scores, in which no probability rounds to one."""
        return self.head.scoring.log_scores(self.logits, self.quality_logits)

    def best_log_scores(self) -> Float[Tensor, "batch anchor"]:
        """Return `log_scores` of each row's best class."""
        return self.head.scoring.best_log_scores(self.logits, self.quality_logits)

    def boxes(self, rows: Int64[Tensor, "batch row"] | None = None) -> Float[Tensor, "batch row 4"]:
        """Decode the boxes of all rows, or of the chosen ones, in fp32; gradient flows to the deltas."""
        deltas, anchors = self.deltas, self.head.anchors
        if rows is not None:
            deltas = deltas.gather(1, rows[..., None].expand(-1, -1, 4))
            anchors = anchors[rows]
        return self.head.codec.decode(deltas.float(), anchors.expand_as(deltas))

    def places(
        self, images: Int64[Tensor, "*target"], names: Int64[Tensor, "*target"]
    ) -> tuple[Int64[Tensor, "*target"], Bool[Tensor, "*target"]]:
        """Find rows in this pass by what they are in every pass: themselves, or one of `identities`.

        Args:
            images: number of the image in the batch.
            names: of the rows.

        Returns:
            rows, and which of them exist in this pass; 0 for the others.
        """
        if self.identities is None:
            return names, torch.ones_like(names, dtype=torch.bool)
        present, rows = (names[..., None] == self.identities[images]).max(-1)
        return rows, present

    def detach(self) -> "DensePredictions":
        """Return the same numbers without gradient."""
        quality = None if self.quality_logits is None else self.quality_logits.detach()
        bins = None if self.bins is None else self.bins.detach()
        return replace(
            self, logits=self.logits.detach(), deltas=self.deltas.detach(), quality_logits=quality, bins=bins
        )

    def outputs(self) -> list[Tensor]:
        """Return all raw outputs, with their gradient."""
        found = [self.logits, self.bins if self.bins is not None else self.deltas, self.quality_logits]
        return [output for output in found if output is not None]


@dataclass(frozen=True)
class RoIPredictions:
    """Outputs of the second stage at R regions of each image: the detector's own proposals, then the given regions.

    Args:
        rois: the regions; constants, no gradient flows into them.
        valid: false for rows that are padding.
        logits: before the softmax, K classes and then background.
        deltas: class-specific regression relative to `rois`.
        codec: decodes the deltas.
        levels: index of the pyramid level from which each region is pooled; 0 is the finest.
        given: number of given regions, which are the last rows.
        post: the head's own post-processing; its score is the softmax.
        mask_logits: class-specific mask logits at the given regions only.
        sources: row of the proposal head from which each of the detector's own proposals was decoded; None if the
            adapter does not know.

    Raises:
        ValueError: when `post` has a `peak_kernel`.
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
    sources: Int64[Tensor, "batch proposal"] | None = None

    def __post_init__(self) -> None:
        if self.post.peak_kernel is not None:
            raise ValueError("peak_kernel is for rows that are cells of a grid; regions of a second stage are not")

    def detach(self) -> "RoIPredictions":
        """Return the same numbers without gradient."""
        masks = None if self.mask_logits is None else self.mask_logits.detach()
        return replace(self, logits=self.logits.detach(), deltas=self.deltas.detach(), mask_logits=masks)

    def outputs(self) -> list[Tensor]:
        """Return all raw outputs, with their gradient."""
        return [self.logits, self.deltas, *([] if self.mask_logits is None else [self.mask_logits])]


@dataclass(frozen=True)
class Predictions:
    """All raw outputs of one forward pass.

    Args:
        dense: the one-stage head or the queries of a set prediction; or the proposal head of a two-stage detector.
        roi: the second stage, where there is one.
        encoder: scores and boxes of the tokens from which a transformer selects its queries, if it does: a token that
            is not selected is never decoded.
    """

    dense: DensePredictions
    roi: RoIPredictions | None = None
    encoder: DensePredictions | None = None

    def detach(self) -> "Predictions":
        """Return the same numbers without gradient."""
        return Predictions(
            self.dense.detach(),
            None if self.roi is None else self.roi.detach(),
            None if self.encoder is None else self.encoder.detach(),
        )

    def check_gradient(self, detector: object) -> None:
        """Check that anything computed with gradients enabled has one.

        Args:
            detector: whose outputs these are.

        Raises:
            DetectorError: when no output has.
        """
        if not any(output.requires_grad for output in self.outputs()):
            raise DetectorError(
                f"{type(detector).__name__}: no gradient passes from the raw predictions to the pixels; forward() must "
                "neither detach() nor run within torch.no_grad()"
            )

    def outputs(self) -> list[Tensor]:
        """Return all raw outputs of all heads, with their gradient."""
        heads = (self.dense, self.roi, self.encoder)
        return [output for head in heads if head is not None for output in head.outputs()]
