"""Context: which classes appear beside single objects, whether they belong to them, and in one direction only."""

import random
from collections.abc import Mapping
from typing import Any

from detinv.verification.claim import Claim, borne_out_claim, percent, share_claim, with_interval
from detinv.verification.evidence import Range, Verdict, borne_out, share
from detinv.verification.real.rates import (
    ByTarget,
    asymmetric_pairs,
    dealt_out,
    discordant,
    excess,
    others,
    ranking,
    rate,
    specific,
)

_GROUP = "context"
# Shares of images: "more than a fifth", "rarely", what a violation of it would be, and "most".
_FIFTH, _RARELY, _OFTEN, _MOST = 0.2, 0.1, 0.5, 0.5
# Of random weights: most that may show any context.
_RANDOM = 0.1
# Share of all classes that may belong to a target.
_CHANCE = 0.2
# Most targets whose context may seem specific by chance, of ten at 2.5 % each.
_BY_CHANCE = 2
_LISTED = 3


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return for each detector the paper's sentences, the context of every target, and the controls."""
    claims = []
    for label, found in measured.items():
        images = found["context"]
        claims += [fifth(label, images), one_way(label, images), rarely(label, images), most_people(label, images)]
        claims += [belongs(label, images, *pair) for pair in (("carrot", "broccoli"), ("cat", "bed"), ("dog", "bed"))]
        claims.append(not_universal(label, images))
        claims += [most_frequent(label, images, target) for target in images]
        claims += [asymmetric(label, images), directions_by_chance(label, images)]
        claims += [dealt_at_random(label, images), class_at_random(label, images)]
        claims.append(random_weights(label, found["random"]))
    return claims


def fifth(label: str, images: ByTarget) -> Claim:
    """People appear near more than a fifth of beds."""
    found = rate(images["bed"], "person")
    return borne_out_claim(
        f"{_GROUP}/{label}-bed-person",
        f"people appear near more than a fifth of {label}'s beds",
        f"the whole interval above {_FIFTH:.0%}",
        percent(found),
        f"{len(images['bed'])} images",
        f"people near {_FIFTH:.0%} of the beds or fewer",
        borne_out(found, Range(least=_FIFTH)),
        {"share": found},
    )


def one_way(label: str, images: ByTarget) -> Claim:
    """A bed brings a person more often than a person brings a bed."""
    found = discordant(images, "bed", "person")
    preferred = share(sum(found), len(found))
    there, back = rate(images["bed"], "person"), rate(images["person"], "bed")
    measured = percent(preferred) if found else "no pair differs"
    return borne_out_claim(
        f"{_GROUP}/{label}-bed-person-asymmetry",
        f"a person appears with {label}'s beds more often than a bed with its people",
        "of the pairs of images with one start that differ, more than half for the bed: the whole interval above 50%",
        f"{measured} (people with {there.value:.0%} of the beds, beds with {back.value:.0%} of the people)",
        f"{len(found)} pairs that differ of {len(images['bed'])}",
        "no difference",
        borne_out(preferred, Range(least=0.5)),
        {"preferred": preferred, "rate": there, "reverse": back},
    )


def rarely(label: str, images: ByTarget) -> Claim:
    """Beds rarely appear near people."""
    return share_claim(
        f"{_GROUP}/{label}-person-bed",
        f"beds rarely appear near {label}'s people",
        f"in at most {_RARELY:.0%} of the images",
        successes=sum("bed" in context for context in images["person"]),
        trials=len(images["person"]),
        unit="images",
        allowed=Range(most=_RARELY),
        violation=_OFTEN,
    )


def most_people(label: str, images: ByTarget) -> Claim:
    """Surfboards appear near most people."""
    found = rate(images["person"], "surfboard")
    return borne_out_claim(
        f"{_GROUP}/{label}-person-surfboard",
        f"surfboards appear near most of {label}'s people",
        f"the whole interval above {_MOST:.0%}",
        percent(found),
        f"{len(images['person'])} images",
        "surfboards near half of the people or fewer",
        borne_out(found, Range(least=_MOST)),
        {"share": found},
    )


def belongs(label: str, images: ByTarget, target: str, name: str) -> Claim:
    """A class that the paper names appears with its target more often than with the other targets."""
    gap, mine, rest = excess(images, target, name), rate(images[target], name), others(images, target, name)
    elsewhere = rate(rest, name)
    return borne_out_claim(
        f"{_GROUP}/{label}-{target}-{name}",
        f"{name} appears with {label}'s {target} more often than with its other targets",
        "the whole interval of the difference above 0",
        f"{with_interval(gap, 100, 0, ' points')} ({percent(mine)} with {target}, {elsewhere.value:.0%} elsewhere)",
        f"{len(images[target])} and {len(rest)} images",
        "equal rates",
        borne_out(gap, Range(least=0.0)),
        {"difference": gap, "share": mine, "elsewhere": elsewhere},
    )


def not_universal(label: str, images: ByTarget) -> Claim:
    """Contexts are consistent, but not universal."""
    found = {
        (target, name): rate(images[target], name) for target in images for name in ranking(images[target], target)[:1]
    }
    if not found:
        found = {("none", "none"): share(0, 0)}
    target, name = max(found, key=lambda pair: found[pair].value)
    highest = found[target, name]
    return borne_out_claim(
        f"{_GROUP}/{label}-not-universal",
        f"even the most frequent context of {label}'s objects is missing from some images",
        "the whole interval of the highest rate below 100%",
        f"{percent(highest)} ({name} with {target})",
        f"{len(images.get(target, ()))} images",
        "a context in every image",
        Verdict.HOLDS if highest.high < 1 else Verdict.UNDECIDED,
        {"highest": highest, "target": target, "context": name},
    )


def most_frequent(label: str, images: ByTarget, target: str) -> Claim:
    """What appears most often with a target belongs to it: chosen on half of the images, compared on the other half."""
    name, gap = specific(images, target)
    top = ranking(images[target], target)[:_LISTED]
    texts = [
        f"{one} {percent(rate(images[target], one))}, elsewhere {rate(others(images, target, one), one).value:.0%}"
        for one in top
    ]
    return borne_out_claim(
        f"{_GROUP}/{label}-{target}",
        f"the most frequent context of {label}'s {target} appears with it more often than with its other targets",
        "chosen on half of the images, compared on the other half: the whole interval of the difference above 0",
        f"{name}: {with_interval(gap, 100, 0, ' points')} ({'; '.join(texts)})" if name else "no context",
        f"{len(images[target])} images",
        "equal rates",
        borne_out(gap, Range(least=0.0)),
        {
            "chosen": name,
            "difference": gap,
            "top": {one: [rate(images[target], one), rate(others(images, target, one), one)] for one in top},
        },
    )


def asymmetric(label: str, images: ByTarget) -> Claim:
    """Contexts may be asymmetric."""
    found = asymmetric_pairs(images)
    return borne_out_claim(
        f"{_GROUP}/{label}-asymmetry",
        f"context is asymmetric: of two of {label}'s targets, one brings the other more often than the other way round",
        "at least one pair after Holm's correction of exact McNemar tests, by which all pairs are 5% in error",
        f"{len(found)} of {_pairs(images)} pairs" + (f" ({', '.join(found)})" if found else ""),
        f"{_pairs(images)} pairs of targets, {len(next(iter(images.values())))} images each",
        "no pair",
        Verdict.HOLDS if found else Verdict.UNDECIDED,
        {"pairs": found},
    )


def directions_by_chance(label: str, images: ByTarget) -> Claim:
    """Control: with the directions of all pairs of images drawn by lot, none is left."""
    coin = random.Random(0)
    found = asymmetric_pairs(images, lambda: coin.random() < 0.5)
    return borne_out_claim(
        f"{_GROUP}/control-{label}-asymmetry",
        f"control: with the two images of each pair exchanged by lot, no pair of {label}'s targets is asymmetric",
        "no pair after Holm's correction",
        f"{len(found)} of {_pairs(images)} pairs",
        f"{_pairs(images)} pairs of targets",
        "an asymmetry of the procedure's own",
        Verdict.FAILS if found else Verdict.HOLDS,
        {"pairs": found},
    )


def dealt_at_random(label: str, images: ByTarget) -> Claim:
    """Control: with the images dealt out to the targets at random, no context belongs to a target."""
    dealt = dealt_out(images)
    found = [target for target in dealt if specific(dealt, target)[1].low > 0]
    return borne_out_claim(
        f"{_GROUP}/control-{label}-dealt-out",
        f"control: with {label}'s images dealt out to the targets at random, no context belongs to its target",
        f"the most frequent context more often than elsewhere for at most {_BY_CHANCE} targets",
        f"{len(found)} of {len(dealt)} targets",
        f"{len(dealt)} targets",
        "targets that owe their context to the procedure",
        Verdict.HOLDS if len(found) <= _BY_CHANCE else Verdict.FAILS,
        {"targets": found},
    )


def class_at_random(label: str, images: ByTarget) -> Claim:
    """Control: a class drawn from all that appear anywhere hardly ever belongs to a target."""
    seen = sorted({name for found in images.values() for context in found for name in context})
    pairs = [(target, name) for target in images for name in seen if name != target]
    belonging = [f"{target}: {name}" for target, name in pairs if excess(images, target, name).low > 0]
    return share_claim(
        f"{_GROUP}/control-{label}-random-class",
        f"control: a class at random does not appear with one of {label}'s targets more often than with the others",
        f"at most {_CHANCE:.0%} of all pairs of a target and a class that appears anywhere",
        successes=len(belonging),
        trials=len(pairs),
        unit="pairs",
        allowed=Range(most=_CHANCE),
        violation=_OFTEN,
        numbers={"pairs": belonging},
    )


def random_weights(label: str, images: ByTarget) -> Claim:
    """Control: images of random weights show the trained detector nothing at all."""
    every = [context for found in images.values() for context in found]
    return share_claim(
        f"{_GROUP}/control-{label}-random-weights",
        f"control: images of {label}'s network with random weights show it no context",
        f"any class in at most {_RANDOM:.0%} of the images",
        successes=sum(map(bool, every)),
        trials=len(every),
        unit="images",
        allowed=Range(most=_RANDOM),
        violation=_OFTEN,
    )


def _pairs(images: ByTarget) -> int:
    return len(images) * (len(images) - 1) // 2
