"""Textures: replacing an object's texture hurts a detector that learnt textures, and no other."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.paper.texture import Texture
from detinv.experiments.textures.phase import PhaseRandomised
from detinv.experiments.textures.scene import FIXED
from detinv.verification.claim import Claim, as_interval, borne_out_claim, with_interval
from detinv.verification.evidence import Range, Verdict, borne_out
from detinv.verification.setup import VerificationSetup
from detinv.worlds.scale import LARGE, SMALL

_GROUP = "texture"
# Changes of probability: what counts as a large one, and as none.
_LARGE, _NONE = -0.3, 0.1
_FAMILIES = ("retinanet", "fasterrcnn")
# The middle of each group of sizes in the world `scale`, in pixels.
_SIZES = (sum(SMALL) / 2, sum(LARGE) / 2)


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 13 on the worlds `texture`, `shape` and `scale`; return changes at fixed candidates.

    Returns:
        by detector, for all objects ("overall") and by size: means with their intervals over images, and the
        numbers of objects and images.
    """
    measured: dict[str, Any] = {}
    for world in ("texture", "shape", "scale"):
        labels = [f"{world}_{family}" for family in _FAMILIES]
        local = setup.experiment_setup(f"{_GROUP}-{world}", _GROUP, labels, setup.layouts(world, _GROUP))
        found = setup.run(Texture(PhaseRandomised(), sizes=_SIZES if world == "scale" else (16, 32, 64)), local)
        measured |= {label: found["detectors"][label][FIXED] for label in labels}
    return measured


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about each detector, by the world that it learnt."""
    claims: list[Claim] = []
    for family in _FAMILIES:
        label = f"texture_{family}"
        claims += [loses_class(label, measured[label]["overall"]), keeps_box(label, measured[label]["overall"])]
    claims += [keeps_class(f"shape_{family}", measured[f"shape_{family}"]["overall"]) for family in _FAMILIES]
    for family in _FAMILIES:
        by_size = measured[f"scale_{family}"]["by_size"]
        small, large = (by_size.get(f"{size:g}") for size in _SIZES)
        claims.append(loses_large_objects(f"scale_{family}", small, large))
    return claims


def loses_class(label: str, overall: Mapping[str, Any]) -> Claim:
    """A detector that learnt textures no longer knows the class."""
    change = as_interval(overall["change_of_p"])
    return borne_out_claim(
        f"{_GROUP}/{label}",
        f"re-textured objects lose their class for {label}",
        f"mean change of probability at most {_LARGE:g}, its whole interval too",
        with_interval(change),
        f"{overall['objects']} objects of {overall['images']} images",
        f"a mean change of {_LARGE:g} or a smaller one",
        borne_out(change, Range(most=_LARGE), left_out=overall["images"]),
        {"change_of_p": change, "objects": overall["objects"]},
    )


def keeps_class(label: str, overall: Mapping[str, Any]) -> Claim:
    """A detector that learnt outlines is not affected."""
    change = as_interval(overall["change_of_p"])
    return borne_out_claim(
        f"{_GROUP}/{label}",
        f"re-textured objects keep their class for {label}",
        f"mean change of probability within {_NONE:g} of 0, its whole interval too",
        with_interval(change),
        f"{overall['objects']} objects of {overall['images']} images",
        f"a mean change of {_NONE:g} or more, up or down,",
        borne_out(change, Range(-_NONE, _NONE), left_out=overall["images"]),
        {"change_of_p": change, "objects": overall["objects"]},
    )


def keeps_box(label: str, overall: Mapping[str, Any]) -> Claim:
    """The box follows the outline, which stays."""
    p, iou = as_interval(overall["change_of_p"]), as_interval(overall["change_of_iou"])
    nearest = 0.0 if p.low <= 0 <= p.high else min(abs(p.low), abs(p.high))
    # The box's change must lie nearer to 0 than any change of probability that the data allow.
    verdict = (
        borne_out(iou, Range(-nearest, nearest), left_out=overall["images_of_both"]) if nearest else Verdict.UNDECIDED
    )
    return borne_out_claim(
        f"{_GROUP}/{label}-boxes",
        f"for {label} IoU changes less than probability",
        "the whole interval of IoU's change nearer to 0 than that of probability's",
        f"IoU {with_interval(iou)}, probability {with_interval(p)}",
        f"{overall['objects']} objects of {overall['images']} images",
        "IoU changing as much as probability",
        verdict,
        {"change_of_iou": iou, "change_of_p": p, "objects": overall["objects"]},
    )


def loses_large_objects(label: str, small: Mapping[str, Any] | None, large: Mapping[str, Any] | None) -> Claim:
    """Where texture tells the class of large objects only, only large ones lose it.

    Args:
        small, large: the changes of each group of sizes, the smallest and a larger one; None where the layouts have no
            such object.
    """
    nothing: Mapping[str, Any] = {"change_of_p": [None, None, None], "objects": 0, "images": 0}
    both = small is not None and large is not None
    small, large = small or nothing, large or nothing
    of_small, of_large = as_interval(small["change_of_p"]), as_interval(large["change_of_p"])
    # Small and large objects of one image are left out together.
    gap = as_interval(large["change_of_p_less_smallest"] if both else [None, None, None])
    return borne_out_claim(
        f"{_GROUP}/{label}",
        f"for {label} the drop of probability grows with the object's size",
        "change of probability more negative for large objects: the whole interval of the difference below 0",
        f"{with_interval(gap)} (small {of_small.value:.2f}, large {of_large.value:.2f})",
        f"{small['objects']} small and {large['objects']} large objects",
        "a drop that does not depend on size",
        borne_out(gap, Range(most=0.0), left_out=min(small["images"], large["images"])),
        {"difference": gap, "small": of_small, "large": of_large},
    )
