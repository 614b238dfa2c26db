"""An order of the pixels from the maps of a cheap method, from which a search goes on."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from detinv.attribution.core.frames import placed
from detinv.attribution.core.objects import ExplainedObjects
from detinv.attribution.core.questions import Question
from detinv.attribution.methods.activations import Job, activation_maps
from detinv.attribution.methods.base import AbstractMethod, ActivationMethod
from detinv.detectors.base import AbstractDetector
from detinv.errors import ConfigError

# What a pixel's place in the first order counts beside its part's place in the order that was found.
_FIRST = 0.3


def places(
    values: Float[Tensor, "height width"], inside: Bool[Tensor, "height width"]
) -> Float[Tensor, "height width"]:
    """Return the place of each pixel in the order of its values, from 0 for the least to 1; equal values share one.

    Args:
        inside: which pixels have a place; the others get 0.
    """
    _, which, counts = values[inside].unique(return_inverse=True, return_counts=True)
    middle = (counts.cumsum(0) - counts / 2) / counts.sum()
    found = torch.zeros_like(values)
    found[inside] = middle[which].to(found)
    return found


def first_places(
    method: AbstractMethod,
    detector: AbstractDetector,
    image: UInt8[Tensor, "3 height width"],
    objects: ExplainedObjects,
    questions: Sequence[Question],
    inside: Bool[Tensor, "rows columns"],
) -> Float[Tensor, "object question rows columns"]:
    """Return the place of each pixel in the order of a method's maps.

    Args:
        method: made of features and gradients, for each of the questions.
        inside: which pixels of the canvas show the image.

    Raises:
        ConfigError: for a method that changes the image itself.
    """
    jobs = []
    for number, question in enumerate(questions):
        chosen = method.for_question(question)
        if not isinstance(chosen, ActivationMethod):
            raise ConfigError(f"first: {type(chosen).__name__} is not made of features and gradients")
        jobs.append(Job(chosen, number))
    size = (inside.shape[0], inside.shape[1])
    found = torch.zeros(len(objects), len(questions), *size, device=inside.device)
    for one in activation_maps(detector, image, objects, questions, jobs)[0]:
        found[one.object, one.job] = places(placed(one.map, one.extent, size).to(found), inside)
    return found


def within_parts(
    parts: Float[Tensor, "rows columns"], first: Float[Tensor, "rows columns"], inside: Bool[Tensor, "rows columns"]
) -> Float[Tensor, "rows columns"]:
    """Return the places of pixels by the order of parts and, weighing three tenths of that, the first order of pixels.

    So pixels of a part have an order, and the borders of parts count little.

    Args:
        parts: values of the parts at their places.
        first: places of the pixels in the first order.
    """
    return places(places(parts, inside) + _FIRST * first, inside)


def falling(
    order: Float[Tensor, "rows columns"], parts: Float[Tensor, "rows columns"], inside: Bool[Tensor, "rows columns"]
) -> Float[Tensor, "rows columns"]:
    """Return a map that falls in an order of pixels as the values of parts do in their own.

    It goes in straight lines from the middle of one part to that of the next.

    Args:
        order: places of the pixels.
        parts: values of the parts at their places, all above 0.
    """
    values, counts = parts[inside].cpu().unique(return_counts=True)
    heights, widths = values.flip(0).double().numpy(), counts.flip(0).double().numpy()
    ends = np.cumsum(widths)
    middles = np.concatenate([[0.0], ends - widths / 2, ends[-1:]])
    above = heights[0] - heights[1] if len(heights) > 1 else heights[0]
    heights = np.concatenate([[heights[0] + above / 2], heights, [heights[-1] / 2]])
    numbers = order[inside].argsort(descending=True, stable=True).cpu()
    placed = torch.empty(len(numbers))
    placed[numbers] = torch.from_numpy(np.interp(np.arange(len(numbers)) + 0.5, middles, heights)).float()
    found = torch.zeros_like(parts)
    found[inside] = placed.to(parts)
    return found


def mean_by_part(values: Float[Tensor, "rows columns"], cells: Int64[Tensor, "rows columns"]) -> Float[Tensor, " part"]:
    """Return the mean of a map in each part.

    Args:
        cells: number of each pixel's part; -1 where there is none.
    """
    inside = cells >= 0
    count = int(cells.max()) + 1
    sums = torch.zeros(count, device=values.device).index_add(0, cells[inside], values[inside])
    return (sums / torch.bincount(cells[inside], minlength=count)).cpu()
