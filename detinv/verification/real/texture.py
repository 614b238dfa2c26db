"""Textures: what detectors of photographs lose with an object's texture, by size."""

from collections.abc import Mapping
from typing import Any

from detinv.experiments.paper.texture import Texture
from detinv.experiments.textures.phase import PhaseRandomised
from detinv.experiments.textures.scene import FIXED
from detinv.layouts.sources import CocoLayouts
from detinv.verification.claim import Claim, as_interval, borne_out_claim, with_interval
from detinv.verification.evidence import Range, borne_out
from detinv.verification.real.detectors import DETECTORS, RANDOM
from detinv.verification.setup import VerificationSetup
from detinv.verification.texture import keeps_box, loses_large_objects

_GROUP, _SIZE = "texture", "real_texture"
# Square roots of areas, in pixels of the photographs: small objects are those below 64, which is between the two.
_SMALL, _LARGE = 32.0, 128.0
# Mean change of probability of random weights.
_NONE = 0.05


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figure 13 on photographs, for all detectors and their networks with random weights.

    Returns:
        by detector, for all objects ("overall") and by size: means with their intervals over images, and the
        numbers of objects and images.
    """
    assert setup.annotations is not None
    source = CocoLayouts(setup.annotations, count=setup.sample_sizes[_SIZE].count, seed=setup.seed)
    random = [{"name": label, "label": f"{RANDOM}{label}", "weights": "random"} for label in DETECTORS]
    local = setup.experiment_setup(f"real-{_GROUP}", _SIZE, [*DETECTORS, *random], source)
    found = setup.run(Texture(PhaseRandomised(), sizes=(_SMALL, _LARGE)), local)["detectors"]
    return {label: found[label][FIXED] for label in local.labels}


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return for each detector what it loses, and random weights as a control."""
    claims = []
    for label in DETECTORS:
        found = measured[label]
        small, large = (found["by_size"].get(f"{size:g}") for size in (_SMALL, _LARGE))
        claims += [loses_class(label, found["overall"]), keeps_box(label, found["overall"])]
        claims += [
            loses_large_objects(label, small, large),
            random_weights(label, measured[f"{RANDOM}{label}"]["overall"]),
        ]
    return claims


def loses_class(label: str, overall: Mapping[str, Any]) -> Claim:
    """The probability of the class falls with the texture."""
    change = as_interval(overall["change_of_p"])
    return borne_out_claim(
        f"{_GROUP}/{label}-falls",
        f"with another texture in their outline, objects become less probable for {label}",
        "mean change of probability below 0, its whole interval too",
        f"{with_interval(change)} (from {overall['p_before']:.2f} to {overall['p_after']:.2f})",
        f"{overall['objects']} objects of {overall['images']} images",
        "no change",
        borne_out(change, Range(most=0.0), left_out=overall["images"]),
        {"change_of_p": change, "objects": overall["objects"]},
    )


def random_weights(label: str, overall: Mapping[str, Any]) -> Claim:
    """Control: random weights lose nothing."""
    change = as_interval(overall["change_of_p"])
    return borne_out_claim(
        f"{_GROUP}/control-{label}-random",
        f"control: for {label}'s network with random weights, they do not",
        f"mean change of probability within {_NONE:g} of 0, its whole interval too",
        with_interval(change, digits=3),
        f"{overall['objects']} objects of {overall['images']} images",
        f"a mean change of {_NONE:g} or more, up or down,",
        borne_out(change, Range(-_NONE, _NONE), left_out=overall["images"]),
        {"change_of_p": change, "objects": overall["objects"]},
    )
