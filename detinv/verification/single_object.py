"""Single objects: one candidate, optimised towards one class, becomes sure of that class."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.common.central import CentralObjects
from detinv.experiments.paper.single_object import SingleObject
from detinv.verification.claim import Claim, share_claim
from detinv.verification.evidence import Range
from detinv.verification.setup import VerificationSetup

_GROUP = "single_object"
_DETECTORS = ("shapes_retinanet", "shapes_fcos", "shapes_fasterrcnn")
# Probability above which a candidate is sure, and the share of images in which it must be.
_SURE, _SHARE, _VIOLATION = 0.9, 0.95, 0.5
# Of the objects, in pixels: what all bundled detectors have learnt.
_SIDE = 32.0


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 8 on three families; return the target candidate's probability in every image, by detector."""
    local = setup.experiment_setup(_GROUP, _GROUP, _DETECTORS, setup.layouts("plain", _GROUP))
    experiment = SingleObject(CentralObjects(seeds=setup.sample_sizes[_GROUP].count, side=_SIDE))
    images = setup.run(experiment, local)["images"]
    return {"probabilities": {label: [image["score"] for image in images[label]] for label in _DETECTORS}}


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return one claim for each detector."""
    return [sure(label, probabilities) for label, probabilities in measured["probabilities"].items()]


def sure(label: str, probabilities: list[float]) -> Claim:
    """Nearly every saved image is detected as the class it was made for."""
    return share_claim(
        f"{_GROUP}/{label}",
        f"on the saved image {label}'s target candidate is sure of its class (p > {_SURE:g})",
        f"in at least {_SHARE:.0%} of the images",
        successes=sum(value > _SURE for value in probabilities),
        trials=len(probabilities),
        unit="images",
        allowed=Range(least=_SHARE),
        violation=_VIOLATION,
    )
