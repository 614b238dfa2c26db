"""Tries an adapter: does it keep the contract of `AbstractDetector`, so that inversions through it mean anything?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from detinv.checks.annotated import detections_are_the_annotated_objects
from detinv.checks.detections import inverts_layouts, raw_predictions_are_the_inference, targets_give_the_layout
from detinv.checks.finding import Finding
from detinv.checks.gradients import gradient_reaches_layers, gradient_reaches_pixels
from detinv.checks.numerics import batch_equals_single_images, bfloat16_is_close
from detinv.checks.rows import columns_are_the_classes, decoding_undoes_encoding, objects_own_rows
from detinv.checks.state import hooks_are_removed, is_frozen, size_settles, weights_are_untouched
from detinv.checks.trial import AdapterTrial
from detinv.detectors.base import AbstractDetector
from detinv.errors import DetinvError
from detinv.inversion.preset import Preset
from detinv.layouts.layout import Layout

CLAIMS: dict[str, Callable[[AdapterTrial], Finding]] = {
    "frozen, in evaluation mode": is_frozen,
    "network_size settles": size_settles,
    "one column for each class, one anchor for each row": columns_are_the_classes,
    "decoding undoes encoding": decoding_undoes_encoding,
    "every object owns a row that can have its box": objects_own_rows,
    "gradient reaches every pixel": gradient_reaches_pixels,
    "gradient reaches every feature layer": gradient_reaches_layers,
    "a batch equals single images": batch_equals_single_images,
    "empty layout, one object, many objects": inverts_layouts,
    "raw predictions, post-processed, are its inference": raw_predictions_are_the_inference,
    "pseudo-targets give the layout": targets_give_the_layout,
    "bfloat16 is close to float32": bfloat16_is_close,
    "weights untouched": weights_are_untouched,
    "no hook left behind": hooks_are_removed,
}
"""All claims with what tries them, in the order in which one would fix what does not hold."""

OF_PHOTOGRAPHS: dict[str, Callable[[AdapterTrial], Finding]] = {
    "its detections are the annotated objects": detections_are_the_annotated_objects,
}
"""The claim that needs annotated photographs: it finds what `forward` and `detect` get wrong in the same way."""


@dataclass(frozen=True)
class Verdict:
    """One line of the table.

    Args:
        claim: what should hold.
        holds: whether it does; None when nothing could be shown.
        measured: the figures behind it.
        advice: what to change where it fails, as far as that can be told.
    """

    claim: str
    holds: bool | None
    measured: str
    advice: str = ""


def check_adapter(
    detector: AbstractDetector,
    preset: Preset,
    image_sizes: Sequence[tuple[int, int]] = ((480, 640), (640, 480), (500, 500)),
    *,
    steps: int = 20,
    seed: int = 0,
    images: Sequence[UInt8[Tensor, "3 _ _"]] = (),
    truth: Sequence[Layout] = (),
) -> list[Verdict]:
    """Return the verdict on each of `CLAIMS`, and on that of photographs where their objects are known.

    Args:
        detector: on the device to be tried.
        preset: of the short inversions.
        image_sizes: (height, width) of images as a camera would give them; tried at the size to which the detector
            resizes them.
        steps: of the short inversions. Their images serve as input as well, as they surely contain something to detect.
        seed: of layouts and images.
        images: further input, such as photographs; resized to the network's input if need be.
        truth: the objects of each of them, in their pixels, with the detector's class numbers.
    """
    trial = AdapterTrial(detector, preset, image_sizes, steps, seed, images, truth)
    verdicts = []
    for claim, attempt in (CLAIMS | (OF_PHOTOGRAPHS if truth else {})).items():
        try:
            found = attempt(trial)
        except (DetinvError, ValueError, TypeError, RuntimeError, IndexError, AssertionError) as error:
            # An error in the adapter is a verdict, and does not keep the other claims from being tried.
            found = Finding(False, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
        verdicts.append(Verdict(claim, *found))
    return verdicts
