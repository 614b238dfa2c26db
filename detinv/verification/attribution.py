"""Attribution: maps show the planted evidence, which is shown to decide, and nothing where nothing was planted."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from detinv.metrics.intervals import mean_interval
from detinv.verification.attribution_maps import ARCHITECTURES, FAMILIES, GROUP
from detinv.verification.claim import Claim, borne_out_claim, share_claim, with_interval
from detinv.verification.evidence import Range, borne_out

# Shares of objects whose maximum lies where the evidence is, and shares that would be violations.
_IN_PATCH, _ON_COMPANION, _AT_EDGE, _ON_OBJECT, _DECIDES = 0.95, 0.85, 0.96, 0.95, 0.95
_NOT_THERE = 0.6
# The same, where the evidence is not.
_CLASS_ON_COMPANION, _MIRRORED, _OTHER, _RANDOM = 0.2, 0.05, 0.05, 0.3
_THERE, _RANDOM_THERE = 0.5, 0.7
# Factor by which energy is denser in the patch than in the box, and on the companion than opposite.
_DENSER = 3.0


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about planted evidence, those about its causes, and the controls."""
    claims = []
    for family in FAMILIES:
        part, context = f"part_{family}", f"context_{family}"
        claims += [in_patch(part, measured["part"][part]["hit"]), denser(part, measured["part"][part]["energy"])]
        if family == "retinanet":
            claims += on_companion(context, measured["context"][context])
        claims.append(denser_there(context, measured["context"][context]))
    claims += [at_edges(f"shapes_{name}", measured["sides"][f"shapes_{name}"]) for name in ARCHITECTURES]
    claims += [on_object(name, distances) for name, distances in measured["outline"].items()]
    for family in FAMILIES:
        claims += causes(f"part_{family}", f"context_{family}", measured["causes"])
        claims += controls(f"part_{family}", f"context_{family}", measured)
    return claims


def _at_least(
    name: str, statement: str, hits: Sequence[bool], least: float, where: str, violation: float = _NOT_THERE
) -> Claim:
    return _share(name, statement, hits, Range(least=least), f"{where} for at least {least:.0%}", violation)


def _at_most(
    name: str, statement: str, hits: Sequence[bool], most: float, where: str, violation: float = _THERE
) -> Claim:
    return _share(name, statement, hits, Range(most=most), f"{where} for at most {most:.0%}", violation)


def _share(name: str, statement: str, hits: Sequence[bool], allowed: Range, expected: str, violation: float) -> Claim:
    return share_claim(
        f"{GROUP}/{name}",
        statement,
        f"{expected} of the objects",
        successes=sum(hits),
        trials=len(hits),
        unit="objects",
        allowed=allowed,
        violation=violation,
    )


def in_patch(label: str, hits: Sequence[bool]) -> Claim:
    """The map of a class points at the patch that was planted for it."""
    statement = f"the map of a class points at the patch that identifies it ({label})"
    return _at_least(label, statement, hits, _IN_PATCH, "the maximum in the patch")


def denser(label: str, ratios: Sequence[float]) -> Claim:
    """The map of a class has its energy in the patch."""
    found = mean_interval(ratios)
    return borne_out_claim(
        f"{GROUP}/{label}-energy",
        f"the map of a class has its energy in the patch that identifies it ({label})",
        f"the whole interval of the share of the energy over the patch's share of the box above {_DENSER:g}",
        with_interval(found),
        f"{len(ratios)} objects",
        f"energy {_DENSER:g} times as dense as in the box",
        borne_out(found, Range(least=_DENSER), len(ratios)),
        {"ratio": found},
    )


def on_companion(label: str, found: Mapping[str, Sequence[bool]]) -> list[Claim]:
    """The question why one look-alike and not the other leads to the companion; the question of the class does not."""
    name = f"{label}-contrast"
    statement = f"the contrast with the look-alike points at the companion that tells them apart ({label})"
    of_class = f"the map of a class does not point at the companion ({label})"
    mirrored = f"control: nor does the contrast point opposite the companion ({label})"
    where = "the maximum on the companion"
    return [
        _at_least(name, statement, found["contrast"], _ON_COMPANION, where, 0.5),
        _at_most(f"{label}-class", of_class, found["class"], _CLASS_ON_COMPANION, where),
        _at_most(
            f"control-{label}-mirrored", mirrored, found["mirrored"], _MIRRORED, "the maximum on its mirror image"
        ),
    ]


def denser_there(label: str, found: Mapping[str, Sequence[float]]) -> Claim:
    """The contrast with the look-alike has more energy on the companion than on the opposite side."""
    there, opposite = found["there"], found["opposite"]
    gap = mean_interval([one - _DENSER * other for one, other in zip(there, opposite, strict=True)])
    # Of a few objects, each one's mirrored place may lie outside its image.
    shares = f" ({mean(there):.3f} there, {mean(opposite):.3f} opposite)" if there else ""
    return borne_out_claim(
        f"{GROUP}/{label}-energy",
        f"the contrast with the look-alike has its energy on the companion, not opposite it ({label})",
        f"the whole interval of the energy on the companion, less {_DENSER:g} times that opposite, above 0",
        f"{with_interval(gap)}{shares}",
        f"{len(there)} objects",
        f"{_DENSER:g} times as much energy",
        borne_out(gap, Range(least=0.0), len(there)),
        {"gap": gap},
    )


def at_edges(label: str, hits: Mapping[str, Sequence[bool]]) -> Claim:
    """The map of a side of the box points at that side."""
    together = [hit for side in hits.values() for hit in side]
    return share_claim(
        f"{GROUP}/{label}-sides",
        f"the map of a side of the box points at that edge ({label})",
        f"the maximum nearest to the edge asked for in at least {_AT_EDGE:.0%} of the maps",
        successes=sum(together),
        trials=len(together),
        unit="maps of sides",
        allowed=Range(least=_AT_EDGE),
        violation=_NOT_THERE,
        numbers={"by_side": {side: sum(found) for side, found in hits.items()}},
    )


def on_object(label: str, distances: Sequence[float]) -> Claim:
    """The map of a class points at the object, where outline or texture identify it."""
    statement = f"the map of a class points at the object ({label})"
    return _at_least(label, statement, [one > -4 for one in distances], _ON_OBJECT, "the maximum on it or within 4 px")


def causes(part: str, context: str, found: Mapping[str, Mapping[str, Sequence[bool]]]) -> list[Claim]:
    """What is planted decides: exchanged or taken away, it changes the answer, and nothing else does."""
    return [
        _at_least(
            f"cause-{part}-patch",
            f"the class goes with the patch: exchange it, and the object is detected as the other class ({part})",
            found[part]["patch"],
            _DECIDES,
            "the class of the new patch",
        ),
        _at_least(
            f"cause-{part}-body",
            f"control: the class stays when the body around the patch is exchanged ({part})",
            found[part]["body"],
            _DECIDES,
            "the same class",
        ),
        _at_least(
            f"cause-{context}-companion",
            f"without its companion, an object's contrast with its look-alike falls ({context})",
            found[context]["companion"],
            _DECIDES,
            "the contrast less than half",
        ),
        _at_least(
            f"cause-{context}-hoop",
            f"control: that of a hoop, which has no companion, does not ({context})",
            found[context]["hoop"],
            _DECIDES,
            "the contrast more than half",
        ),
    ]


def controls(part: str, context: str, measured: Mapping[str, Any]) -> list[Claim]:
    """Maps point at nothing that was not planted, or not learnt."""
    return [
        _at_most(
            f"control-{part}-other",
            f"control: the map of an object does not point at another object's patch ({part})",
            measured["part"][part]["other"],
            _OTHER,
            "the maximum in another patch",
        ),
        _at_most(
            f"control-random_{part}",
            f"control: maps of random weights do not point at the patch ({part})",
            measured["random"][part],
            _RANDOM,
            "the maximum in the patch",
            _RANDOM_THERE,
        ),
        _at_least(
            f"control-{context}-alone",
            f"control: the contrast of a star, which has no companion, points at the star ({context})",
            measured["context"][context]["alone"],
            _ON_OBJECT,
            "the maximum in its box",
        ),
    ]
