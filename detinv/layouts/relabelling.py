"""Layouts in another detector's class numbers."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from detinv.layouts.layout import Layout


def relabelled(layout: Layout, names: Sequence[str], other: Sequence[str]) -> Layout:
    """Return the layout with the class numbers of another detector, without objects of classes that it lacks.

    Args:
        layout: with class numbers that index `names`.
        names: class names of the one detector.
        other: class names of the other detector.
    """
    if tuple(names) == tuple(other):
        return layout
    numbers = torch.tensor([other.index(name) if name in other else -1 for name in names])
    labels = numbers[layout.labels]
    kept = layout.select(labels >= 0)
    return replace(kept, labels=labels[labels >= 0])
