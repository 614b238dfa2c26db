"""Single objects: each detector sees the object that its image was made for, and none in images of random weights."""

from collections.abc import Mapping, Sequence
from typing import Any

from detinv.verification.claim import Claim, share_claim
from detinv.verification.evidence import Range

_GROUP = "objects"
# Shares of images: in which the object must be seen, of a violation, and in which random weights may show it.
_SEEN, _UNSEEN, _RANDOM = 0.9, 0.6, 0.05


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return one claim and one control for each detector."""
    claims = []
    for label, found in measured.items():
        claims += [seen(label, found["seen"]), random_weights(label, found["random"])]
    return claims


def seen(label: str, images: Mapping[str, Sequence[bool]]) -> Claim:
    """The detector's own inference finds the object.

    Args:
        images: by class, whether it is found.
    """
    never = [name for name, found in images.items() if not any(found)]
    return share_claim(
        f"{_GROUP}/{label}",
        f"{label} sees the object that a single candidate was asked for ({len(images)} classes)",
        f"in at least {_SEEN:.0%} of the images",
        **_counts(images),
        allowed=Range(least=_SEEN),
        violation=_UNSEEN,
        numbers={"by_class": {name: sum(found) for name, found in images.items()}, "never": never},
    )


def random_weights(label: str, images: Mapping[str, Sequence[bool]]) -> Claim:
    """Control: images of the same network with random weights do not show the object to the trained one."""
    return share_claim(
        f"{_GROUP}/control-{label}-random",
        f"control: {label} does not see the object in images of its network with random weights",
        f"in at most {_RANDOM:.0%} of the images",
        **_counts(images),
        allowed=Range(most=_RANDOM),
        violation=_UNSEEN,
    )


def _counts(images: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    every = [seen for found in images.values() for seen in found]
    return {"successes": sum(every), "trials": len(every), "unit": "images"}
