"""Layouts in another detector's class numbers."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from detinv.layouts.layout import Layout


def relabelled(layout: Layout, names: Sequence[str], other: Sequence[str]) -> Layout:
    """The layout with the class numbers of another detector; objects of classes that it does not know are left out.

    Args:
        names: of the classes, as the layout numbers them.
        other: as the other detector does.
    """
    if tuple(names) == tuple(other):
        return layout
    numbers = torch.tensor([other.index(name) if name in other else -1 for name in names])
    labels = numbers[layout.labels]
    kept = layout.select(labels >= 0)
    return replace(kept, labels=labels[labels >= 0])
