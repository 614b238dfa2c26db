"""Boxes and scores of all raw predictions of the stage that reports detections, before threshold and suppression.

Legend: B images, R rows, K classes.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from detinv.detectors.heads.predictions import Predictions, RoIPredictions


@dataclass(frozen=True)
class RawOutputs:
    """Scores of all rows, and their boxes on the canvas.

    Args:
        scores: of each class, in [0, 1], as inference ranks them; 0 for rows that are padding.
        background: probability that a row shows nothing: of a softmax with such a column its own; otherwise what the
            best class leaves of one.
    """

    scores: Float[Tensor, "image row class"]
    background: Float[Tensor, "image row"]
    _predictions: Predictions

    def boxes(self) -> Float[Tensor, "image row 4"]:
        """Return the box of each row; where each class has its own, that of its best class."""
        return self._boxes(self.scores.argmax(2))

    def boxes_of(self, labels: Int64[Tensor, " image"]) -> Float[Tensor, "image row 4"]:
        """Return the box of each row; where each class has its own, that of the class asked for in each image."""
        return self._boxes(labels[:, None].expand(self.scores.shape[:2]))

    def highest(
        self, count: int
    ) -> tuple[Float[Tensor, "image row 4"], Float[Tensor, "image row class"], Float[Tensor, "image row"]]:
        """Return the rows whose best class scores highest, as many as `count` or all: boxes, scores, best score.

        Only these rows' boxes are decoded. Where each class has a box of its own, it is that of the row's best class.
        """
        best, rows = self.scores.amax(2).topk(min(count, self.scores.shape[1]), dim=1)
        scores = self.scores.gather(1, rows[..., None].expand(-1, -1, self.scores.shape[2]))
        return self._boxes(scores.argmax(2), rows), scores, best

    def _boxes(
        self, labels: Int64[Tensor, "image row"], rows: Int64[Tensor, "image row"] | None = None
    ) -> Float[Tensor, "image row 4"]:
        roi = self._predictions.roi
        if roi is None:
            return self._predictions.dense.boxes(rows)
        deltas, rois = roi.deltas, roi.rois
        if rows is not None:
            deltas = deltas.gather(1, rows[..., None, None].expand(-1, -1, *deltas.shape[2:]))
            rois = rois.gather(1, rows[..., None].expand(-1, -1, 4))
        mine = deltas.gather(2, labels[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
        return roi.codec.decode(mine.float(), rois)


def raw_outputs(predictions: Predictions) -> RawOutputs:
    """Return what the last stage predicts at its own rows."""
    roi = predictions.roi
    if roi is None:
        dense = predictions.dense
        scores = dense.scores()
        background = 1 - scores.amax(-1)
        if dense.head.scoring.background:
            background = dense.logits.softmax(-1)[..., -1]
        return RawOutputs(scores, background, predictions)
    return _of_regions(roi, predictions)


def _of_regions(roi: RoIPredictions, predictions: Predictions) -> RawOutputs:
    probabilities = roi.logits.softmax(-1)
    there = roi.valid[..., None]
    return RawOutputs(probabilities[..., :-1] * there, probabilities[..., -1].where(roi.valid, 1.0), predictions)
