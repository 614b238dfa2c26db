"""What trying a claim shows."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Finding(NamedTuple):
    """The outcome of one claim.

    Args:
        holds: whether it does; None when nothing could be shown.
        measured: the figures behind it; where it fails, the worst object: wanted, got, error.
        advice: what to change where it fails, as far as that can be told.
    """

    holds: bool | None
    measured: str
    advice: str = ""


def box_text(box: Float[Tensor, " 4"]) -> str:
    """Write a box as x0, y0, x1, y1 in pixels."""
    return f"[{', '.join(f'{value:.1f}' for value in box.tolist())}]"


def worst_text(name: str, wanted: Float[Tensor, " 4"], got: Float[Tensor, " 4"]) -> str:
    """Write an object with its wanted and its actual box, and the largest error of a side."""
    error = float(torch.nan_to_num((wanted - got).abs(), torch.inf).max())
    return f"worst: {name} {box_text(wanted)}, got {box_text(got)}, off by {error:.3g} px"
