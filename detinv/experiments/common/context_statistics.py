"""Statistics of context: how often classes appear together, in inverted images and in layouts."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from scipy.stats import spearmanr

from detinv.experiments.common.cooccurrence import NamedDetection, TargetedObject, group_detections
from detinv.layouts.layout import Layout
from detinv.metrics.intervals import two_proportions_p

Run = tuple[TargetedObject, Sequence[NamedDetection]]
"""One image: the output of its candidate, and all detections."""
Counts = dict[str, dict[str, tuple[int, int]]]
"""By target class, by context class: images that show it, and images."""


def context_counts(runs: Sequence[Run], class_names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Count the images in which each class is context, and all images, by class.

    Args:
        runs: of one target class: the output of its candidate, and all detections in the image.
        class_names: of the detector that reported them.
    """
    appearing = [{one.name for one in group_detections(target, seen).context} for target, seen in runs]
    return {name: (sum(name in names for names in appearing), len(runs)) for name in class_names}


def top(counts: Mapping[str, tuple[int, int]], target: str, most: int) -> list[str]:
    """List the classes that most often appear with `target`, itself left out, most frequent first."""
    seen = [name for name, (count, _) in counts.items() if count and name != target]
    return sorted(seen, key=lambda name: -counts[name][0])[:most]


def asymmetries(counts: Counts) -> list[dict[str, Any]]:
    """Compare the rates of pairs of target classes in both directions, smallest p-value first.

    Each has the class `context`, which appears more often with `target` than the other way round: both rates, and the
    one-sided p-value of their difference, for one pair alone. Pairs that never appear together are left out.
    """
    found = []
    for first, second in combinations(counts, 2):
        if second not in counts[first] or first not in counts[second]:
            continue
        there, back = counts[first][second], counts[second][first]
        if not there[0] and not back[0]:
            continue
        target, context = first, second
        if back[0] * there[1] > there[0] * back[1]:
            target, context, there, back = second, first, back, there
        found.append(
            {
                "target": target,
                "context": context,
                "rate": there[0] / there[1],
                "reverse": back[0] / back[1],
                "p": two_proportions_p(there, back),
            }
        )
    return sorted(found, key=lambda pair: pair["p"])


def co_occurrence(layouts: Sequence[Layout], class_names: Sequence[str]) -> Counts:
    """Count the layouts with both of two classes, and those with the first, by class and other class."""
    present = [{class_names[label] for label in layout.labels.tolist()} for layout in layouts]
    return {
        first: {
            second: (sum({first, second} <= names for names in present), sum(first in names for names in present))
            for second in class_names
            if second != first
        }
        for first in class_names
    }


def agreement(counts: Counts, layouts: Counts) -> dict[str, Any]:
    """Compute the rank correlation of the context's rates with the layouts', over all ordered pairs of two classes.

    "same" compares P(k' | k) with the layouts' P(k' | k), "transposed" with their P(k | k'): a context that is more
    than mere co-occurrence follows the first more closely. None where either side is constant.
    """
    pairs = [
        (first, second)
        for first, by in counts.items()
        for second in by
        if first != second and layouts.get(first, {}).get(second, (0, 0))[1] and layouts[second][first][1]
    ]
    rates = [rate(counts[first][second]) for first, second in pairs]
    same = [rate(layouts[first][second]) for first, second in pairs]
    transposed = [rate(layouts[second][first]) for first, second in pairs]
    return {"same": _spearman(rates, same), "transposed": _spearman(rates, transposed), "pairs": len(pairs)}


def rate(count: tuple[int, int]) -> float:
    """Divide a count of images by the number of images."""
    return count[0] / count[1]


def _spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(spearmanr(first, second).statistic)
