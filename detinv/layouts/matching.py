"""One distinct candidate for each object."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def distinct_best(
    affinity: Float[Tensor, "batch object row"], valid: Bool[Tensor, "batch object"]
) -> Int64[Tensor, "batch object"]:
    """For each object the row of highest affinity, no row twice: greedy by descending affinity.

    Deferred acceptance: every object asks for its best row, a row keeps the object of higher affinity (of the lower
    index on a tie), the others ask for their next best. Because both sides rank by the same number, the stable
    matching is the greedy one; it needs at most as many rounds as there are objects. Fixed shapes, no device sync.

    Args:
        affinity: larger is better; rows at least as many as objects.
        valid: slots without an object neither ask nor keep; their result is 0.
    """
    objects = affinity.shape[1]
    ranked, rows = affinity.topk(min(objects, affinity.shape[2]), dim=2)
    index = torch.arange(objects, device=affinity.device)
    earlier = index[None, :] < index[:, None]
    choice = torch.zeros_like(rows[..., :1])
    for _ in range(objects - 1):
        row, value = rows.gather(2, choice)[..., 0], ranked.gather(2, choice)[..., 0]
        same = (row[:, :, None] == row[:, None, :]) & valid[:, :, None] & valid[:, None, :]
        beaten = (value[:, None, :] > value[:, :, None]) | ((value[:, None, :] == value[:, :, None]) & earlier)
        choice = (choice + (same & beaten).any(-1, keepdim=True)).clamp(max=rows.shape[2] - 1)
    return torch.where(valid, rows.gather(2, choice)[..., 0], 0)
