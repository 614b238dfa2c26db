"""Claims about detections: raw predictions describe the detector's inference, and can be moved to a layout."""

from dataclasses import replace

import torch

from detinv.checks.trial import AdapterTrial, Finding
from detinv.detectors.heads.postprocess import postprocess
from detinv.detectors.locate import BOX_TOLERANCE, SCORE_TOLERANCE
from detinv.inversion.callbacks.pseudo_targets import PseudoTargets
from detinv.inversion.run import invert
from detinv.inversion.targets.base import Targets
from detinv.inversion.targets.matching import HungarianRule
from detinv.inversion.targets.paper import PaperRule
from detinv.inversion.targets.substitute import substitute
from detinv.layouts.layout import Detections, Layout

_MANY = 8


def inverts_layouts(trial: AdapterTrial) -> Finding:
    """A few steps towards layouts with no, one and many objects lower the loss; their images join the trial's."""
    size = trial.sizes[0]
    layouts = [replace(trial.layout(size, count), id=f"layout{count}") for count in (0, 1, _MANY)]
    accelerator = "gpu" if trial.detector.device.type == "cuda" else "cpu"
    result = invert(
        trial.detector,
        layouts,
        trial.preset,
        steps=trial.steps,
        seed=trial.seed,
        batch_size=len(layouts),
        trainer={"accelerator": accelerator},
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
        return None, "one step shows nothing; give steps=20"
    last = min(later)
    found = f"{result.metrics['redetected']} of {result.metrics['objects']} objects found"
    return last < first, f"loss {first:.3g} to {last:.3g} in {trial.steps} steps, {found}"


def raw_predictions_are_the_inference(trial: AdapterTrial) -> Finding:
    """Raw predictions of each image alone, post-processed as declared, are what the detector's inference reports."""
    count, missing, box_error, score_error = 0, 0, 0.0, 0.0
    for image in trial.images:
        size = (image.shape[1], image.shape[2])
        with torch.no_grad():
            predictions = trial.predict(*trial.batch([image], [trial.layout(size, 0)]))
        (ours,), (own,) = postprocess(predictions, [size]), trial.detector.detect([image])
        lost, box, score = _compare(ours, own)
        count, missing = count + len(own), missing + lost
        box_error, score_error = max(box_error, box), max(score_error, score)
    if count == 0:
        return None, f"no detection in {len(trial.images)} images; give images=FOLDER or more steps"
    measured = f"{count - missing} of {count} detections in {len(trial.images)} images"
    return missing == 0, f"{measured}, boxes within {box_error:.2g} px, scores within {score_error:.1g}"


def targets_give_the_layout(trial: AdapterTrial) -> Finding:
    """Post-processing turns the pseudo-targets of the rule that changes least into exactly the layout."""
    exact, objects = 0, 0
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
        exact += _is_layout(found, layout)
        objects += len(layout)
    return exact == len(counts), f"{exact} of {len(counts)} layouts with {objects} objects exactly"


def _compare(ours: Detections, own: Detections) -> tuple[int, float, float]:
    """Return how many detections one side lacks, and the largest errors of boxes and scores among the others."""
    apart = (ours.boxes[None] - own.boxes[:, None]).abs().amax(-1)
    scores_apart = (ours.scores[None] - own.scores[:, None]).abs()
    same = (ours.labels[None] == own.labels[:, None]) & (apart <= BOX_TOLERANCE) & (scores_apart <= SCORE_TOLERANCE)
    apart = torch.where(same, apart, torch.inf)
    box_error = score_error = 0.0
    matched = 0
    for row in range(len(own)):
        error, place = apart[row].min(0) if len(ours) else (apart.new_tensor(torch.inf), 0)
        if torch.isfinite(error):
            box_error, score_error = max(box_error, float(error)), max(score_error, float(scores_apart[row, place]))
            apart[:, place] = torch.inf
            matched += 1
    return max(len(own), len(ours)) - matched, box_error, score_error


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
