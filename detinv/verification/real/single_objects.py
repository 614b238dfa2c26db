"""Measurements of single objects; the groups `context` and `position` share their images."""

from typing import Any

from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.cooccurrence import group_detections
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.context import Context
from detinv.experiments.paper.position import Position
from detinv.experiments.paper.single_object import SingleObject
from detinv.verification.real.detectors import (
    CONTEXT_CLASSES,
    DETECTORS,
    OBJECT_CLASSES,
    RANDOM,
    SIDES,
    entry,
    single_objects,
    single_setup,
)
from detinv.verification.setup import VerificationSetup

# Names of sample sizes: of many classes, of those whose context is counted, and of random weights.
_OBJECTS, _CONTEXT, _RANDOM = "real_objects", "real_context", "real_random"


def measure_objects(setup: VerificationSetup) -> dict[str, Any]:
    """Run figures 8 and 9 on every detector, and on the same networks with random weights.

    Returns:
        by detector: "seen", by class, whether the detector's own inference finds the object, image by image; "random",
        by class, whether it finds the object in images of random weights.
    """
    found = {}
    for label in DETECTORS:
        # More steps than for context, and so other images.
        local = single_setup(setup, f"real-objects-{label}", _OBJECTS, [entry(label)])
        objects = single_objects(setup.sample_sizes[_OBJECTS].count, OBJECT_CLASSES, SIDES[label])
        setup.run(SingleObject(objects), local, "objects")
        random = single_setup(setup, f"real-{RANDOM}{label}", _RANDOM, [entry(label, random=True)])
        asked = single_objects(setup.sample_sizes[_RANDOM].count, CONTEXT_CLASSES, SIDES[label])
        found[label] = {
            "seen": {name: _seen(objects, local, label, name) for name in OBJECT_CLASSES},
            "random": {name: _seen(asked, random, f"{RANDOM}{label}", name, label) for name in CONTEXT_CLASSES},
        }
    return found


def measure_context(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 10 on every detector, and let it see images of random weights.

    Returns:
        by detector: "context", by class the names of the context in each image; "random", likewise, of random weights.
    """
    found = {}
    for label in DETECTORS:
        local = _setup(setup, label)
        random = single_setup(setup, f"real-{RANDOM}{label}", _RANDOM, [entry(label, random=True)])
        found[label] = {
            "context": _context(setup, local, label, setup.sample_sizes[_CONTEXT].count),
            "random": _context(setup, random, f"{RANDOM}{label}", setup.sample_sizes[_RANDOM].count, label),
        }
    return found


def measure_position(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 11 on every detector; return by detector, class and context class counts of images by side."""
    found = {}
    for label in DETECTORS:
        objects = single_objects(setup.sample_sizes[_CONTEXT].count, CONTEXT_CLASSES, SIDES[label])
        found[label] = setup.run(Position(objects), _setup(setup, label), "position")["sides"][label]
    return found


def _setup(setup: VerificationSetup, label: str) -> ExperimentSetup:
    return single_setup(setup, f"real-{label}", _CONTEXT, [entry(label)])


def _context(
    setup: VerificationSetup, local: ExperimentSetup, label: str, count: int, judge: str | None = None
) -> dict[str, list[list[str]]]:
    experiment = Context(
        single_objects(count, CONTEXT_CLASSES, SIDES[label.removeprefix(RANDOM)]), judge=judge, control=False
    )
    images = setup.run(experiment, local, "context")["images"][label]
    return {name: [image["context"] for image in found] for name, found in images.items()}


def _seen(
    objects: CentralObjects, local: ExperimentSetup, label: str, name: str, judge: str | None = None
) -> list[bool]:
    targets, found = objects.targeted(local, label, name), objects.detections(local, label, name, judge)
    return [bool(group_detections(target, seen).target) for target, seen in zip(targets, found, strict=True)]
