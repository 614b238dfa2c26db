"""Single objects: asking one candidate for one class makes it sure of that class."""

from detinv.experiments.common.central import CentralObjects
from detinv.experiments.protocols.single_object import SingleObject
from detinv.metrics.intervals import Interval
from detinv.verification.claim import Claim, percent
from detinv.verification.means import Means

PART = "single_object"
_DETECTORS = ("shapes_retinanet", "shapes_fcos", "shapes_fasterrcnn")
_SHARE = 0.95
# Of the objects, in pixels: what all bundled detectors have learnt.
_SIDE = 32.0


def check(means: Means) -> list[Claim]:
    """Figure 8 on three families."""
    bench = means.bench(PART, PART, _DETECTORS, means.layouts("plain", PART))
    experiment = SingleObject(CentralObjects(seeds=means.parts[PART].count, side=_SIDE))
    found = means.run(experiment, bench)
    return [sure(label, Interval(*found["sure"][label])) for label in _DETECTORS]


def sure(label: str, share: Interval) -> Claim:
    """Nearly every image is read as asked for."""
    return Claim(
        f"single_object/{label}",
        f"on the saved image {label}'s driven candidate is sure of its class (p > 0.9)",
        f"in at least {_SHARE:.0%} of the images",
        percent(share),
        share.value >= _SHARE,
        {"sure": share},
    )
