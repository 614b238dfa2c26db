"""Transfer: an image serves the detector it was made for best, and detectors of the same architecture next."""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import mean
from typing import Any

from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.paper.transfer import NOISE, REAL, Transfer
from detinv.layouts.layout import Detections, Layout
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.jackknife import jackknife_interval
from detinv.metrics.recall import object_recall
from detinv.verification.claim import Claim, borne_out_claim, with_interval
from detinv.verification.evidence import Range, borne_out, mean_power, not_contradicted
from detinv.verification.setup import VerificationSetup
from detinv.worlds.registry import load_world

ARCHITECTURES = {
    "shapes_retinanet": "RetinaNet",
    "shapes_retinanet_second": "RetinaNet",
    "shapes_fasterrcnn": "Faster R-CNN",
}
_GROUP = "transfer"
# In points of AP: what noise may have, and how far real images may lie from the detector's own AP; and violations.
_NOISE, _NOISE_VIOLATION = 1.0, 20.0
_REAL, _REAL_VIOLATION = 5.0, 20.0
# Scenes, other than the layouts', on which a detector's own AP is measured.
_OWN_SCENES, _OWN_SEED = 200, 2_000_001
# Groups of layouts that are left out in turn for intervals of AP.
_MOST_GROUPS = 12

Cells = Mapping[str, Mapping[str, Any]]
"""By row (what was inverted), by column (which detector judges)."""


def measure(setup: VerificationSetup) -> dict[str, Any]:
    """Run table 1 with two seeds of one architecture and a second architecture.

    Returns:
        "AP" of each cell, in percent; "without": the same with each of up to 12 groups of layouts left out; "recall" of
        each cell: one list for each layout, one value in [0, 1] for each of its objects; "own": each detector's AP on
        other scenes; "layouts": their number.
    """
    labels = list(ARCHITECTURES)
    layouts = setup.layouts("plain", _GROUP)
    local = setup.experiment_setup(_GROUP, _GROUP, labels, layouts)
    numbers = setup.run(Transfer(), local)
    without: dict[str, dict[str, list[float]]] = {}
    recall: dict[str, dict[str, list[list[float]]]] = {}
    for row, (images, asked) in _rows(local).items():
        setup.say(f"intervals of {row}")
        found = {column: local.detect(column, images) for column in labels}
        recall[row] = {column: object_recall(asked, detections) for column, detections in found.items()}
        without[row] = {
            column: ap_without_groups(asked, detections, local.detector(column).class_names)
            for column, detections in found.items()
        }
    return {
        "AP": numbers["AP"],
        "without": without,
        "recall": recall,
        "own": {label: _own_ap(local, label) for label in labels},
        "layouts": layouts.count,
    }


def decide(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about the matrix, and those about its two rows of references."""
    ap, without, n = measured["AP"], measured["without"], f"{measured['layouts']} layouts"
    return [
        diagonal(ap, without, n),
        noise(ap[NOISE], without[NOISE], n),
        real(ap[REAL], without[REAL], measured["own"], n),
        same_architecture(measured["recall"], n),
    ]


def diagonal(ap: Cells, without: Cells, n: str) -> Claim:
    """No other detector does better on a row's images than the one they were made for."""
    margins = {
        (row, column): jackknife_interval(
            ap[row][row] - ap[row][column], _differences(without[row][row], without[row][column])
        )
        for row in ARCHITECTURES
        for column in ARCHITECTURES
        if row != column
    }
    row, column = min(margins, key=lambda pair: margins[pair].low)
    worst = margins[row, column]
    return borne_out_claim(
        f"{_GROUP}/diagonal",
        "each row of the matrix has its maximum on the diagonal",
        "AP of the row's own detector above every other's, the whole interval of each difference",
        f"least certain margin {with_interval(worst, digits=1, unit=' AP')} ({row}'s images, judged by {column})",
        n,
        "another detector doing as well",
        borne_out(worst, Range(least=0.0)),
        {"margins": {f"{row}, judged by {column}": margin for (row, column), margin in margins.items()}},
    )


def noise(ap: Mapping[str, float], without: Mapping[str, Sequence[float]], n: str) -> Claim:
    """Start images show nothing.

    Args:
        ap, without: of each judging detector.
    """
    worst = max(ap, key=ap.__getitem__)
    return at_most_claim(
        f"{_GROUP}/noise",
        "no detector finds the layout's objects in start noise",
        ap[worst],
        without[worst],
        _NOISE,
        n,
        worst,
    )


def at_most_claim(
    name: str, statement: str, ap: float, without: Sequence[float], most: float, n: str, judge: str
) -> Claim:
    """Return the claim that an AP is small.

    Args:
        ap, most: in percent.
        without: the AP with each group of layouts left out.
        judge: the detector whose AP it is.
    """
    measured = jackknife_interval(ap, without)
    power = mean_power(measured, Range(most=most), _NOISE_VIOLATION, len(without))
    return Claim(
        name,
        statement,
        f"AP at most {most:g}",
        f"{with_interval(measured, digits=1, unit=' AP')} ({judge})",
        n,
        f"{_NOISE_VIOLATION:g} AP",
        power,
        not_contradicted(measured, Range(most=most), power),
        {"AP": measured},
    )


def real(ap: Mapping[str, float], without: Mapping[str, Sequence[float]], own: Mapping[str, float], n: str) -> Claim:
    """Real images are detected as well as any others.

    Args:
        ap, without: of each judging detector, on the layouts' own images.
        own: its AP on other scenes.
    """
    gaps = {
        label: jackknife_interval(ap[label] - own[label], [one - own[label] for one in without[label]]) for label in own
    }
    # The one whose interval lies farthest from 0.
    worst = max(gaps, key=lambda label: max(gaps[label].low, -gaps[label].high))
    allowed = Range(-_REAL, _REAL)
    power = min(mean_power(gap, allowed, _REAL_VIOLATION, len(without[label])) for label, gap in gaps.items())
    return Claim(
        f"{_GROUP}/real",
        "real images are detected as well as any others",
        f"AP within {_REAL:g} of the detector's own AP on {_OWN_SCENES} other scenes",
        f"largest gap {with_interval(gaps[worst], digits=1, unit=' AP')} ({worst}, own AP {own[worst]:.1f})",
        n,
        f"a gap of {_REAL_VIOLATION:g} AP",
        power,
        not_contradicted(gaps[worst], allowed, power),
        {"gaps": gaps, "own": own},
    )


def same_architecture(recall: Cells, n: str) -> Claim:
    """Two seeds of one architecture transfer better to each other than two architectures do.

    Average recall decides, not average precision: on so few layouts the latter's interval is as wide as the difference.

    Args:
        recall: of each object, by layout.
    """
    pairs = [(row, column) for row in ARCHITECTURES for column in ARCHITECTURES if row != column]
    within = [pair for pair in pairs if ARCHITECTURES[pair[0]] == ARCHITECTURES[pair[1]]]
    across = [pair for pair in pairs if pair not in within]
    layouts = range(len(recall[pairs[0][0]][pairs[0][1]]))

    def mean_recall(kind: Sequence[tuple[str, str]], kept: Sequence[int]) -> float:
        return mean(mean(chain.from_iterable(recall[row][column][k] for k in kept)) for row, column in kind)

    def gap(kept: Sequence[int]) -> float:
        return mean_recall(within, kept) - mean_recall(across, kept)

    left_out = [gap([k for k in layouts if k != other]) for other in layouts] if len(layouts) > 1 else []
    measured = jackknife_interval(gap(layouts), left_out)
    means = {"within": mean_recall(within, layouts), "across": mean_recall(across, layouts)}
    return borne_out_claim(
        f"{_GROUP}/same-architecture",
        "two seeds of one architecture transfer better to each other than two architectures do",
        "mean average recall within architectures above that across, the whole interval of the difference",
        f"{with_interval(measured)} ({means['within']:.2f} within, {means['across']:.2f} across)",
        n,
        "no difference",
        borne_out(measured, Range(least=0.0)),
        {"difference": measured, **means},
    )


def ap_without_groups(
    layouts: Sequence[Layout], detections: Sequence[Detections], class_names: Sequence[str]
) -> list[float]:
    """Return AP in percent with each group of layouts left out; as many groups as layouts, but at most 12.

    Empty for a single layout, without which nothing is left.
    """
    groups = min(_MOST_GROUPS, len(layouts))
    if groups < 2:
        return []
    found = []
    for group in range(groups):
        kept = [index for index in range(len(layouts)) if index % groups != group]
        asked, seen = [layouts[index] for index in kept], [detections[index] for index in kept]
        found.append(average_precision(asked, seen, class_names)["AP"])
    return found


def _rows(local: ExperimentSetup) -> dict[str, tuple[list[Any], list[Layout]]]:
    """Images that the experiment made, and the layouts in their pixels, by row of the matrix."""
    first = local.labels[0]
    layouts = {label: local.layouts(label, masks=False) for label in local.labels}
    rows = {label: (local.invert(label, label, layouts[label]), layouts[label]) for label in local.labels}
    # With masks, as the experiment asks for them: other layouts would be other images.
    rows[NOISE] = local.invert(NOISE, first, local.layouts(first), steps=0), layouts[first]
    images, real_layouts = local.photographs(first)
    rows[REAL] = images, [layout.without_masks() for layout in real_layouts]
    return rows


def _differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(first, second, strict=True)]


def _own_ap(local: ExperimentSetup, label: str) -> float:
    """A detector's AP in percent on scenes that are not the layouts'."""
    detector = local.detector(label)

    def compute() -> float:
        world = load_world("plain", seed=_OWN_SEED)
        scenes = [world.scene(index) for index in range(_OWN_SCENES)]
        detections = detector.detect([scene.image for scene in scenes])
        return average_precision([scene.layout for scene in scenes], detections, detector.class_names)["AP"]

    provenance = local.provenance(label, world="plain", seed=_OWN_SEED, scenes=_OWN_SCENES)
    return float(local.keep(f"own_ap/{label}", provenance, compute))
