"""The groups of claims, by name: how each is measured, and how its measurements are decided."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detinv.verification import (
    attribution,
    attribution_maps,
    context,
    cues,
    disentangle,
    single_object,
    texture,
    transfer,
)
from detinv.verification.claim import Claim
from detinv.verification.setup import VerificationSetup


@dataclass(frozen=True)
class ClaimGroup:
    """Claims that rest on the same measurements.

    Args:
        measure: measures detectors and returns the numbers, ready for JSON.
        decide: from those measurements, or from what JSON makes of them, to the verdicts; needs no detector.
        photographs: whether annotated photographs are needed.
    """

    measure: Callable[[VerificationSetup], dict[str, Any]]
    decide: Callable[[Mapping[str, Any]], list[Claim]]
    photographs: bool = False


GROUPS = {
    "transfer": ClaimGroup(transfer.measure, transfer.decide),
    "disentangle": ClaimGroup(disentangle.measure, disentangle.decide),
    "texture": ClaimGroup(texture.measure, texture.decide),
    "context": ClaimGroup(context.measure, context.decide),
    "cues": ClaimGroup(cues.measure, cues.decide),
    "single_object": ClaimGroup(single_object.measure, single_object.decide),
    "attribution": ClaimGroup(attribution_maps.measure, attribution.decide),
}
