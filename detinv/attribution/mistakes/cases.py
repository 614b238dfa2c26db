"""The worst errors, each with a sentence about it and the questions that explain it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detinv.attribution.core.questions import Question
from detinv.attribution.mistakes.kinds import Kind
from detinv.attribution.mistakes.report import ErrorReport
from detinv.attribution.mistakes.stages import Candidate, Loss, Stage
from detinv.detectors.heads.trace import Fate
from detinv.detectors.targets import SIDES

_ANCHORS = {
    Fate.LOW_SCORE: "its score was too low",
    Fate.OTHER_CLASS: "its score was too low",
    Fate.NO_MAXIMUM: "the score of a cell beside it was higher",
    Fate.BEYOND_CANDIDATES: "it was beyond the top-k of its level",
    Fate.TOO_SMALL: "it was too small",
    Fate.SUPPRESSED: "a better proposal suppressed it",
    Fate.BEYOND_DETECTIONS: "it was not among the best that the second stage receives",
    Fate.EMPTY: "it was empty",
    Fate.REPORTED: "it was moved away from the object",
}


@dataclass(frozen=True)
class Asked:
    """One map of a case: which raw prediction is asked what, and its heading.

    Args:
        candidate: None for the region of the object itself.
    """

    candidate: Candidate | None
    question: Question
    heading: str


@dataclass(frozen=True)
class Case:
    """One error.

    Args:
        image: number of the image.
        title: what it is, in a few words.
        sentence: what happened.
        annotated: box of the object, if there is one.
        detected: box of the detection, or of the raw prediction that came nearest.
        rival: box of the detection that suppressed it, or came before it.
        label: the object's class, or the detection's where there is no object.
        asked: the maps that explain it.
    """

    image: int
    title: str
    sentence: str
    annotated: Float[Tensor, " 4"] | None
    detected: Float[Tensor, " 4"] | None
    rival: Float[Tensor, " 4"] | None
    label: int
    asked: Sequence[Asked]


def worst_cases(report: ErrorReport, count: int) -> list[Case]:
    """Return the false positives of highest score, then the largest missed objects.

    Args:
        count: of either, at most.
    """
    positives, missed = [], []
    for image, one in enumerate(report.images):
        for number, kind in enumerate(one.judged.detections):
            if kind not in (Kind.FOUND, Kind.IGNORED):
                positives.append((-float(one.found.scores[number]), image, number))
        for number, kind in enumerate(one.judged.objects):
            if kind == Kind.MISSED:
                x0, y0, x1, y1 = one.truth.boxes[number].tolist()
                missed.append((-(x1 - x0) * (y1 - y0), image, number))
    return [_false_positive(report, image, number) for _, image, number in sorted(positives)[:count]] + [
        _missed(report, image, number) for _, image, number in sorted(missed)[:count]
    ]


def _false_positive(report: ErrorReport, image: int, number: int) -> Case:
    one, names = report.images[image], report.class_names
    kind, about, candidate = one.judged.detections[number], one.judged.about[number], one.candidates[number]
    said = f"{names[int(one.found.labels[number])]} {float(one.found.scores[number]):.2f}"
    annotated = one.truth.boxes[about] if about >= 0 else None
    true = int(one.truth.labels[about]) if about >= 0 else int(one.found.labels[number])
    iou = f"{float(one.judged.iou[number, about]):.2f}" if about >= 0 else ""
    first = one.judged.found_by[about] if kind == Kind.DUPLICATE else -1
    sentence = {
        Kind.WRONG_CLASS: f"Detected as {said}, but annotated as {names[true]}.",
        Kind.BADLY_PLACED: f"The detection {said} overlaps the annotated {names[true]} by an IoU of {iou} only.",
        Kind.BOTH: f"The nearest annotated object of the detection {said} is of class {names[true]} (IoU {iou}).",
        Kind.DUPLICATE: f"{said} is another detection of one {names[true]}; the blue one has a higher score.",
        Kind.BACKGROUND: f"Detected as {said}, but nothing is annotated there.",
    }[kind]
    asked = []
    if candidate is not None:
        asked.append(Asked(candidate, Question("class"), f"what speaks for {names[candidate.label]}"))
        if kind in (Kind.WRONG_CLASS, Kind.BOTH) and true != candidate.label:
            heading = f"what speaks for it rather than {names[true]}"
            asked.append(Asked(candidate, Question("contrast", true), heading))
        elif kind == Kind.BADLY_PLACED and annotated is not None:
            side = SIDES[int((candidate.box - annotated).abs().argmax())]
            asked.append(Asked(candidate, Question(side), f"what puts its {side} edge there"))
        elif kind == Kind.DUPLICATE and (other := one.candidates[first]) is not None:
            asked.append(Asked(other, Question("class"), "what speaks for the first detection"))
    else:
        sentence += " Its raw prediction is not known, so there is no map."
    rival = one.found.boxes[first] if first >= 0 else None
    title = f"{str(kind).capitalize()}: {said}"
    return Case(image, title, sentence, annotated, one.found.boxes[number], rival, true, asked)


def _missed(report: ErrorReport, image: int, number: int) -> Case:
    one, names = report.images[image], report.class_names
    loss, label = one.losses[number], int(one.truth.labels[number])
    assert loss is not None
    asked = []
    where = "in the nearest region" if loss.stage == Stage.NO_PROPOSAL else "there"
    asked.append(Asked(loss.nearest, Question("class"), f"what speaks for {names[label]} {where}"))
    if loss.winner is not None:
        won = names[loss.winner.label]
        asked.append(
            Asked(loss.winner, Question("contrast", label), f"what speaks for {won} rather than {names[label]}")
        )
    if loss.suppressor is not None:
        heading = f"what speaks for the {names[loss.suppressor.label]} that suppressed it"
        asked.append(Asked(loss.suppressor, Question("class"), heading))
    return Case(
        image,
        f"Missed {names[label]}: {loss.stage}",
        _of_loss(report, loss, names[label]),
        one.truth.boxes[number],
        None if loss.nearest is None else loss.nearest.box,
        None if loss.suppressor is None else loss.suppressor.box,
        label,
        asked,
    )


def _of_loss(report: ErrorReport, loss: Loss, name: str) -> str:
    """Return a sentence about how an object was lost."""
    nearest, names = loss.nearest, report.class_names
    if nearest is None:
        return "The second stage received no region at all." + _of_anchor(loss)
    had = f"The best prediction with its box (IoU {nearest.iou:.2f})"
    score = f"{name} {nearest.score:.2f}"
    if loss.stage == Stage.NO_PROPOSAL:
        iou = nearest.region_iou
        return f"No region overlaps it by an IoU of {report.thresholds.fg_iou_thresh:g}; the nearest has {iou:.2f}." + (
            _of_anchor(loss)
        )
    if loss.stage == Stage.NO_ROW:
        return f"No prediction of its class has its box; the nearest overlaps it by an IoU of {nearest.iou:.2f}."
    if loss.stage == Stage.LOW_SCORE:
        best = f"; its best class is {names[nearest.best_label]} {nearest.best_score:.2f}"
        other = best if nearest.best_label != nearest.label else ""
        return f"{had} has the score {score}{other}; more than {loss.limit:g} is needed."
    if loss.winner is not None:
        won = f"{names[loss.winner.label]} {loss.winner.score:.2f}"
        return f"The prediction with its box says {won}, and {score}."
    if loss.suppressor is not None:
        by = f"{names[loss.suppressor.label]} {loss.suppressor.score:.2f}"
        which = f"detection {loss.suppressor.detection + 1}" if loss.suppressor.detection >= 0 else "a prediction"
        why = f"they overlap by an IoU above {loss.limit:g}"
        if loss.stage == Stage.NO_MAXIMUM:
            why = f"only the best of {loss.limit:g} x {loss.limit:g} cells is kept"
        twice = loss.suppressor.iou >= report.thresholds.fg_iou_thresh
        other = " That one overlaps the object as well, but counts for another." if twice else ""
        return f"{had}, {score}, was suppressed by {which}, {by}: {why}.{other}"
    if loss.stage in (Stage.BEYOND_CANDIDATES, Stage.BEYOND_DETECTIONS):
        return f"{had}, {score}, was not among the best {loss.limit:g}."
    if loss.stage == Stage.CLAIMED:
        return f"{had}, {score}, was reported, but counts for another annotated object that it overlaps as well."
    return f"{had}, {score}, has a side that is too short."


def _of_anchor(loss: Loss) -> str:
    if loss.anchor is None:
        return " No anchor of the proposal head had its box."
    return f" An anchor had its box, but {_ANCHORS[loss.anchor]}."
