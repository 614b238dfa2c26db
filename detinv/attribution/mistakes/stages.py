"""Where in the detector's inference an object was lost.

Legend: R rows of the last stage, N objects of one image.
"""

from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Bool, Float
from torch import Tensor

from detinv.attribution.mistakes.replay import Replay
from detinv.detectors.heads.trace import Fate
from detinv.layouts.boxes import pairwise_iou
from detinv.layouts.layout import Layout

# Overlaps that differ by less are equal.
_ROUNDING = 1e-6


class Stage(StrEnum):
    """Where an object was lost."""

    NO_PROPOSAL = "proposal missing"
    NO_ROW = "no row had its box"
    OTHER_CLASS = "another class won"
    LOW_SCORE = "score too low"
    NO_MAXIMUM = "no local maximum"
    BEYOND_CANDIDATES = "beyond the top-k before suppression"
    TOO_SMALL = "box too small"
    SUPPRESSED = "suppressed"
    BEYOND_DETECTIONS = "beyond the detections per image"
    CLAIMED = "its detection went to another object"


_OF_FATE = {
    Fate.LOW_SCORE: Stage.LOW_SCORE,
    Fate.OTHER_CLASS: Stage.OTHER_CLASS,
    Fate.NO_MAXIMUM: Stage.NO_MAXIMUM,
    Fate.BEYOND_CANDIDATES: Stage.BEYOND_CANDIDATES,
    Fate.TOO_SMALL: Stage.TOO_SMALL,
    Fate.SUPPRESSED: Stage.SUPPRESSED,
    Fate.BEYOND_DETECTIONS: Stage.BEYOND_DETECTIONS,
    Fate.EMPTY: Stage.TOO_SMALL,
    Fate.REPORTED: Stage.CLAIMED,
}


@dataclass(frozen=True)
class Candidate:
    """A raw prediction of one class.

    Args:
        number: row * K + class; see `Trace`.
        row: its name, as in `Detections.rows`.
        place: its row in this pass; of a second stage, the number of the proposal.
        label: class number.
        box: XYXY in pixels of the image.
        score: of the class, in [0, 1].
        iou: with the object in question.
        best_label, best_score: the row's best class.
        region: XYXY of the proposal it was predicted at, in pixels of the image.
        region_iou: of the proposal with the object in question.
        detection: number of the detection it became, -1 for none.
    """

    number: int
    row: int
    place: int
    label: int
    box: Float[Tensor, " 4"]
    score: float
    iou: float
    best_label: int
    best_score: float
    region: Float[Tensor, " 4"] | None = None
    region_iou: float = 0.0
    detection: int = -1


@dataclass(frozen=True)
class Loss:
    """How an object was lost.

    Args:
        stage: where.
        nearest: the candidate that came nearest to finding it: of those that had its box the one that came furthest; of
            the others, the one of highest IoU. None where a second stage received no region at all.
        winner: where another class won, the candidate of that class.
        suppressor: where it was suppressed, or was no local maximum, by which candidate.
        anchor: where the proposal is missing, the fate of the anchor that had its box and came furthest in the proposal
            head; None where no anchor had it.
        limit: the constant of the post-processing that it did not meet: the score threshold, the side of the max
            pooling in cells, the IoU of suppression, or the number of candidates or detections.
    """

    stage: Stage
    nearest: Candidate | None
    winner: Candidate | None = None
    suppressor: Candidate | None = None
    anchor: Fate | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Losses:
    """Finds where the objects of one image were lost.

    A row had an object's box where their IoU reaches `fg_iou_thresh`, and no other object overlaps the row's
    box more. Of the rows that had it, the one that passed most steps of the post-processing tells the stage. Where
    that one was reported, its detection counts for another object that it overlaps as much.

    Args:
        replay: of the image.
        truth: the image's objects.
        fg_iou_thresh: IoU.
    """

    replay: Replay
    truth: Layout
    fg_iou_thresh: float

    def of(self, number: int) -> Loss:
        """Tell where an object was lost that no detection found."""
        trace, label = self.replay.trace, int(self.truth.labels[number])
        mine = self._had_box(number)
        own = mine[:, label if mine.shape[1] > 1 else 0]
        fates, scores = trace.fates[:, label], trace.scores[:, label]
        furthest = int(fates[own].max()) if bool(own.any()) else None
        if furthest is None or furthest == Fate.LOW_SCORE:
            winner = self._winner(number, label, mine)
            if winner is not None:
                return Loss(Stage.OTHER_CLASS, self._candidate(number, winner.place, label), winner)
        if furthest is None:
            return self._without_box(number, label)
        at = own & (fates == furthest)
        row = int(scores.masked_fill(~at, -1.0).argmax())
        nearest, stage = self._candidate(number, row, label), _OF_FATE[Fate(furthest)]
        limit = {
            Stage.LOW_SCORE: trace.post.score_thresh,
            Stage.NO_MAXIMUM: trace.post.peak_kernel,
            Stage.BEYOND_CANDIDATES: trace.post.topk_candidates,
            Stage.SUPPRESSED: trace.post.nms_thresh,
            Stage.BEYOND_DETECTIONS: trace.post.detections_per_image,
        }.get(stage)
        if stage == Stage.OTHER_CLASS:
            return Loss(stage, nearest, self._candidate(number, row, nearest.best_label))
        if stage in (Stage.NO_MAXIMUM, Stage.SUPPRESSED):
            by = trace.suppressor(nearest.number)
            classes = trace.scores.shape[1]
            return Loss(stage, nearest, suppressor=self._candidate(number, by // classes, by % classes), limit=limit)
        return Loss(stage, nearest, limit=limit)

    def _had_box(self, number: int) -> Bool[Tensor, "row box_class"]:
        """Tell which rows had an object's box, for each class where boxes differ."""
        boxes = self.replay.boxes
        iou = pairwise_iou(boxes.flatten(0, 1), self.truth.boxes)
        own = iou[:, number]
        had = (own >= self.fg_iou_thresh) & (own >= iou.amax(1) - _ROUNDING)
        if self.replay.valid is not None:
            had = had & self.replay.valid.repeat_interleave(boxes.shape[1])
        return had.view(boxes.shape[:2])

    def _winner(self, number: int, label: int, mine: Bool[Tensor, "row box_class"]) -> Candidate | None:
        """Return the best candidate of another class that had the object's box and a sufficient score."""
        trace = self.replay.trace
        rivals = mine & (trace.fates > Fate.LOW_SCORE)
        rivals[:, label] = False
        if not bool(rivals.any()):
            return None
        best = int(trace.scores.masked_fill(~rivals, -1.0).argmax())
        return self._candidate(number, best // trace.scores.shape[1], best % trace.scores.shape[1])

    def _without_box(self, number: int, label: int) -> Loss:
        """Tell how an object was lost whose box no row of its class had."""
        box = self.truth.boxes[number][None]
        regions, valid = self.replay.regions, self.replay.valid
        if regions is None or valid is None:
            return Loss(Stage.NO_ROW, self._candidate(number, self._closest(self.replay.boxes_of(label), box), label))
        if not bool(valid.any()):
            return Loss(Stage.NO_PROPOSAL, None, anchor=self._anchor(box))
        iou = pairwise_iou(regions, box)[:, 0].masked_fill(~valid, -1.0)
        nearest = self._candidate(number, int(iou.argmax()), label)
        if float(iou.max()) >= self.fg_iou_thresh:
            return Loss(Stage.NO_ROW, nearest)
        return Loss(Stage.NO_PROPOSAL, nearest, anchor=self._anchor(box))

    def _anchor(self, box: Float[Tensor, "1 4"]) -> Fate | None:
        """Return how far the object came in the proposal head: None if no anchor had its box, or it is not known."""
        proposals, proposed = self.replay.proposals, self.replay.proposed
        if proposals is None or proposed is None:
            return None
        had = pairwise_iou(proposed, box)[:, 0] >= self.fg_iou_thresh
        return Fate(int(proposals.fates[had].max())) if bool(had.any()) else None

    def _closest(self, boxes: Float[Tensor, "row 4"], box: Float[Tensor, "1 4"]) -> int:
        return int(pairwise_iou(boxes, box)[:, 0].argmax())

    def _candidate(self, number: int, row: int, label: int) -> Candidate:
        return self.candidate(number, row * self.replay.trace.scores.shape[1] + label)

    def candidate(self, number: int, candidate: int) -> Candidate:
        """Describe a candidate by its number.

        Args:
            number: of the object that it is compared with; -1 for none, to which its IoU is 0.
        """
        replay, trace = self.replay, self.replay.trace
        row, label = candidate // trace.scores.shape[1], candidate % trace.scores.shape[1]
        box = replay.box(row, label)
        best_score, best_label = trace.scores[row].max(0)
        region = None if replay.regions is None else replay.regions[row]
        compared = [
            float(pairwise_iou(one[None], self.truth.boxes[number][None])[0, 0])
            if number >= 0 and one is not None
            else 0.0
            for one in (box, region)
        ]
        return Candidate(
            candidate,
            int(replay.names[row]),
            row,
            label,
            box,
            float(trace.scores[row, label]),
            compared[0],
            int(best_label),
            float(best_score),
            region,
            compared[1],
            replay.detection_of(candidate),
        )
