"""Claims about rows: columns are classes, decoding undoes encoding, and every object has a row of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.checks.finding import Finding, box_text, worst_text
from detinv.checks.trial import AdapterTrial
from detinv.detectors.heads.assigning import assign_rows
from detinv.detectors.heads.predictions import DensePredictions
from detinv.detectors.locate import BOX_TOLERANCE
from detinv.inversion.targets.matching import HungarianRule
from detinv.layouts.batch import LayoutBatch
from detinv.layouts.layout import Layout

# Objects of the layouts that are tried at each size.
_COUNTS = (1, 3, 8)
_LAYOUTS = 4
# Pairs of object and row whose codes are tried in one go.
_PAIRS = 200_000


def columns_are_the_classes(trial: AdapterTrial) -> Finding:
    """There is one class column for each name, and one anchor for each row."""
    predictions = trial.predicted(trial.sizes[0])
    dense, roi, names = predictions.dense, predictions.roi, len(trial.detector.class_names)
    columns = dense.num_classes if roi is None else roi.logits.shape[-1] - 1
    rows, anchors = dense.logits.shape[1], len(dense.head.anchors)
    measured = f"{columns} columns for {names} names, {anchors:,} anchors for {rows:,} rows"
    if columns != names:
        hint = {
            names + 1: "; of a column for the background, say so with Scoring(background=True), and put it last",
            names - 1: "; Scoring(background=True) takes the last column for the background: has the head one?",
        }.get(columns, "")
        return Finding(False, measured, f"give each class one column of the logits{hint}")
    if not rows == anchors == dense.deltas.shape[1]:
        return Finding(False, measured, "return one row for each anchor: flatten maps as (height, width, anchor)")
    return Finding(True, measured)


def decoding_undoes_encoding(trial: AdapterTrial) -> Finding:
    """Wherever the codec says that a row can have an object's box, decoding the box's code gives that box."""
    worst, text, pairs = 0.0, "", 0
    for layout in _layouts(trial):
        dense = trial.predicted(layout.image_size).dense
        codec, anchors = dense.head.codec, dense.head.anchors
        boxes = layout.boxes.to(anchors)
        able = codec.expresses(boxes[None], anchors)[0].nonzero()[:_PAIRS]
        wanted, own = boxes[able[:, 0]], anchors[able[:, 1]]
        again = codec.decode(codec.encode(wanted, own), own)
        error = torch.nan_to_num((again - wanted).abs().amax(1), torch.inf)
        pairs += len(able)
        if len(able) and float(error.max()) > worst:
            worst, place = float(error.max()), int(error.argmax())
            name = trial.detector.class_names[int(layout.labels[able[place, 0]])]
            text = f", {worst_text(name, wanted[place], again[place])} at row {int(able[place, 1])}"
    measured = f"{pairs:,} pairs of object and row, boxes within {worst:.2g} px"
    if pairs == 0:
        return Finding(False, measured, "expresses() of the codec denies every object every row: make it affirm some")
    if worst <= BOX_TOLERANCE:
        return Finding(True, measured)
    return Finding(
        False,
        measured + text,
        "make encode() of the codec the inverse of decode(), and let expresses() deny the rows where encode() clamps",
    )


def objects_own_rows(trial: AdapterTrial) -> Finding:
    """The assigner gives every object a row of its own that lies where the object is and can have its box."""
    objects, bad = 0, 0
    worst: tuple[float, str] = (-1.0, "")
    mirrored: list[bool] = []
    kinds: set[str] = set()
    for layout in _layouts(trial):
        faults = list(_faults(trial, layout))
        objects, bad = objects + len(layout), bad + len(faults)
        for fault in faults:
            kinds.add(fault.kind)
            mirrored += [] if fault.mirrored is None else [fault.mirrored]
            if fault.distance > worst[0]:
                worst = (fault.distance, fault.text)
    if not bad:
        return Finding(True, f"{objects} objects, each with a row of its own")
    measured = f"{bad} of {objects} objects without; worst: {worst[1]}"
    if len(mirrored) > 1 and sum(mirrored) >= 0.8 * len(mirrored):
        return Finding(False, measured, "the assigner exchanges x and y: its rows lie right once they are exchanged")
    return Finding(False, measured, " ".join(advice for kind, advice in _ADVICE.items() if kind in kinds))


_ADVICE = {
    "none": "let the assigner give every object a row (distinct_best sees to that).",
    "shared": "let the assigner give a row to one object only (distinct_best sees to that).",
    "far": "the assigner looks at another place than the object's: compare its centres with those of the anchors.",
    "unable": "the assigner gives objects rows of which expresses() of the codec says that they cannot have their box: "
    "one of the two is wrong.",
}


@dataclass(frozen=True)
class _Fault:
    """What is wrong with the row of one object.

    Args:
        kind: of `_ADVICE`.
        text: the object, and what it got.
        distance: from the object to its row, in pixels.
        mirrored: whether the row would lie at the object if x and y were exchanged; None where it lies there anyway.
    """

    kind: str
    text: str
    distance: float
    mirrored: bool | None = None


def _faults(trial: AdapterTrial, layout: Layout) -> Iterator[_Fault]:
    dense = trial.predicted(layout.image_size).dense
    batch = LayoutBatch.collate([layout], trial.detector.size_divisor).to(trial.detector.device)
    anchors = dense.head.anchors
    strides = torch.tensor(dense.head.strides_on(batch.canvas_size))[dense.head.levels.cpu()]
    best, owned = _best_rows(dense, batch)
    able = dense.head.codec.expresses(batch.boxes, anchors)[0]
    for number in range(len(layout)):
        box, row = batch.boxes[0, number], int(best[number])
        name = f"{trial.detector.class_names[int(layout.labels[number])]} {box_text(box)}"
        if row < 0:
            yield _Fault("none", f"{name} got no row", 0.0)
            continue
        anchor, reach = anchors[row], float(strides[row])
        got = f"{name} got row {row}, whose anchor is {box_text(anchor)}"
        distance = _apart(box, anchor)
        if not owned[number] or int((best == row).sum()) > 1:
            yield _Fault("shared", f"{got}, and so did another object", distance)
        elif distance > reach:
            exchanged = _apart(box, anchor[[1, 0, 3, 2]]) <= reach
            yield _Fault("far", f"{got}, {distance:.0f} px away", distance, exchanged)
        elif not able[number, row]:
            yield _Fault("unable", f"{got}, which cannot have its box", distance)


def _best_rows(dense: DensePredictions, batch: LayoutBatch) -> tuple[Tensor, list[bool]]:
    """Return the row that stands for each object, -1 for none, and whether no row of it belongs to another object."""
    objects = int(batch.valid.sum())
    if dense.head.assigner is None:
        rows = HungarianRule().match([dense], batch, [None])[0].positive_rows[0, :objects]
        return rows, [True] * objects
    found = assign_rows(dense, batch)
    known, candidates = found.candidates_valid[0, :objects], found.candidates[0, :objects]
    owners, numbers = found.owner[0][candidates], torch.arange(objects, device=candidates.device)[:, None]
    # Further candidates may be nobody's; the first one is the object's own.
    foreign = (known & (owners != numbers) & (owners >= 0)).any(1) | (known[:, 0] & (owners[:, 0] != numbers[:, 0]))
    return torch.where(known[:, 0], candidates[:, 0], -1), (~foreign).tolist()


def _apart(box: Float[Tensor, " 4"], anchor: Float[Tensor, " 4"]) -> float:
    """Return how far two boxes lie apart along the worse axis, in pixels; 0 where they touch."""
    return float(torch.maximum(box[:2] - anchor[2:], anchor[:2] - box[2:]).clamp(min=0).max())


def _layouts(trial: AdapterTrial) -> Iterator[Layout]:
    """Yield a few layouts of each size; the same in every claim, as they do not depend on what was tried before."""
    generator = torch.Generator().manual_seed(trial.seed)
    for size in dict.fromkeys(trial.sizes):
        for number in range(_LAYOUTS):
            yield trial.layout(size, _COUNTS[min(number, len(_COUNTS) - 1)], generator)
