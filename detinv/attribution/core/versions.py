"""Scalars of the same objects on changed versions of an image, with rows and regions held."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from detinv.attribution.core.forward import regions_of, rows_of, scalars
from detinv.attribution.core.frames import Frame
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.detectors.base import AbstractDetector


def version_scalars(
    detector: AbstractDetector,
    versions: Float[Tensor, "version 3 height width"],
    size: tuple[int, int],
    frame: Frame,
    objects: ExplainedObjects,
    questions: Sequence[Question],
) -> Float[Tensor, "version object question"]:
    """Return the answers on each version, in fp32, with gradient where the caller has it enabled.

    Args:
        versions: canvases.
        size: (height, width) of the image on each canvas.
        frame: where the image lies.
    """
    regions = regions_of(objects, frame, questions, versions)
    with torch.autocast(detector.device.type, enabled=False):
        predictions = detector(versions, [size] * len(versions), regions)
    found = scalars(predictions, rows_of(predictions, objects, frame), questions)
    return found[None] if len(versions) == 1 else found


def version_gradients(
    detector: AbstractDetector,
    versions: Float[Tensor, "version 3 height width"],
    size: tuple[int, int],
    frame: Frame,
    objects: ExplainedObjects,
    questions: Sequence[Question],
    factor: float = 1.0,
    within: AbstractContextManager | None = None,
) -> tuple[Float[Tensor, "version object question"], Float[Tensor, "object question 3 height width"]]:
    """Return the answers, and the gradient of each scalar summed over the versions.

    Args:
        factor: what the scalars are multiplied with before they are derived.
        within: entered around the forward pass, such as other rules of derivation.
    """
    leaf = torch.zeros_like(versions[:1]).requires_grad_()
    with torch.enable_grad(), within or nullcontext():
        # All versions differ from one leaf by constants, so its gradient is the sum over them.
        values = version_scalars(detector, versions + leaf, size, frame, objects, questions)
    flat = factor * values.sum(0).flatten()
    found = [torch.autograd.grad(value, leaf, retain_graph=True)[0][0] for value in flat]
    return values.detach(), torch.stack(found).reshape(*values.shape[1:], *versions.shape[1:])
