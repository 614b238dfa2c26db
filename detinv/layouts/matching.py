"""One distinct candidate for each object."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

# Rows of each object that enter the exact ranking; only ties among more rows than that are broken arbitrarily.
_PRESELECTED = 64
# Each round settles every object that waits for no other; longer chains do not occur in sensible layouts.
_ROUNDS = 16


def distinct_best(
    affinity: Float[Tensor, "batch object row"], valid: Bool[Tensor, "batch object"]
) -> Int64[Tensor, "batch object"]:
    """Return a different row for each object: greedily, by descending affinity.

    The rounds are parallel: every unsettled object asks for its best free row, and gets it unless another unsettled
    object has a higher affinity to that row. The pairs are those of the greedy algorithm, whatever the order. Ties go
    to the lower object, then to the lower row, so that the choice does not depend on the number of empty slots in the
    batch. Shapes are fixed, and an accelerator is never waited for.

    Args:
        affinity: larger is better; finite for valid objects, compared in float32; at least as many rows as objects.
        valid: false for slots without an object, which take no row; their result is 0.

    Returns:
        Row numbers. Chains of more than `_ROUNDS` objects, each waiting for the next, are cut off: the objects that
        are left each take their best free row, even if two of them take the same one.
    """
    batch, objects, _ = affinity.shape
    if objects == 0:
        return torch.zeros(batch, 0, dtype=torch.int64, device=affinity.device)
    affinity = affinity.detach().float()
    # No object can be pushed further down its list than there are objects.
    values, rows = _ranked(affinity, min(objects, affinity.shape[2]))
    slots = torch.arange(objects, device=affinity.device)
    earlier = slots[:, None] < slots
    open_objects, free = valid, torch.ones_like(rows, dtype=torch.bool)
    choice = torch.zeros(batch, objects, dtype=torch.int64, device=affinity.device)
    for _ in range(min(objects, _ROUNDS)):
        wish, rank = values.masked_fill(~free, -torch.inf).max(dim=2)
        row = rows.gather(2, rank[..., None])[..., 0]
        # (B, p, o): does the unsettled object p have a higher affinity to the row that o asks for?
        rival = affinity.gather(2, row[:, None].expand(-1, objects, -1))
        nearer = (rival > wish[:, None]) | ((rival == wish[:, None]) & earlier)
        beaten = (nearer & open_objects[..., None]).any(dim=1)
        choice = torch.where(open_objects, row, choice)
        settled = open_objects & ~beaten
        open_objects = open_objects & beaten
        given = torch.where(settled, row, -1)
        # On an accelerator this test would have to wait, which takes longer than the rounds that are left.
        if affinity.device.type == "cpu" and not open_objects.any():
            break
        free = free & (rows[..., None] != given[:, None, None]).all(-1)
    return choice


def _ranked(
    affinity: Float[Tensor, "batch object row"], count: int
) -> tuple[Float[Tensor, "batch object rank"], Int64[Tensor, "batch object rank"]]:
    """Return the `count` highest values of each object and their rows, equal values by ascending row.

    `topk` alone breaks ties differently for different `count`. An integer key made of the value, then the row, has no
    ties.
    """
    # Sorting keys is slow, so only a few rows are sorted; how many does not depend on the number of slots.
    few = affinity.topk(min(max(_PRESELECTED, count), affinity.shape[2]), dim=2).indices.sort(dim=2).values
    affinity = affinity.gather(2, few)
    # The bits of floats, read as integers, are in the order of the values once those of negative ones are flipped.
    # Adding 0 turns -0 into 0.
    bits = (affinity + 0.0).view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    last = affinity.shape[2] - 1
    backwards = last - torch.arange(last + 1, device=affinity.device)
    key = (ordered << 32) + backwards
    rows = last - (key.topk(count, dim=2).values & 0xFFFFFFFF)
    return affinity.gather(2, rows), few.gather(2, rows)
