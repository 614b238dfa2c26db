"""Position: on which side of an object its context lies."""

from collections.abc import Mapping, Sequence

from detinv.verification.claim import Claim, borne_out_claim, percent
from detinv.verification.evidence import Range, borne_out, not_contradicted, share, share_power

_GROUP = "position"
# Of a target: contexts and the side on which the paper, or the world, has them.
_SENTENCES: Sequence[tuple[str, Sequence[str], str, str]] = (
    ("person", ("surfboard", "boat"), "below", "surfboards and boats lie below {}'s people"),
    (
        "person",
        ("bird", "umbrella", "kite"),
        "above",
        "birds, umbrellas and kites lie above {}'s people",
    ),
    ("cat", ("bed", "couch"), "below", "beds and couches lie below {}'s cats"),
    ("surfboard", ("person",), "above", "people lie above {}'s surfboards"),
    ("umbrella", ("person",), "below", "people lie below {}'s umbrellas"),
    ("horse", ("person",), "above", "people lie above {}'s horses"),
)
_OPPOSITE = {"above": "below", "below": "above"}
# Mirrored position: the control allows a bias of the photographers', and is a 99 % interval, as its true value may lie
# at its end.
_LEVEL, _LEAST, _MOST, _ONE_SIDED = 0.99, 0.3, 0.7, 0.95

Sides = Mapping[str, Mapping[str, int]]
"""By context class: "above", "below", "left" and "right", in how many images it lies there."""


def decide(measured: Mapping[str, Mapping[str, Sides]]) -> list[Claim]:
    """Return for each detector the sentences about above and below, and left against right as a control."""
    claims = []
    for label, by_target in measured.items():
        claims += [on_side(label, by_target, *sentence) for sentence in _SENTENCES]
        claims.append(mirrored(label, by_target))
    return claims


def on_side(
    label: str, by_target: Mapping[str, Sides], target: str, names: Sequence[str], side: str, statement: str
) -> Claim:
    """Classes lie on one side of a target rather than on the opposite one."""
    found = by_target[target]
    by_class = {name: {one: found.get(name, {}).get(one, 0) for one in (side, _OPPOSITE[side])} for name in names}
    there = sum(counts[side] for counts in by_class.values())
    trials = there + sum(counts[_OPPOSITE[side]] for counts in by_class.values())
    measured = share(there, trials)
    texts = [f"{name} {counts[side]} of {sum(counts.values())}" for name, counts in by_class.items()]
    return borne_out_claim(
        f"{_GROUP}/{label}-{target}-{side}",
        statement.format(label),
        "on that side in more than half: the whole interval above 50%",
        (percent(measured) if trials else "none appears") + (f" ({', '.join(texts)})" if len(names) > 1 else ""),
        f"{trials} of them",
        "no preference for a side",
        borne_out(measured, Range(least=0.5)),
        {"share": measured, "by_class": by_class},
    )


def mirrored(label: str, by_target: Mapping[str, Sides]) -> Claim:
    """Control: the same classes lie left and right alike."""
    left = right = 0
    for target, names, _, _ in _SENTENCES:
        for name in names:
            counts = by_target[target].get(name, {})
            left, right = left + counts.get("left", 0), right + counts.get("right", 0)
    measured, allowed = share(left, left + right, _LEVEL), Range(_LEAST, _MOST)
    power = share_power(left + right, allowed, _ONE_SIDED, _LEVEL)
    return Claim(
        f"{_GROUP}/control-{label}-mirrored",
        f"control: what lies above or below {label}'s objects lies left and right of them alike",
        f"the {_LEVEL:.0%} interval of the share at the left reaches {_LEAST:.0%} to {_MOST:.0%}",
        percent(measured),
        f"{left + right} of them",
        f"a share of {_ONE_SIDED:.0%} on one side",
        power,
        not_contradicted(measured, allowed, power),
        {"left": measured},
    )
