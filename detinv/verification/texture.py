"""Textures: taking an object's texture away hurts the detector that learnt textures, and no other."""

from collections.abc import Mapping, Sequence
from typing import Any

from detinv.experiments.protocols.texture import FIXED, Texture
from detinv.experiments.textures.phase import PhaseRandomised
from detinv.metrics.intervals import Interval
from detinv.verification.claim import Claim, shown
from detinv.verification.means import Means
from detinv.worlds.scale import LARGE, SMALL

PART = "texture"
# What counts as a large change of probability, and as none.
_LARGE, _NONE = -0.3, 0.1
_FAMILIES = ("retinanet", "fasterrcnn")
# The middle of each group of sizes in the world `scale`, in pixels.
_SIZES = (sum(SMALL) / 2, sum(LARGE) / 2)


def check(means: Means) -> list[Claim]:
    """Figure 13 on the worlds `texture`, `shape` and `scale`, at fixed candidates."""
    claims: list[Claim] = []
    for world in ("texture", "shape", "scale"):
        labels = [f"{world}_{family}" for family in _FAMILIES]
        bench = means.bench(f"{PART}-{world}", PART, labels, means.layouts(world, PART))
        found = means.run(Texture(PhaseRandomised(), sizes=_SIZES if world == "scale" else (16, 32, 64)), bench)
        for label in labels:
            numbers = found["detectors"][label][FIXED]
            if world == "texture":
                claims += [falls(label, numbers["overall"]), boxes_stay(label, numbers["overall"])]
            elif world == "shape":
                claims.append(stays(label, numbers["overall"]))
            else:
                claims.append(grows(label, numbers["by_size"], _SIZES))
    return claims


def falls(label: str, overall: Mapping[str, Any]) -> Claim:
    """A detector of textures no longer knows the class."""
    change = Interval(*overall["change_of_p"])
    return Claim(
        f"texture/{label}",
        f"re-textured objects lose their class for {label}",
        f"mean change of probability at most {_LARGE:g}, its whole interval too",
        shown(change),
        change.high <= _LARGE,
        {"change_of_p": change, "objects": overall["objects"]},
    )


def stays(label: str, overall: Mapping[str, Any]) -> Claim:
    """A detector of outlines does not mind."""
    change = Interval(*overall["change_of_p"])
    return Claim(
        f"texture/{label}",
        f"re-textured objects keep their class for {label}",
        f"mean change of probability within {_NONE:g} of 0, its whole interval too",
        shown(change),
        change.low >= -_NONE and change.high <= _NONE,
        {"change_of_p": change, "objects": overall["objects"]},
    )


def grows(label: str, by_size: Mapping[str, Mapping[str, Any]], sizes: Sequence[float]) -> Claim:
    """Where only large objects are told by their texture, only large ones are lost."""
    small, large = (Interval(*by_size[f"{size:g}"]["change_of_p"]) for size in sizes)
    return Claim(
        f"texture/{label}",
        f"for {label} the drop of probability grows with the object's size",
        "more negative for large objects than for small ones, intervals apart",
        f"small {shown(small)}, large {shown(large)}",
        large.high < small.low,
        {"small": small, "large": large},
    )


def boxes_stay(label: str, overall: Mapping[str, Any]) -> Claim:
    """The box hangs on the outline, which stays."""
    p, iou = Interval(*overall["change_of_p"]), Interval(*overall["change_of_iou"])
    reach = max(abs(iou.low), abs(iou.high))
    return Claim(
        f"texture/{label}-boxes",
        f"for {label} IoU changes less than probability",
        "intervals of the two changes apart, that of IoU nearer to 0",
        f"IoU {shown(iou)}, probability {shown(p)}",
        reach < min(abs(p.low), abs(p.high)),
        {"change_of_iou": iou, "change_of_p": p},
    )
