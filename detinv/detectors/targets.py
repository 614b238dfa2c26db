"""Scalars of single raw predictions, with gradient: what an attribution, an attack or a loss asks of a detector.

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
from detinv.layouts.boxes import paired_iou
from detinv.layouts.layout import Detections

SIDES = ("left", "top", "right", "bottom")
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
        """Rows of each image of a batch, the same number of each; targets have the shape (batch, object)."""
        images = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
        return cls(images, rows, labels, given)

    @classmethod
    def of_detections(cls, predictions: Predictions, detections: Sequence[Detections]) -> "TargetRows":
        """The rows that detections came from, of all images in a row, on the device of the predictions.

        Queries that are chosen anew in every pass are found by the token they were made from. A two-stage detector's
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
        """The same rows on another device."""
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
        """Logits of the K classes, without background."""
        return self.logits[..., :-1] if self.scoring.background else self.logits

    def scores(self) -> Float[Tensor, "*target class"]:
        """Scores of all classes in [0, 1], rounded as inference rounds them; for reports, not for gradients."""
        return self.scoring.scores(self.logits, self.quality_logits)

    def probabilities(self) -> Float[Tensor, "*target class"]:
        """Class probabilities in [0, 1], whatever a quality output makes of them in the score."""
        return self.scoring.scores(self.logits, None)

    def log_probability(self, labels: Int64[Tensor, "*target"]) -> Float[Tensor, "*target"]:
        """Logarithm of one class's probability; its gradient survives where the probability rounds to 0 or 1."""
        own = _of_class(self.logits, labels)
        if self.scoring.activation == "sigmoid":
            return F.logsigmoid(own)
        # The derivative of a log-softmax is one minus the probability, which rounds to zero; this one does not.
        lowest = torch.finfo(self.logits.dtype).min
        return F.logsigmoid(own - self.logits.masked_fill(_is_class(self.logits, labels), lowest).logsumexp(-1))

    def log_score(self, labels: Int64[Tensor, "*target"]) -> Float[Tensor, "*target"]:
        """Logarithm of one class's score; its gradient survives where the score rounds to 0 or 1."""
        found = self.log_probability(labels)
        if self.quality_logits is None:
            return found
        return self.scoring.class_power * found + self.scoring.quality_power * F.logsigmoid(self.quality_logits)

    def boxes(self) -> Float[Tensor, "*target 4"]:
        """Decoded boxes XYXY in pixels of the network's input, not clipped; at least in fp32."""
        precise = torch.promote_types(self.deltas.dtype, torch.float32)
        return self.codec.decode(self.deltas.to(precise), self.anchors)


def row_outputs(stage: DensePredictions | RoIPredictions, rows: TargetRows) -> RowOutputs:
    """Return the raw outputs of a dense head or of a second stage at the rows, with their gradient.

    Raises:
        DetectorError: for given regions of a dense head.
    """
    images, index = rows.images, rows.rows
    if isinstance(stage, RoIPredictions):
        if rows.given:
            index = index + (stage.rois.shape[1] - stage.given)
        return RowOutputs(
            stage.logits[images, index],
            stage.deltas[images, index, rows.labels],
            stage.rois[images, index],
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
        return _of_class(outputs.logits, rows.labels)
    if question == "contrast":
        return _of_class(outputs.logits, rows.labels) - _contrasted(outputs, rows.labels, against)
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
    return logits.detach().masked_fill(_is_class(logits, labels), -torch.inf).argmax(-1)


def _contrasted(
    outputs: RowOutputs, labels: Int64[Tensor, "*target"], against: str | int | Tensor
) -> Float[Tensor, "*target"]:
    logits = outputs.class_logits()
    if isinstance(against, str):
        if against == "runner_up":
            return _of_class(logits, _runner_up(logits, labels))
        if against == "others":
            if logits.shape[-1] < 2:
                raise DetectorError("contrast: this detector has one class, and no others")
            return (logits.sum(-1) - _of_class(logits, labels)) / (logits.shape[-1] - 1)
        if against == "background":
            if not outputs.scoring.background:
                raise DetectorError("contrast: this detector has no column for background")
            return outputs.logits[..., -1]
        raise DetectorError(f"against={against}: choose runner_up, others, background or a class number")
    other = torch.as_tensor(against, dtype=torch.int64, device=labels.device).expand_as(labels)
    return _of_class(logits, other)


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


def _of_class(values: Float[Tensor, "*target class"], labels: Int64[Tensor, "*target"]) -> Float[Tensor, "*target"]:
    return values.gather(-1, labels[..., None])[..., 0]


def _is_class(
    logits: Float[Tensor, "*target column"], labels: Int64[Tensor, "*target"]
) -> Bool[Tensor, "*target column"]:
    return labels[..., None] == torch.arange(logits.shape[-1], device=labels.device)
