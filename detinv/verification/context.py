"""Context: planted companions appear, on their side, and none appears where none was planted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.context import Context
from detinv.experiments.paper.position import Position
from detinv.metrics.intervals import wilson
from detinv.verification.claim import Claim, borne_out_claim, percent, share_claim, with_interval
from detinv.verification.evidence import Range, borne_out, difference, not_contradicted, share, share_power
from detinv.verification.setup import VerificationSetup
from detinv.worlds.context import Companion, ContextWorld

Images = Sequence[Sequence[str]]
"""Of each image of one target class: names of the classes that appear as its context."""

_GROUP, _ALONE_SIZE = "context", "context_alone"
_DETECTOR = "context_retinanet"
_RANDOM = f"random_{_DETECTOR}"
# Shares of images: that must show a planted companion; that may show one where none was planted, and where nothing was
# learnt at all; and one that would be a violation there.
_PRESENT, _ABSENT, _NOTHING, _VIOLATION = 0.5, 0.1, 0.05, 0.5
# For the control without a planted side, whose true value is the very value that is tested: a 95 % interval would make
# one run in twenty fail.
_SIDE_LEVEL, _ONE_SIDED = 0.99, 0.99
# Of the objects, in pixels.
_SIDE = 28.0
# Look-alikes of which only the first has a companion.
_WITH, _WITHOUT = "gear", "hoop"
_PLANTED = ContextWorld.companions
# Classes that their own outline identifies.
_ALONE = tuple(name for name in ContextWorld.class_names if name not in (*_PLANTED, _WITHOUT))


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run figures 10 and 11 on the world `context`, and figure 10 on a network that learnt nothing.

    Returns:
        "context": by target class, the names of the context in each image; "sides": by target class, by context class,
        counts of images in which it lies above, below, left and right; "random": as "context", of a network with random
        weights, judged by the trained one.
    """
    count, alone = (setup.sample_sizes[size].count for size in (_GROUP, _ALONE_SIZE))
    layouts = setup.layouts("context", _GROUP)
    local = setup.experiment_setup(_GROUP, _GROUP, [_DETECTOR], layouts)
    paired = CentralObjects(seeds=count, side=_SIDE, classes=(*_PLANTED, _WITHOUT))
    context = _context(setup, local, paired, _DETECTOR)
    # Of the same images, which are in the local's folder.
    position = setup.run(Position(paired), local, "position")["sides"][_DETECTOR]
    local = setup.experiment_setup(f"{_GROUP}-alone", _ALONE_SIZE, [_DETECTOR], layouts)
    context |= _context(setup, local, CentralObjects(seeds=alone, side=_SIDE, classes=_ALONE), _DETECTOR)
    entry = {"name": _DETECTOR, "label": _RANDOM, "weights": "random"}
    local = setup.experiment_setup(f"{_GROUP}-random", _ALONE_SIZE, [entry], layouts)
    objects = CentralObjects(seeds=alone, side=_SIDE, classes=tuple(_PLANTED))
    return {
        "context": context,
        "sides": {name: position[name] for name in _PLANTED},
        "random": _context(setup, local, objects, _RANDOM, judge=_DETECTOR),
    }


def _context(
    setup: VerificationSetup, local: ExperimentSetup, objects: CentralObjects, label: str, judge: str | None = None
) -> dict[str, Images]:
    found = setup.run(Context(objects, judge=judge, control=False), local)["images"][label]
    return {name: [image["context"] for image in images] for name, images in found.items()}


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about each planted companion, and those about what was not planted."""
    context: Mapping[str, Images] = measured["context"]
    sides = measured["sides"]
    one_sided = {name: companion for name, companion in _PLANTED.items() if len(companion.sides) == 1}
    claims = []
    for name, companion in _PLANTED.items():
        claims += [present(name, companion, context[name]), most_frequent(name, companion, context[name])]
    claims += [on_side(name, companion, sides[name]) for name, companion in one_sided.items()]
    claims += [alone({name: context[name] for name in _ALONE}), without(context[_WITHOUT])]
    claims += [asymmetric(name, companion, context) for name, companion in one_sided.items()]
    claims += [no_side(name, companion, sides[name]) for name, companion in _PLANTED.items() if name not in one_sided]
    return [*claims, random_weights(measured["random"])]


def present(name: str, companion: Companion, images: Images) -> Claim:
    """The planted companion appears with the object."""
    return share_claim(
        f"{_GROUP}/{name}",
        f"{companion.name} appears with {name}",
        f"in at least {_PRESENT:.0%} of the images",
        successes=_count(images, companion.name),
        trials=len(images),
        unit="images",
        allowed=Range(least=_PRESENT),
        violation=_ABSENT,
    )


def most_frequent(name: str, companion: Companion, images: Images) -> Claim:
    """The planted companion is the class that appears most often with the object."""
    counts = Counter(other for context in images for other in set(context) - {name})
    mine = counts.pop(companion.name, 0)
    next_name, second = counts.most_common(1)[0] if counts else ("none", 0)
    # Of the images with just one of the two, those with the companion.
    both = sum({companion.name, next_name} <= set(context) for context in images)
    alone, other = mine - both, second - both
    preferred = share(alone, alone + other)
    return borne_out_claim(
        f"{_GROUP}/{name}-most-frequent",
        f"{companion.name} is the most frequent context of {name}",
        "more frequent than the next class: the whole interval of its share of the images with either above 50%",
        f"{percent(preferred)} ({companion.name} in {mine} images, {next_name} in {second})",
        f"{len(images)} images",
        "another class as frequent",
        borne_out(preferred, Range(least=0.5)),
        {"images": len(images), "companion": mine, "next": second, "preferred": preferred},
    )


def on_side(name: str, companion: Companion, sides: Mapping[str, Mapping[str, Any]]) -> Claim:
    """The companion appears on the side on which it was planted."""
    (side,) = companion.sides
    axis = ("above", "below") if side in ("above", "below") else ("left", "right")
    found = sides.get(companion.name, dict.fromkeys(axis, 0))
    there, trials = found[side], found[axis[0]] + found[axis[1]]
    measured = share(there, trials)
    return borne_out_claim(
        f"{_GROUP}/{name}-side",
        f"{companion.name} appears {side} {name}",
        "on that side more often than on the other: the whole interval above 50%",
        percent(measured),
        f"{trials} images with {companion.name}",
        "no preference for a side",
        borne_out(measured, Range(least=0.5)),
        {"share": measured, "successes": there, "trials": trials},
    )


def alone(images: Mapping[str, Images]) -> Claim:
    """Objects that their own outline tells apart have no context.

    Args:
        images: of each such class.
    """
    with_context = {name: sum(bool(set(context) - {name}) for context in found) for name, found in images.items()}
    return share_claim(
        f"{_GROUP}/alone",
        f"classes that stand alone ({', '.join(images)}) have no context",
        f"any other class in at most {_ABSENT:.0%} of their images",
        successes=sum(with_context.values()),
        trials=sum(map(len, images.values())),
        unit="images",
        allowed=Range(most=_ABSENT),
        violation=_VIOLATION,
        numbers={"by_class": with_context},
    )


def without(images: Images) -> Claim:
    """What tells a ring with a peg from one without does not appear with the one without.

    Args:
        images: with a hoop as the target.
    """
    companion = _PLANTED[_WITH].name
    return share_claim(
        f"{_GROUP}/{_WITHOUT}",
        f"{companion}, which tells {_WITH} from {_WITHOUT}, does not appear with {_WITHOUT}",
        f"in at most {_ABSENT:.0%} of the images",
        successes=_count(images, companion),
        trials=len(images),
        unit="images",
        allowed=Range(most=_ABSENT),
        violation=_VIOLATION,
    )


def asymmetric(name: str, companion: Companion, context: Mapping[str, Images]) -> Claim:
    """The object is not the companion's context, although the companion is the object's."""
    there, back = context[name], context[companion.name]
    rate, reverse = (
        wilson(_count(images, other), len(images)) for images, other in ((there, companion.name), (back, name))
    )
    gap = difference(rate, reverse)
    return borne_out_claim(
        f"{_GROUP}/{name}-asymmetry",
        f"{companion.name} appears with {name} more often than {name} with {companion.name}",
        "the whole interval of the difference of the two rates above 0",
        f"{with_interval(gap)} ({rate.value:.0%} against {reverse.value:.0%})",
        f"{len(there)} and {len(back)} images",
        "equal rates",
        borne_out(gap, Range(least=0.0)),
        {"difference": gap, "rate": rate, "reverse": reverse},
    )


def no_side(name: str, companion: Companion, sides: Mapping[str, Mapping[str, Any]]) -> Claim:
    """Control: a companion planted on both sides alike shows no preference for one."""
    found = sides.get(companion.name, {"left": 0, "right": 0})
    trials = found["left"] + found["right"]
    measured, allowed = share(found["left"], trials, _SIDE_LEVEL), Range(0.5, 0.5)
    power = share_power(trials, allowed, _ONE_SIDED, _SIDE_LEVEL)
    return Claim(
        f"{_GROUP}/control-{name}-side",
        f"control: {companion.name}, planted left and right of {name} alike, appears on neither side in particular",
        f"the {_SIDE_LEVEL:.0%} interval of the share at the left includes 50%",
        percent(measured),
        f"{trials} images with {companion.name}",
        f"a share of {_ONE_SIDED:.0%} on one side",
        power,
        not_contradicted(measured, allowed, power),
        {"left": measured, "successes": found["left"], "trials": trials},
    )


def random_weights(images: Mapping[str, Images]) -> Claim:
    """Control: single objects of a network that learnt nothing show the trained detector no companion.

    Args:
        images: of each class that has a companion.
    """
    counts = {name: _count(found, _PLANTED[name].name) for name, found in images.items()}
    return share_claim(
        f"{_GROUP}/control-random",
        "control: single objects of a network with random weights show the trained detector no planted companion",
        f"in at most {_NOTHING:.0%} of the images",
        successes=sum(counts.values()),
        trials=sum(map(len, images.values())),
        unit="images",
        allowed=Range(most=_NOTHING),
        violation=_VIOLATION,
        numbers={"by_class": counts},
    )


def _count(images: Images, name: str) -> int:
    return sum(name in context for context in images)
