"""Arithmetic on XYXY boxes, batched over any leading axes, in the precision of its input.

torchvision has most of these functions too, and tests compare with them. The reasons for our own: `box_iou` gives the
same numbers, but takes up to four times as long on thousands of rows, and gives NaN for two empty boxes;
`generalized_box_iou_loss` rounds differently; `clip_boxes_to_image` takes one image size for all boxes.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def area(boxes: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows"]:
    """Return width times height, zero for reversed boxes."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(a: Float[Tensor, "*batch n 4"], b: Float[Tensor, "*batch m 4"]) -> Float[Tensor, "*batch n m"]:
    """Return the intersection over union of every box of `a` with every box of `b`, per batch row; in [0, 1]."""
    # Coordinate by coordinate, which is twice as fast on contiguous planes as on pairs.
    left, top, right, bottom = a[..., :, None, :].unbind(-1)
    other_left, other_top, other_right, other_bottom = b[..., None, :, :].unbind(-1)
    width = (torch.minimum(right, other_right) - torch.maximum(left, other_left)).clamp(min=0)
    height = (torch.minimum(bottom, other_bottom) - torch.maximum(top, other_top)).clamp(min=0)
    intersection = width * height
    union = area(a)[..., :, None] + area(b)[..., None, :] - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def paired_iou(a: Float[Tensor, "*rows 4"], b: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows"]:
    """Return the intersection over union of each box of `a` with the box of `b` in the same row; differentiable."""
    intersection = area(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1))
    return intersection / (area(a) + area(b) - intersection).clamp(min=torch.finfo(a.dtype).tiny)


def generalized_iou(a: Float[Tensor, "*rows 4"], b: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows"]:
    """Return the GIoU of each box of `a` with the box of `b` in the same row; in (-1, 1], differentiable.

    Source: Rezatofighi et al. 2019, algorithm 1: IoU - (|C| - |U|) / |C| with C the enclosing box.
    Departures: areas are clamped at the smallest normal number, so degenerate pairs give no NaN.
    """
    intersection = area(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1))
    enclosing = area(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1))
    tiny = torch.finfo(a.dtype).tiny
    union = (area(a) + area(b) - intersection).clamp(min=tiny)
    enclosing = enclosing.clamp(min=tiny)
    return intersection / union - (enclosing - union) / enclosing


def clip(boxes: Float[Tensor, "*rows 4"], limits: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows 4"]:
    """Clip boxes to images of (width, height) `limits`."""
    bound = torch.cat([limits, limits], dim=-1)
    return torch.minimum(boxes.clamp(min=0), bound)
