"""Orders of all pixels of an image, tried as a whole."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detinv.attribution.trials.values import Values

SHARES = 6
"""How many shares of the pixels are shown, and covered, to try an order."""


@torch.no_grad()
def worth_of_orders(
    values: Values,
    pixels: Float[Tensor, "1 3 rows columns"],
    empty: Float[Tensor, "3 rows columns"],
    orders: Float[Tensor, "pair order rows columns"],
    inside: Bool[Tensor, "rows columns"],
    batch_size: int,
) -> Float[Tensor, "pair order"]:
    """Return what images are worth that show the first pixels of an order, less those without them: a mean over shares.

    Args:
        pixels: the canvas.
        empty: what shows where it is covered.
        orders: place of each pixel, from 0 for the last to 1 for the first.
        inside: which pixels of the canvas show the image; the others stay as they are.
    """
    pairs, count = orders.shape[:2]
    shares = ((torch.arange(SHARES) + 0.5) / SHARES).tolist()
    jobs = [
        (pair, order, share, shown)
        for pair in range(pairs)
        for order in range(count)
        for share in shares
        for shown in (True, False)
    ]
    found = torch.zeros(pairs, count)
    for start in range(0, len(jobs), batch_size):
        part = jobs[start : start + batch_size]
        kept = [((orders[pair, order] >= 1 - share) == shown) | ~inside for pair, order, share, shown in part]
        versions = torch.stack([torch.where(one, pixels[0], empty) for one in kept])
        answers = values.value(versions, torch.tensor([pair for pair, *_ in part])).cpu()
        for (pair, order, _, shown), answer in zip(part, answers, strict=True):
            found[pair, order] += answer / SHARES if shown else -answer / SHARES
    return found
