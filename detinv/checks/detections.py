"""Claims about detections: raw predictions describe the detector's inference, and can be moved to a layout."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.checks.agreement import agreement, paired
from detinv.checks.causes import cause_of_difference
from detinv.checks.finding import Finding, box_text, worst_text
from detinv.checks.trial import AdapterTrial
from detinv.detectors.heads.postprocess import kept_out_by_limits, postprocess
from detinv.detectors.heads.predictions import Predictions
from detinv.detectors.locate import BOX_TOLERANCE, SCORE_TOLERANCE
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.run import invert
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.inversion.targets.substitute import substitute
from detinv.layouts.layout import Detections, Layout
from detinv.runtime.devices import trainer_on

_MANY = 8


def inverts_layouts(trial: AdapterTrial) -> Finding:
    """A few steps towards layouts with no, one and many objects lower the loss; their images join the trial's."""
    size = trial.sizes[0]
    layouts = [replace(trial.layout(size, count), id=f"layout{count}") for count in (0, 1, _MANY)]
    result = invert(
        trial.detector,
        layouts,
        trial.preset,
        steps=trial.steps,
        seed=trial.seed,
        batch_size=len(layouts),
        trainer=trainer_on(trial.detector.device),
        progress=False,
    )
    trial.images += result.images
    # Layouts of different numbers of objects are not optimised in one batch: a step's loss is that of all batches.
    batches: dict[int, list[float]] = {}
    for row in result.losses:
        batches.setdefault(int(row["batch"]), []).append(float(row["total"]))
    # Targets move with the image, so single steps may raise the loss.
    first, *later = [sum(totals) for totals in zip(*batches.values(), strict=True)]
    if not later:
        return Finding(None, "one step shows nothing; give steps=20")
    last = min(later)
    found = f"{result.metrics['redetected']} of {result.metrics['objects']} objects found"
    return Finding(last < first, f"loss {first:.3g} to {last:.3g} in {trial.steps} steps, {found}")


def raw_predictions_are_the_inference(trial: AdapterTrial) -> Finding:
    """Raw predictions of each image alone, post-processed as declared, are what the detector's inference reports."""
    ours: list[Detections] = []
    own: list[Detections] = []
    tied = 0
    for image in trial.images:
        size = (image.shape[1], image.shape[2])
        with torch.no_grad():
            predictions = trial.predict(*trial.batch([image], [trial.layout(size, 0)]))
        (mine,), (theirs,) = postprocess(predictions, [size]), trial.detector.detect([image])
        ours.append(mine)
        own.append(theirs)
        if _differ(mine, theirs):
            tied += _tied_at_a_limit(predictions, size, mine, theirs)
    count = sum(map(len, own))
    if count == 0:
        return Finding(None, f"no detection in {len(trial.images)} images; give images=FOLDER or more steps")
    found = agreement(ours, own)
    missing = found.total - found.matched - tied
    measured = f"{max(count - missing, 0)} of {count} detections in {len(trial.images)} images"
    measured += f", boxes within {found.box_error:.2g} px, scores within {found.score_error:.1g}"
    if tied:
        measured += f"; {tied} exchanged for others of the same score, where only so many are kept"
    if not missing:
        return Finding(True, measured)
    differ = [image for k, image in enumerate(trial.images) if _differ(ours[k], own[k])]
    return Finding(False, f"{measured}; {_worst(trial, ours, own)}", cause_of_difference(trial, differ))


def targets_give_the_layout(trial: AdapterTrial) -> Finding:
    """Post-processing turns the pseudo-targets of the rule that changes least into exactly the layout."""
    exact, objects = 0, 0
    worst: tuple[float, str] = (-1.0, "")
    advice: set[str] = set()
    counts = (0, 1, 3, _MANY)
    for count, size in zip(counts, trial.sizes * len(counts), strict=False):
        layout = trial.layout(size, count)
        with torch.no_grad():
            pixels, batch = trial.batch([trial.image(size)], [layout])
            predictions = trial.predict(pixels, batch)
        post = predictions.dense.head.post if predictions.roi is None else predictions.roi.post
        rows = predictions.dense.logits.shape[1]
        # A threshold of zero has no logarithm.
        threshold = max(post.score_thresh, 1e-6)
        builder = PseudoTargets(PaperRule(threshold, rows), HungarianRule(threshold, topk=rows))
        targets = builder.build("tried", predictions, batch, Targets())
        (found,) = postprocess(substitute(predictions, targets), [size])
        objects += len(layout)
        if _is_layout(found, layout):
            exact += 1
            continue
        for error, text, hint in _lacking(trial, found, layout):
            advice.add(hint)
            worst = max(worst, (error, text))
    measured = f"{exact} of {len(counts)} layouts with {objects} objects exactly"
    if exact == len(counts):
        return Finding(True, measured)
    return Finding(False, f"{measured}; {worst[1]}", " ".join(sorted(advice)))


def _lacking(trial: AdapterTrial, found: Detections, layout: Layout) -> Iterator[tuple[float, str, str]]:
    """Yield what the layout has and the detections lack, or the reverse: the error in pixels, a text, and advice."""
    names, few = trial.detector.class_names, len(found) < len(layout)
    for box, label in zip(layout.boxes, layout.labels.tolist(), strict=True):
        own = found.select(found.labels == label)
        name = f"{names[label]} {box_text(box)}"
        if not len(own):
            advice = (
                "let PostProcessing keep as many candidates and detections as inference does." if few else _OF_CLASS
            )
            yield torch.inf, f"worst: {name}, got none of its class", advice
            continue
        nearest = own.boxes[_nearest(own, box)]
        error = float((nearest - box).abs().max())
        if error > BOX_TOLERANCE:
            advice = "make encode() of the codec the inverse of decode(), and let expresses() deny what it clamps."
            yield error, worst_text(names[label], box, nearest), advice
    if len(found) > len(layout):
        more = f"{len(found) - len(layout)} detections more than objects"
        yield 0.0, f"worst: {more}", "stray rows are not pushed down: look at Scoring (objectness, background)."


_OF_CLASS = "the row of an object reports another class: look at Scoring and the order of the class columns."


def _tied_at_a_limit(predictions: Predictions, size: tuple[int, int], mine: Detections, theirs: Detections) -> int:
    """Count the detections in whose place the raw predictions report others, as equal scores may be ranked either way.

    None counts unless all that differ do: as many on each side, with the same scores, and known as candidates that
    only the number of better ones kept out.
    """
    rows, places = paired(mine, theirs)
    more, lacking = (
        one.select(torch.tensor([k for k in range(len(one)) if k not in same], dtype=torch.int64))
        for one, same in ((mine, set(rows)), (theirs, set(places)))
    )
    if len(more) != len(lacking):
        return 0
    apart = (more.scores.sort().values - lacking.scores.sort().values).abs()
    known = kept_out_by_limits(predictions, 0, size, lacking, BOX_TOLERANCE, SCORE_TOLERANCE)
    return len(lacking) if all(known) and bool((apart <= SCORE_TOLERANCE).all()) else 0


def _differ(ours: Detections, own: Detections) -> bool:
    found = agreement([ours], [own])
    return found.matched < found.total


def _worst(trial: AdapterTrial, ours: list[Detections], own: list[Detections]) -> str:
    """Describe the detection of highest score that the raw predictions lack, and what they have there."""
    names = trial.detector.class_names
    worst: tuple[float, str] = (-1.0, "the raw predictions report more than the inference")
    for mine, theirs in zip(ours, own, strict=True):
        for row in range(len(theirs)):
            one = theirs.select(torch.tensor([row]))
            score = float(one.scores[0])
            if score <= worst[0] or agreement([mine], [one]).matched:
                continue
            name = f"{names[int(one.labels[0])]} {score:.3f}"
            if not len(mine):
                worst = (score, f"worst: {name} {box_text(one.boxes[0])}, got nothing")
                continue
            # What has the same class and score is the same row; else what lies nearest.
            alike = (mine.labels == one.labels[0]).float() - (mine.scores - score).abs()
            nearest = int(alike.argmax()) if float(alike.max()) > 1 - SCORE_TOLERANCE else _nearest(mine, one.boxes[0])
            got = f"{names[int(mine.labels[nearest])]} {float(mine.scores[nearest]):.3f}"
            worst = (score, f"{worst_text(name, one.boxes[0], mine.boxes[nearest])} as {got}")
    return worst[1]


def _nearest(found: Detections, box: Float[Tensor, " 4"]) -> int:
    return int((found.boxes - box).abs().amax(1).argmin())


def _is_layout(found: Detections, layout: Layout) -> bool:
    """Return whether exactly the layout's objects were found."""
    if len(found) != len(layout):
        return False
    wanted = list(range(len(layout)))
    for box, label in zip(found.boxes, found.labels, strict=True):
        same = [
            k
            for k in wanted
            if int(layout.labels[k]) == int(label) and float((layout.boxes[k] - box).abs().max()) <= BOX_TOLERANCE
        ]
        if not same:
            return False
        wanted.remove(same[0])
    return True
