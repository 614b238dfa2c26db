"""Cues: inverted objects carry the texture that was planted, and none where none was."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from detinv.experiments.common.workbench import DetectorEntry, Workbench
from detinv.inversion.judging import judge
from detinv.layouts.layout import Layout
from detinv.metrics.cues import orientation_agreement
from detinv.metrics.intervals import Interval, wilson
from detinv.verification.claim import Claim, percent
from detinv.verification.means import Means
from detinv.worlds.part import PartWorld
from detinv.worlds.plain import PlainWorld
from detinv.worlds.sources import WorldLayouts, by_label

PART = "cues"
# Share of objects that carry the planted direction; by chance it is 15 of 90 degrees.
_CARRIED, _CHANCE, _ABSENT = 0.8, 15 / 90, 1 / 3
_STRANGERS_AP = 2.0
_FAMILIES = ("retinanet", "fasterrcnn")


def check(means: Means) -> list[Claim]:
    """The orientation test on the worlds `texture` and `shape`, and on networks that learnt nothing."""
    texture, shape = means.layouts("texture", PART), means.layouts("shape", PART)
    claims = []
    for family in _FAMILIES:
        learnt = _bench(means, "texture", family, texture)
        claims.append(carried(f"texture_{family}", _agreement(learnt, texture.world.planted_orientations)))
    for family in _FAMILIES:
        # What `plain` plants in the classes of these names: the same outlines, there with stripes.
        learnt = _bench(means, "shape", family, shape)
        claims.append(absent(f"shape_{family}", _agreement(learnt, PlainWorld.planted_orientations)))
    part = means.layouts("part", PART)
    for family in _FAMILIES:
        bench = _bench(means, "part", family, part)
        claims.append(carried(f"part_{family}", _agreement(bench, part.world.planted_orientations, patches)))
    return claims + controls(means, texture)


def carried(label: str, agreement: Interval) -> Claim:
    """The planted direction is there."""
    return Claim(
        f"cues/{label}",
        f"inverted objects of {label} carry the planted texture",
        f"at least {_CARRIED:.0%} within 15 degrees of the planted direction",
        percent(agreement),
        agreement.value >= _CARRIED,
        {"agreement": agreement},
    )


def absent(label: str, agreement: Interval) -> Claim:
    """A direction that was not planted is not there."""
    return Claim(
        f"cues/{label}",
        f"inverted objects of {label} carry no texture that was not planted",
        f"at most {_ABSENT:.0%} within 15 degrees of `plain`'s direction (chance {_CHANCE:.0%})",
        percent(agreement),
        agreement.value <= _ABSENT,
        {"agreement": agreement},
    )


def controls(means: Means, source: WorldLayouts) -> list[Claim]:
    """Networks with random weights: whatever they are made to see, nobody else sees."""
    claims = []
    for family in _FAMILIES:
        label = f"random_texture_{family}"
        bench = means.bench(
            f"{PART}-{label}",
            PART,
            [{"name": f"texture_{family}", "label": label, "weights": "random"}],
            source,
        )
        images = bench.invert(label, label, bench.layouts(label))
        claims.append(absent(label, _agreement(bench, source.world.planted_orientations)))
        trained = bench.detector(f"texture_{family}")
        found = judge(bench.layouts(label), trained.detect(images), trained.class_names)
        claims.append(
            Claim(
                f"control/{label}",
                f"images of {label} (random weights) show the trained detector nothing",
                f"AP at most {_STRANGERS_AP:g}",
                f"{found['AP']:.2f} AP",
                found["AP"] <= _STRANGERS_AP,
                {"AP": found["AP"]},
            )
        )
    return claims


def _bench(means: Means, world: str, family: str, source: WorldLayouts) -> Workbench:
    entries: Sequence[DetectorEntry] = [f"{world}_{family}"]
    return means.bench(f"{PART}-{world}_{family}", PART, entries, source)


def patches(layout: Layout) -> Layout:
    """The windows of the world `part`, in which the class is written, instead of the objects' boxes."""
    centre, half = (layout.boxes[:, :2] + layout.boxes[:, 2:]) / 2, (layout.boxes[:, 2:] - layout.boxes[:, :2]) / 2
    centre = centre + half * torch.tensor(PartWorld.patch_centre)
    window = half * PartWorld.patch_half_side
    return replace(layout, boxes=torch.cat([centre - window, centre + window], dim=1), masks=None)


def _agreement(
    bench: Workbench, planted: Mapping[str, float], where: Callable[[Layout], Layout] = lambda layout: layout
) -> Interval:
    """Share of the objects that carry the planted direction at the places that `where` makes of them."""
    (label,) = bench.labels
    layouts = bench.layouts(label)
    images = bench.invert(label, label, layouts)
    looked_at = [where(layout) for layout in layouts]
    found = orientation_agreement(looked_at, images, by_label(planted, bench.detector(label).class_names))
    return wilson(round(found["share"] * found["objects"]) if found["objects"] else 0, found["objects"])
