"""Which raw predictions are meant, and what the network's last stage predicts there, with gradient.

Legend: N targets (any shape), B images, A rows of a dense head, P proposals, G given regions, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from detinv.detectors.heads.codec import BoxCodec
from detinv.detectors.heads.predictions import DensePredictions, Predictions, RoIPredictions
from detinv.detectors.heads.scoring import Scoring
from detinv.errors import DetectorError
from detinv.layouts.layout import Detections

_SECOND_STAGE = Scoring("softmax", background=True)


@dataclass(frozen=True)
class TargetRows:
    """Which raw predictions are meant: N of them, of any images of a batch, in tensors of one shape.

    Args:
        images: number of the image in the batch.
        rows: row of the dense head in this pass; of a two-stage detector, number among its own proposals.
        labels: class that is asked about, 0 ... K-1.
        given: whether `rows` count the regions handed to `forward`, instead of the detector's own proposals.
        proposal_rows: rows of the proposal head, for "objectness" at given regions.
        boxes: XYXY in pixels of the network's input with which "box" compares; for example those of another pass.

    Raises:
        ValueError: when shapes differ, or a row is negative, as that of an unmatched detection is. The latter is not
            checked on an accelerator, which would have to wait for it.
    """

    images: Int64[Tensor, "*target"]
    rows: Int64[Tensor, "*target"]
    labels: Int64[Tensor, "*target"]
    given: bool = False
    proposal_rows: Int64[Tensor, "*target"] | None = None
    boxes: Float[Tensor, "*target 4"] | None = None

    def __post_init__(self) -> None:
        if not self.images.shape == self.rows.shape == self.labels.shape:
            raise ValueError(
                "images, rows and labels must have one shape, got "
                f"{tuple(self.images.shape)}, {tuple(self.rows.shape)} and {tuple(self.labels.shape)}"
            )
        if self.rows.device.type == "cpu" and self.rows.numel() and int(self.rows.min()) < 0:
            raise ValueError("a row is negative: leave out detections whose row is not known")

    @classmethod
    def of_batch(
        cls, rows: Int64[Tensor, "batch object"], labels: Int64[Tensor, "batch object"], given: bool = False
    ) -> "TargetRows":
        """Build targets from the same number of rows for each image of a batch; their shape is (batch, object)."""
        images = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
        return cls(images, rows, labels, given)

    @classmethod
    def of_detections(cls, predictions: Predictions, detections: Sequence[Detections]) -> "TargetRows":
        """Build targets from the rows of detections, concatenated over images, on the device of the predictions.

        Queries that each pass chooses again are found by the token they were made from. A two-stage detector's
        own proposals move with the pixels: in another pass hand `Detections.regions` to `forward`, and use `given`.

        Args:
            predictions: of the images that the detections are of.
            detections: one for each image of the batch, with rows; see `detinv.detectors.locate.locate_rows`.

        Raises:
            ValueError: for a detection whose row is not known, or whose query does not exist in this pass.
        """
        device = predictions.dense.logits.device
        if len(detections) != len(predictions.dense.logits):
            raise ValueError(f"{len(detections)} images with detections, {len(predictions.dense.logits)} predicted")
        for image, found in enumerate(detections):
            if found.rows is None or bool((found.rows < 0).any()):
                raise ValueError(
                    f"image {image}: the row of a detection is not known; locate them, and select those whose row "
                    "is not negative"
                )
        counts = torch.tensor([len(found) for found in detections])
        images = torch.repeat_interleave(torch.arange(len(detections)), counts).to(device)
        rows = torch.cat([found.rows for found in detections if found.rows is not None]).to(device)
        labels = torch.cat([found.labels for found in detections]).to(device)
        if predictions.roi is None and predictions.dense.identities is not None:
            rows, present = predictions.dense.places(images, rows)
            if not bool(present.all()):
                missing = int((~present).nonzero()[0])
                raise ValueError(f"image {int(images[missing])}: the query of a detection was not chosen in this pass")
        return cls(images, rows, labels)

    def to(self, device: torch.device | str) -> "TargetRows":
        """Return the same rows on another device."""
        values = {name: getattr(self, name) for name in ("images", "rows", "labels", "proposal_rows", "boxes")}
        moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if value is not None}
        return replace(self, **moved)


@dataclass(frozen=True)
class RowOutputs:
    """Raw outputs of a detector's last stage at chosen rows, with their gradient.

    Args:
        logits: K classes and, where the head has it, background.
        deltas: what the head regresses; of a second stage, for the target's class.
        anchors: anchor of a dense head's row, or region of a second stage.
        codec, scoring: of the head.
        quality_logits: centre-ness or objectness of each row, where the head has one.
    """

    logits: Float[Tensor, "*target column"]
    deltas: Float[Tensor, "*target 4"]
    anchors: Float[Tensor, "*target 4"]
    codec: BoxCodec
    scoring: Scoring
    quality_logits: Float[Tensor, "*target"] | None = None

    def class_logits(self) -> Float[Tensor, "*target class"]:
        """Return the logits of the K classes, without background."""
        return self.logits[..., :-1] if self.scoring.background else self.logits

    def scores(self) -> Float[Tensor, "*target class"]:
        """Return the scores of all classes in [0, 1], rounded as inference rounds them; for reports, not gradients."""
        return self.scoring.scores(self.logits, self.quality_logits)

    def probabilities(self) -> Float[Tensor, "*target class"]:
        """Return the class probabilities in [0, 1], without the quality output that the score may include."""
        return self.scoring.scores(self.logits, None)

    def log_probability(self, labels: Int64[Tensor, "*target"]) -> Float[Tensor, "*target"]:
        """Return the logarithm of one class's probability; it has a gradient even where the probability rounds to 1."""
        own = of_class(self.logits, labels)
        if self.scoring.activation == "sigmoid":
            return F.logsigmoid(own)
        # The derivative of a log-softmax is one minus the probability, which rounds to zero; this one does not.
        lowest = torch.finfo(self.logits.dtype).min
        return F.logsigmoid(own - self.logits.masked_fill(is_class(self.logits, labels), lowest).logsumexp(-1))

    def log_score(self, labels: Int64[Tensor, "*target"]) -> Float[Tensor, "*target"]:
        """Return the logarithm of one class's score; it has a gradient even where the score rounds to 1."""
        found = self.log_probability(labels)
        if self.quality_logits is None:
            return found
        return self.scoring.class_power * found + self.scoring.quality_power * F.logsigmoid(self.quality_logits)

    def boxes(self) -> Float[Tensor, "*target 4"]:
        """Decode boxes XYXY in pixels of the network's input, not clipped, in fp32 or higher precision."""
        precise = torch.promote_types(self.deltas.dtype, torch.float32)
        return self.codec.decode(self.deltas.to(precise), self.anchors)


def row_outputs(stage: DensePredictions | RoIPredictions, rows: TargetRows) -> RowOutputs:
    """Return the raw outputs of a dense head or of a second stage at the rows, with their gradient.

    Raises:
        DetectorError: for given regions of a dense head, or of a pass to which none were given.
    """
    images, index = rows.images, rows.rows
    if isinstance(stage, RoIPredictions):
        proposals = stage.rois.shape[1] - stage.given
        if rows.given and not stage.given:
            raise DetectorError("no regions were given to the forward pass that is asked about them")
        # A number beyond the proposals must not reach into the given regions.
        part = slice(proposals, None) if rows.given else slice(proposals)
        return RowOutputs(
            stage.logits[:, part][images, index],
            stage.deltas[:, part][images, index, rows.labels],
            stage.rois[:, part][images, index],
            stage.codec,
            _SECOND_STAGE,
        )
    if rows.given:
        raise DetectorError("this detector has no second stage, so it cannot be asked about given regions")
    quality = None if stage.quality_logits is None else stage.quality_logits[images, index]
    return RowOutputs(
        stage.logits[images, index],
        stage.deltas[images, index],
        stage.head.anchors[index],
        stage.head.codec,
        stage.head.scoring,
        quality,
    )


def of_class(values: Float[Tensor, "*target class"], labels: Int64[Tensor, "*target"]) -> Float[Tensor, "*target"]:
    """Return the value of one class at each target."""
    return values.gather(-1, labels[..., None])[..., 0]


def is_class(
    logits: Float[Tensor, "*target column"], labels: Int64[Tensor, "*target"]
) -> Bool[Tensor, "*target column"]:
    """Return where the column is that of the target's class."""
    return labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)
