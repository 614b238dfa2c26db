"""Scale: what changes when the same object is asked for at several sizes."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.paper.scale import ALL, Scale
from detinv.verification.claim import Claim, as_interval, borne_out_claim, with_interval
from detinv.verification.evidence import Range, borne_out, difference
from detinv.verification.real.detectors import entry, load_single, single_objects, single_setup
from detinv.verification.setup import VerificationSetup

_GROUP, _SIZE = "scale", "real_scale"
# Of each detector the one that gives the second opinion. FastestDet has one level, whose cells have no size: the same
# candidate answers for boxes of all sizes, so it cannot be asked for an object of one.
_JUDGES = {"nanodet_m": "yolox_nano", "yolox_nano": "nanodet_m"}
# Square roots of areas, in pixels: five cells of each level of NanoDet-m and of YOLOX-Nano.
_SIDES = (40.0, 80.0, 160.0)
# The paper's.
_CLASSES = ("person", "car", "dog", "cat", "horse")
# Mean probability may differ by so much between sizes.
_EQUAL = 0.1


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 12; return by detector, by side, means of all classes together with their intervals."""
    found = {}
    for label, judge in _JUDGES.items():
        local = single_setup(setup, f"real-scale-{label}", _SIZE, [entry(label)])
        # An experiment would load it by its name, for images of another size.
        local.detectors[judge] = load_single(judge)
        objects = single_objects(setup.sample_sizes[_SIZE].count, _CLASSES, _SIDES[0])
        found[label] = setup.run(Scale(objects, _SIDES, judge), local)["by_side"][label][ALL]
    return found


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the changes from small to large objects, and a control of what must not change."""
    claims = []
    for label, by_side in measured.items():
        small, large = by_side[f"{_SIDES[0]:g}"], by_side[f"{_SIDES[-1]:g}"]
        claims += [
            falls(label, small, large, "context", "the number of context detections in an image falls with size"),
            falls(
                label,
                small,
                large,
                "agreed",
                f"{_JUDGES[label]} sees fewer of the large objects than of the small ones",
            ),
            falls(label, small, large, "density", "energy moves from the surroundings into the object as it grows"),
            equally_sure(label, small, large),
        ]
    return claims


def falls(label: str, small: Mapping[str, Any], large: Mapping[str, Any], what: str, statement: str) -> Claim:
    """A mean is lower for large objects."""
    first, second = as_interval(small[what]), as_interval(large[what])
    gap = difference(first, second)
    return borne_out_claim(
        f"{_GROUP}/{label}-{what}",
        f"{label}: {statement}",
        f"small ({_SIDES[0]:g} px) less large ({_SIDES[-1]:g} px): the whole interval above 0",
        f"{with_interval(gap)} ({first.value:.2f} small, {second.value:.2f} large)",
        f"{small['images']} images of each size",
        "no difference",
        borne_out(gap, Range(least=0.0), min(small["images"], large["images"])),
        {"difference": gap, "small": first, "large": second},
    )


def equally_sure(label: str, small: Mapping[str, Any], large: Mapping[str, Any]) -> Claim:
    """Control: the candidates of all sizes are equally sure, so that failures do not make the differences."""
    gap = difference(as_interval(small["score"]), as_interval(large["score"]))
    return borne_out_claim(
        f"{_GROUP}/control-{label}-sure",
        f"control: {label}'s candidates are as sure of small objects as of large ones",
        f"the whole interval of the difference of mean probabilities within {_EQUAL:g} of 0",
        with_interval(gap),
        f"{small['images']} images of each size",
        f"a difference of {_EQUAL:g} or more, up or down,",
        borne_out(gap, Range(-_EQUAL, _EQUAL), min(small["images"], large["images"])),
        {"difference": gap},
    )
