"""How often classes appear as context: rates by target class, compared within and across targets."""

import random
from collections.abc import Callable, Mapping, Sequence
from math import inf

from detinv.metrics.intervals import Interval, binomial_p
from detinv.verification.evidence import difference, share

Images = Sequence[Sequence[str]]
"""Of each image of one target class: names of the classes that appear as its context."""
ByTarget = Mapping[str, Images]
"""Images by target class; those of one number were started from the same noise."""


def rate(images: Images, name: str) -> Interval:
    """Return the share of the images that show a class as context, with its exact interval."""
    return share(sum(name in context for context in images), len(images))


def others(images: ByTarget, target: str, name: str) -> Images:
    """Return the images of all targets but one, and but the class whose context is counted itself."""
    return [context for other, found in images.items() if other not in (target, name) for context in found]


def excess(images: ByTarget, target: str, name: str) -> Interval:
    """Return how much more often a class appears with one target than with the others: the difference of two shares."""
    return difference(rate(images[target], name), rate(others(images, target, name), name))


def ranking(images: Images, target: str) -> list[str]:
    """List the classes that appear with a target, itself left out: most frequent first, then by name."""
    names = sorted({name for context in images for name in context} - {target})
    return sorted(names, key=lambda name: -sum(name in context for context in images))


def halves(images: ByTarget) -> tuple[ByTarget, ByTarget]:
    """Divide the images of every target into those of even and those of odd number."""
    return (
        {target: found[::2] for target, found in images.items()},
        {target: found[1::2] for target, found in images.items()},
    )


def specific(images: ByTarget, target: str) -> tuple[str | None, Interval]:
    """Choose the most frequent context on one half of the images and compare it on the other half.

    Returns:
        The class and its `excess` on images that did not choose it; None, and an interval without bounds, where no
        class appears.
    """
    first, second = halves(images)
    names = ranking(first[target], target)
    return (names[0], excess(second, target, names[0])) if names else (None, Interval(0.0, -inf, inf))


def dealt_out(images: ByTarget, seed: int = 0) -> ByTarget:
    """Deal all images out to the targets at random."""
    pool = [context for found in images.values() for context in found]
    random.Random(seed).shuffle(pool)
    dealt, start = {}, 0
    for target, found in images.items():
        dealt[target] = pool[start : start + len(found)]
        start += len(found)
    return dealt


def discordant(images: ByTarget, first: str, second: str) -> list[bool]:
    """Compare two targets, each as the other's context, image by image of the same start.

    Returns:
        One entry for each pair of images of which just one shows the other class: whether it is the one made for
        `first`.
    """
    pairs = zip(images[first], images[second], strict=False)
    return [second in there for there, back in pairs if (second in there) != (first in back)]


def asymmetric_pairs(images: ByTarget, flip: Callable[[], bool] = lambda: False, level: float = 0.05) -> list[str]:
    """List the pairs of targets of which one is the other's context more often than the other way round.

    Exact McNemar tests of all pairs, with Holm's correction.

    Args:
        flip: whether the two images of a pair change places, asked for each; by chance for a control.
        level: probability of any pair by chance.

    Returns:
        texts of the form "target: context", by rising p-value.
    """
    names, found = list(images), []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            forward = [kind != flip() for kind in discordant(images, first, second)]
            there = sum(forward)
            pair = (first, second) if 2 * there >= len(forward) else (second, first)
            found.append((binomial_p(there, len(forward)), f"{pair[0]}: {pair[1]}"))
    found.sort()
    kept = []
    for place, (p, text) in enumerate(found):
        if p * (len(found) - place) > level:
            break
        kept.append(text)
    return kept
