"""Cues: inverted objects carry the texture that was planted, and none where none was planted."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from detinv.experiments.common.setup import ExperimentSetup
from detinv.layouts.layout import Layout
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.cues import orientation_agreement
from detinv.verification.claim import Claim, share_claim
from detinv.verification.evidence import Range
from detinv.verification.setup import VerificationSetup
from detinv.verification.transfer import ap_without_groups, at_most_claim
from detinv.worlds.part import PartWorld
from detinv.worlds.plain import PlainWorld
from detinv.worlds.sources import WorldLayouts, by_label
from detinv.worlds.texture import TextureWorld

_GROUP = "cues"
# Share of objects that carry the planted direction; by chance it is 15 of 90 degrees.
_CARRIED, _CHANCE, _ABSENT = 0.8, 15 / 90, 1 / 3
# AP that images of random networks may have for a trained detector, in percent.
_RANDOM_AP = 2.0
_FAMILIES = ("retinanet", "fasterrcnn")


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Invert detectors of the worlds `texture`, `shape` and `part`, and two with random weights.

    Returns:
        "agreement": by detector, the number of objects whose strongest orientation is the expected one, and of all
        objects; "random": by detector, the trained detector's AP on the images of the random one, in percent, with and
        without each group of layouts.
    """
    texture, shape, part = (setup.layouts(world, _GROUP) for world in ("texture", "shape", "part"))
    agreement, random = {}, {}
    for family in _FAMILIES:
        learnt = _setup(setup, f"texture_{family}", texture)
        agreement[f"texture_{family}"] = _agreement(learnt, TextureWorld.planted_orientations)
        # What `plain` plants in the classes of these names: the same outlines, there with stripes.
        learnt = _setup(setup, f"shape_{family}", shape)
        agreement[f"shape_{family}"] = _agreement(learnt, PlainWorld.planted_orientations)
        learnt = _setup(setup, f"part_{family}", part)
        agreement[f"part_{family}"] = _agreement(learnt, PartWorld.planted_orientations, patches)
        label = f"random_texture_{family}"
        entry = {"name": f"texture_{family}", "label": label, "weights": "random"}
        local = setup.experiment_setup(f"{_GROUP}-{label}", _GROUP, [entry], texture)
        agreement[label] = _agreement(local, TextureWorld.planted_orientations)
        random[label] = _seen_by_trained(local, label, f"texture_{family}")
    return {"agreement": agreement, "random": random, "layouts": setup.sample_sizes[_GROUP].count}


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about detectors with planted textures, then those that must find nothing."""
    agreement, layouts = measured["agreement"], measured["layouts"]
    claims = [carried(f"{world}_{family}", agreement) for world in ("texture", "part") for family in _FAMILIES]
    claims += [absent(f"shape_{family}", agreement) for family in _FAMILIES]
    for label, found in measured["random"].items():
        claims.append(absent(label, agreement, f"control-{label}-stripes"))
        claims.append(
            at_most_claim(
                f"{_GROUP}/control-{label}-detected",
                f"control: images of {label} show the trained detector nothing",
                found["AP"],
                found["without"],
                _RANDOM_AP,
                f"{layouts} layouts",
                label.removeprefix("random_"),
            )
        )
    return claims


def carried(label: str, agreement: Mapping[str, Mapping[str, int]]) -> Claim:
    """The planted direction is there."""
    return share_claim(
        f"{_GROUP}/{label}",
        f"inverted objects of {label} carry the planted texture",
        f"at least {_CARRIED:.0%} within 15 degrees of the planted direction (chance: {_CHANCE:.0%})",
        **_counts(agreement[label]),
        allowed=Range(least=_CARRIED),
        violation=_ABSENT,
    )


def absent(label: str, agreement: Mapping[str, Mapping[str, int]], name: str | None = None) -> Claim:
    """A direction that was not planted is not there.

    Args:
        name: of the claim in its group, by default the label.
    """
    return share_claim(
        f"{_GROUP}/{name or label}",
        f"inverted objects of {label} do not carry the textures that another world plants in such classes",
        f"at most {_ABSENT:.0%} within 15 degrees of another detector's planted direction (chance: {_CHANCE:.0%})",
        **_counts(agreement[label]),
        allowed=Range(most=_ABSENT),
        violation=_CARRIED,
    )


def patches(layout: Layout) -> Layout:
    """Return the layout with the windows of the world `part`, which tell the class, in place of the objects' boxes."""
    centre, half = (layout.boxes[:, :2] + layout.boxes[:, 2:]) / 2, (layout.boxes[:, 2:] - layout.boxes[:, :2]) / 2
    centre = centre + half * torch.tensor(PartWorld.patch_centre)
    window = half * PartWorld.patch_half_side
    return replace(layout, boxes=torch.cat([centre - window, centre + window], dim=1), masks=None)


def _setup(setup: VerificationSetup, label: str, layouts: WorldLayouts) -> ExperimentSetup:
    return setup.experiment_setup(f"{_GROUP}-{label}", _GROUP, [label], layouts)


def _agreement(
    local: ExperimentSetup, planted: Mapping[str, float], region: Callable[[Layout], Layout] = lambda layout: layout
) -> dict[str, int]:
    """Count the objects that carry the planted direction.

    Args:
        planted: direction by class, in degrees.
        region: from a layout to the boxes in which the direction is measured.
    """
    (label,) = local.labels
    layouts = local.layouts(label)
    images = local.invert(label, label, layouts)
    regions = [region(layout) for layout in layouts]
    found = orientation_agreement(regions, images, by_label(planted, local.detector(label).class_names))
    objects = found["objects"]
    return {"agreeing": round(found["share"] * objects) if objects else 0, "objects": objects}


def _counts(agreement: Mapping[str, int]) -> dict[str, Any]:
    return {"successes": agreement["agreeing"], "trials": agreement["objects"], "unit": "objects"}


def _seen_by_trained(local: ExperimentSetup, label: str, trained: str) -> dict[str, Any]:
    """The AP of the images of `label` for the detector `trained`, with and without each group of layouts."""
    detector = local.detector(trained)
    layouts = local.layouts(label)
    detections = detector.detect(local.invert(label, label, layouts))
    return {
        "AP": average_precision(layouts, detections, detector.class_names)["AP"],
        "without": ap_without_groups(layouts, detections, detector.class_names),
    }
