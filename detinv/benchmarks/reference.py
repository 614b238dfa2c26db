"""A plain implementation of the published inversion of a RetinaNet, as a reference for detinv's speed and results.

One image at a time. Nothing is frozen, so every step computes gradients for all weights as well. Objects are handled in
a loop; anchors are matched to them in every step, once for the targets and once for the positive term; the blur is
SciPy's, on the CPU. The numbers are those of the published configuration for RetinaNet.

Source: method and code as published; see `CodeRule` and `dense_terms`.
Departures: those of `CodeRule` and `AnchorAssigner`, so that loss and gradient are the same as in a run with the preset
`code_retinanet`.
"""

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from detinv.detectors.base import AbstractDetector
from detinv.detectors.heads.assigners import AnchorAssigner
from detinv.detectors.heads.predictions import DenseHead
from detinv.detectors.regions import Regions
from detinv.errors import ConfigError
from detinv.inversion.pixels.pixels import start_noise
from detinv.layouts.batch import LayoutBatch, canvas_size
from detinv.layouts.layout import Layout

Image = Float[Tensor, "3 height width"]
"""RGB minus the detector's mean colour, at the layout's own size."""

_START_STD = 0.2
_LR, _MOMENTUM, _DECAY, _DECAY_EVERY = 1.0, 0.5, 0.6, 300
_BLUR_EVERY, _BLUR_START, _BLUR_DECAY, _BLUR_END = 5, 5.0, 0.985, 0.5
_CLS, _REG, _POSITIVE, _TOTAL_VARIATION, _ALPHA_NORM = 30.0, 30.0, 1.0, 1e-7, 1e-7
_LEVEL_WEIGHTS = (0.125, 0.5, 1.0, 2.0, 8.0)
_POSITIVE_NORMALIZER = 100.0
_SURVIVES, _BELONGS, _MOST_PER_LEVEL, _MOST_CANDIDATES = 0.5, 0.5, 1000, 16
_ALPHA, _GAMMA = 0.25, 2


def check_reference(detector: AbstractDetector, layout: Layout) -> None:
    """Compute one loss, to find out before anything else is measured whether the plain loop can invert this detector.

    Args:
        layout: in the detector's own frame.

    Raises:
        ConfigError: if the detector is not a RetinaNet on the CPU.
    """
    with torch.no_grad():
        reference_loss(detector, layout, torch.zeros(3, *layout.image_size))


def reference_steps(detector: AbstractDetector, layout: Layout, start: Image) -> Iterator[Image]:
    """Iterate steps that move an image towards `layout`, without end.

    Args:
        detector: a RetinaNet on the CPU, which is copied.
        layout: in the detector's own frame.
        start: the first image.

    Yields:
        The image after each step.

    Raises:
        ConfigError: if the detector is not a RetinaNet on the CPU.
    """
    network = copy.deepcopy(detector).requires_grad_(True)
    image = start.clone().requires_grad_()
    mean = network.pixel_mean[:, None, None]
    optimizer = torch.optim.SGD([image], lr=_LR, momentum=_MOMENTUM)
    sigma, step = _BLUR_START, 0
    while True:
        optimizer.zero_grad()
        reference_loss(network, layout, image).backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = _LR * _DECAY ** (step // _DECAY_EVERY)
        with torch.no_grad():
            image.copy_(torch.minimum(torch.maximum(image, -mean), 1 - mean))
            if step % _BLUR_EVERY == 0:
                sigma = max(_BLUR_DECAY * sigma, _BLUR_END)
                blurred = gaussian_filter1d(gaussian_filter1d(image.numpy(), sigma, axis=1), sigma, axis=2)
                image.copy_(torch.from_numpy(blurred))
        step += 1
        yield image.detach()


def reference_start(detector: AbstractDetector, layout: Layout, seed: int) -> Image:
    """Return the start image of a run with the published preset for this layout and seed."""
    noise = start_noise(LayoutBatch.collate([layout], detector.size_divisor), seed, _START_STD)[0]
    mean = detector.pixel_mean[:, None, None]
    height, width = layout.image_size
    return torch.minimum(torch.maximum(noise, -mean), 1 - mean)[:, :height, :width]


def reference_loss(detector: AbstractDetector, layout: Layout, image: Image) -> Float[Tensor, ""]:
    """Compute the loss that a step descends, with gradient.

    Raises:
        ConfigError: if the detector is not a RetinaNet on the CPU.
    """
    if detector.device.type != "cpu":
        raise ConfigError("the plain loop runs on the CPU; use device=cpu")
    height, width = layout.image_size
    below, right = canvas_size([layout.image_size], detector.size_divisor)
    canvas = F.pad(image, (0, right - width, 0, below - height))
    pixels = detector.pixel_mean[:, None, None] + canvas
    predictions = detector.forward(pixels[None], [layout.image_size], Regions.of(layout.boxes[None]))
    dense, head = predictions.dense, predictions.dense.head
    logits, assigner = dense.logits[0], head.assigner
    one_stage = predictions.roi is None and predictions.encoder is None and dense.quality_logits is None
    if not isinstance(assigner, AnchorAssigner) or not one_stage or head.scoring.background:
        raise ConfigError("the plain loop inverts a RetinaNet; choose one with detector=NAME")
    boxes = head.codec.decode(dense.deltas[0], head.anchors)
    weights = torch.tensor(_LEVEL_WEIGHTS)[head.levels.clamp(max=len(_LEVEL_WEIGHTS) - 1)]

    rows, objects = _pseudo_targets(logits.detach(), boxes.detach(), head, assigner, layout)
    wanted = torch.zeros(len(rows), logits.shape[1])
    for number, label in enumerate(layout.labels.tolist()):
        wanted[objects == number, label] = 1
    cls = (_focal(logits[rows], wanted).sum(1) * weights[rows]).sum() / max(len(rows), 1)

    reg = torch.zeros(())
    matched = 0
    for number in range(len(layout)):
        mine = rows[objects == number]
        matched += len(mine)
        reg = reg + ((1 - _giou(boxes[mine], layout.boxes[number])) * weights[mine]).sum()
    reg = reg / max(matched, 1)

    positive = torch.zeros(())
    owners, best = _match(head.anchors, assigner, layout)
    for number in range(len(layout)):
        candidates = _candidates(head.anchors, assigner, layout, number, owners, best[number])
        column = logits[candidates, layout.labels[number]]
        chosen = int(column.argmax())
        positive = positive + column[chosen] * weights[candidates[chosen]] / _POSITIVE_NORMALIZER

    variation = (canvas[:, :, 1:] - canvas[:, :, :-1]).square().sum()
    variation = variation + (canvas[:, 1:] - canvas[:, :-1]).square().sum()
    norm = canvas.pow(6).sum()
    return _CLS * cls + _REG * reg - _POSITIVE * positive + _TOTAL_VARIATION * variation + _ALPHA_NORM * norm


def _pseudo_targets(
    logits: Float[Tensor, "anchor class"],
    boxes: Float[Tensor, "anchor 4"],
    head: DenseHead,
    assigner: AnchorAssigner,
    layout: Layout,
) -> tuple[Int64[Tensor, " row"], Int64[Tensor, " row"]]:
    """Return the rows in the loss, and the object whose class and box each is assigned; -1 for background."""
    owners, _ = _match(head.anchors, assigner, layout)
    scores, boxes = logits.sigmoid(), boxes.clone()
    for number in range(len(layout)):
        mine = owners == number
        scores[mine] = 0
        scores[mine, layout.labels[number]] = 1
        boxes[mine] = layout.boxes[number]

    # Assigned rows come first, even before rows with a score of 1.
    scores[owners >= 0] *= 2
    kept = []
    start = 0
    for size in head.level_sizes:
        pairs, order = scores[start : start + size].flatten().sort(descending=True)
        best_first = order[pairs > _SURVIVES] // scores.shape[1] + start
        # A row that survives with several classes counts once, at the place of its best class.
        level: dict[int, None] = dict.fromkeys(best_first.tolist())
        kept += list(level)[:_MOST_PER_LEVEL]
        start += size
    rows = torch.tensor(kept, dtype=torch.int64)

    objects = torch.full((len(rows),), -1)
    overlap = torch.full((len(rows),), -1.0)
    for number in range(len(layout)):
        iou = _iou(boxes[rows], layout.boxes[number])
        nearer = (iou >= _BELONGS) & (iou > overlap)
        objects[nearer], overlap[nearer] = number, iou[nearer]
    return rows, torch.where(owners[rows] >= 0, owners[rows], objects)


def _match(
    anchors: Float[Tensor, "anchor 4"], assigner: AnchorAssigner, layout: Layout
) -> tuple[Int64[Tensor, " anchor"], list[int]]:
    """Return the object that each anchor belongs to, or -1, and the anchor that each object gets in any case."""
    owners = torch.full((len(anchors),), -1)
    if len(layout) == 0:
        return owners, []
    table = torch.stack([_iou(anchors, box) for box in layout.boxes])
    highest, nearest = table.max(0)
    owners[highest >= assigner.fg_iou_thresh] = nearest[highest >= assigner.fg_iou_thresh]
    for row in table:
        reached = row >= row.max().clamp(min=torch.finfo(row.dtype).eps)
        owners[reached] = nearest[reached]

    best = [-1] * len(layout)
    free = table.clone()
    for _ in range(len(layout)):
        # The pair of largest overlap among objects and anchors that are still free.
        number, anchor = divmod(int(free.argmax()), len(anchors))
        best[number] = anchor
        free[number], free[:, anchor] = -1, -1
    for number, anchor in enumerate(best):
        owners[anchor] = number
    return owners, best


def _candidates(
    anchors: Float[Tensor, "anchor 4"],
    assigner: AnchorAssigner,
    layout: Layout,
    number: int,
    owners: Int64[Tensor, " anchor"],
    best: int,
) -> Int64[Tensor, " candidate"]:
    """Return the anchors that training would assign to an object, nearest first, for the positive term."""
    table = torch.stack([_iou(anchors, box) for box in layout.boxes])
    # An anchor that another object gets in any case is not this one's, even if it overlaps this one most.
    mine = torch.where(owners >= 0, owners, table.max(0).indices) == number
    iou = torch.where(mine, table[number], -1.0)
    iou[best] = 2
    order = iou.argsort(descending=True)[:_MOST_CANDIDATES]
    return order[iou[order] >= assigner.candidate_iou_thresh]


def _focal(logits: Float[Tensor, "row class"], wanted: Float[Tensor, "row class"]) -> Float[Tensor, "row class"]:
    scores = logits.sigmoid()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    right = scores * wanted + (1 - scores) * (1 - wanted)
    balance = _ALPHA * wanted + (1 - _ALPHA) * (1 - wanted)
    return balance * (1 - right) ** _GAMMA * entropy


def _iou(boxes: Float[Tensor, "row 4"], box: Float[Tensor, " 4"]) -> Float[Tensor, " row"]:
    return _overlap(boxes, box)[0]


def _giou(boxes: Float[Tensor, "row 4"], box: Float[Tensor, " 4"]) -> Float[Tensor, " row"]:
    iou, union = _overlap(boxes, box)
    width = torch.maximum(boxes[:, 2], box[2]) - torch.minimum(boxes[:, 0], box[0])
    height = torch.maximum(boxes[:, 3], box[3]) - torch.minimum(boxes[:, 1], box[1])
    hull = width * height
    return iou - (hull - union) / hull


def _overlap(
    boxes: Float[Tensor, "row 4"], box: Float[Tensor, " 4"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """Return the IoU with one box, and the area of the union."""
    width = (torch.minimum(boxes[:, 2], box[2]) - torch.maximum(boxes[:, 0], box[0])).clamp(min=0)
    height = (torch.minimum(boxes[:, 3], box[3]) - torch.maximum(boxes[:, 1], box[1])).clamp(min=0)
    shared = width * height
    union = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) + (box[2] - box[0]) * (box[3] - box[1]) - shared
    return shared / union, union
