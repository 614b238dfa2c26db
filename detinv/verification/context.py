"""Context: companions that were planted appear, on their side, and where none were planted none do."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from detinv.experiments.common.beside import read
from detinv.experiments.common.central import CentralObjects
from detinv.experiments.common.workbench import Workbench
from detinv.experiments.protocols.context import Context
from detinv.experiments.protocols.position import Position
from detinv.metrics.intervals import Interval, wilson
from detinv.verification.claim import Claim, percent
from detinv.verification.means import Means
from detinv.worlds.context import Companion, ContextWorld

PART = "context"
_DETECTOR = "context_retinanet"
_LEVEL = 0.05
# Share of images that may show a companion where none was planted, and where nothing was learnt at all.
_ABSENT, _NOTHING = 0.1, 0.05
_SIDE = 28.0
# Look-alikes of which only the first has a companion.
_WITH, _WITHOUT = "gear", "hoop"
_ONE_SIDED = {name: companion for name, companion in ContextWorld.companions.items() if len(companion.sides) == 1}
_TWO_SIDED = {name: companion for name, companion in ContextWorld.companions.items() if len(companion.sides) > 1}


def check(means: Means) -> list[Claim]:
    """Figures 10 and 11 on the world `context`, and on a network that learnt nothing."""
    objects = CentralObjects(seeds=means.parts[PART].count, side=_SIDE)
    source = means.layouts("context", PART)
    bench = means.bench(PART, PART, [_DETECTOR], source)
    context = means.run(Context(objects, control=False), bench)
    # Of the same images, which lie in the bench's folder.
    position = means.run(Position(objects), bench, into="position")
    rates, sides = context["rates"][_DETECTOR], position["sides"][_DETECTOR]
    claims = [frequent(name, companion, rates[name]) for name, companion in ContextWorld.companions.items()]
    claims += [on_side(name, companion, sides[name]) for name, companion in _ONE_SIDED.items()]
    lonely = [name for name in ContextWorld.class_names if name not in (*ContextWorld.companions, _WITHOUT)]
    claims.append(alone({name: company(objects, bench, name) for name in lonely}))
    claims.append(without(rates[_WITHOUT]))
    claims += [asymmetric(name, companion, context["asymmetry"][_DETECTOR]) for name, companion in _ONE_SIDED.items()]
    claims += [no_side(name, companion, sides[name]) for name, companion in _TWO_SIDED.items()]
    return claims + [random_weights(means, objects)]


def company(objects: CentralObjects, bench: Workbench, name: str) -> list[set[str]]:
    """Names of the classes seen beside the driven object, image by image."""
    runs = zip(objects.driven(bench, _DETECTOR, name), objects.seen(bench, _DETECTOR, name), strict=True)
    return [{one.name for one in read(driven, seen).context} for driven, seen in runs]


def frequent(name: str, companion: Companion, rates: Mapping[str, Sequence[float]]) -> Claim:
    """The planted companion is what is seen most often beside the object."""
    others = {other: Interval(*rate) for other, rate in rates.items() if other != name}
    best = max(others, key=lambda other: others[other].value)
    mine = others[companion.name]
    second = max(rate.value for other, rate in others.items() if other != companion.name)
    return Claim(
        f"context/{name}",
        f"{companion.name} is the most frequent context of {name}",
        "more frequent than every other class, and in more than half of the images",
        f"{companion.name} in {percent(mine)} of the images, the next class in {second:.0%}",
        best == companion.name and mine.value > max(second, 0.5),
        {"rates": others},
    )


def on_side(name: str, companion: Companion, sides: Mapping[str, Mapping[str, Any]]) -> Claim:
    """The companion is seen on the side on which it was planted."""
    (side,) = companion.sides
    axis = ("above", "below") if side in ("above", "below") else ("left", "right")
    found = sides.get(companion.name, {**dict.fromkeys(axis, 0), f"{axis[0]}_p": 1.0})
    there, all_of_them = found[side], found[axis[0]] + found[axis[1]]
    return Claim(
        f"context/{name}-side",
        f"{companion.name} appears {side} {name}",
        f"on that side more often than not, binomial test below {_LEVEL:g}",
        f"{there} of {all_of_them}, p = {found[f'{axis[0]}_p']:.2g}",
        2 * there > all_of_them and found[f"{axis[0]}_p"] < _LEVEL,
        {"sides": found},
    )


def alone(images: Mapping[str, Sequence[Collection[str]]]) -> Claim:
    """Beside objects that are told by their own outline nothing else appears.

    Args:
        images: of each such class, the names of the context in each image.
    """
    with_one = {name: sum(bool(set(seen) - {name}) for seen in mine) for name, mine in images.items()}
    share = wilson(sum(with_one.values()), sum(len(mine) for mine in images.values()))
    return Claim(
        "context/alone",
        f"classes that stand alone ({', '.join(images)}) have no context",
        f"any other class in at most {_ABSENT:.0%} of their images",
        percent(share),
        share.value <= _ABSENT,
        {"share": share, "images_with_one": with_one},
    )


def without(rates: Mapping[str, Sequence[float]]) -> Claim:
    """What tells a ring with a peg from one without does not appear beside the one without.

    Args:
        rates: of all classes beside `hoop`.
    """
    companion = ContextWorld.companions[_WITH].name
    rate = Interval(*rates[companion])
    return Claim(
        f"context/{_WITHOUT}",
        f"{companion}, which tells {_WITH} from {_WITHOUT}, does not appear beside {_WITHOUT}",
        f"in at most {_ABSENT:.0%} of the images",
        percent(rate),
        rate.value <= _ABSENT,
        {"rates": rates},
    )


def asymmetric(name: str, companion: Companion, pairs: Sequence[Mapping[str, Any]]) -> Claim:
    """The object is not the companion's context as the companion is the object's."""
    pair = next((one for one in pairs if {one["driven"], one["beside"]} == {name, companion.name}), None)
    if pair is None:
        pair = {"driven": name, "beside": companion.name, "rate": 0.0, "reverse": 0.0, "p": 1.0}
    return Claim(
        f"context/{name}-asymmetry",
        f"{companion.name} appears beside {name} more often than {name} beside {companion.name}",
        f"one-sided test of the two rates below {_LEVEL:g}",
        f"{pair['rate']:.0%} against {pair['reverse']:.0%}, p = {pair['p']:.2g}"
        + ("" if pair["driven"] == name else " the other way round"),
        pair["driven"] == name and pair["p"] < _LEVEL,
        dict(pair),
    )


def no_side(name: str, companion: Companion, sides: Mapping[str, Mapping[str, Any]]) -> Claim:
    """Control: a companion planted on both sides alike shows no preference for one."""
    found = sides.get(companion.name, {"left": 0, "right": 0, "left_p": 1.0})
    return Claim(
        f"control/{name}-side",
        f"{companion.name}, planted left and right of {name} alike, is found on no side in particular",
        f"binomial test not below {_LEVEL:g}",
        f"{found['left']} left, {found['right']} right, p = {found['left_p']:.2g}",
        found["left_p"] >= _LEVEL,
        {"sides": found},
    )


def random_weights(means: Means, objects: CentralObjects) -> Claim:
    """Control: a network that learnt nothing shows the trained detector no companion."""
    label = f"random_{_DETECTOR}"
    entry = {"name": _DETECTOR, "label": label, "weights": "random"}
    bench = means.bench(f"{PART}-random", PART, [entry], means.layouts("context", PART))
    accompanied = replace(objects, classes=tuple(ContextWorld.companions))
    found = means.run(Context(accompanied, judge=_DETECTOR, control=False), bench)["rates"][label]
    seeds = means.parts[PART].count
    shown = {name: round(found[name][companion.name][0] * seeds) for name, companion in ContextWorld.companions.items()}
    share = wilson(sum(shown.values()), seeds * len(shown))
    return Claim(
        "control/random-context",
        "single objects of a network with random weights show the trained detector no planted companion",
        f"in at most {_NOTHING:.0%} of the images",
        percent(share),
        share.value <= _NOTHING,
        {"share": share, "images_with_one": shown},
    )
