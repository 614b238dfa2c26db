"""Transfer: an image says most to the detector it was made for, and more to its kin than to strangers."""

from collections.abc import Sequence
from functools import partial
from statistics import mean
from typing import Any

from detinv.experiments.common.workbench import Workbench
from detinv.experiments.protocols.transfer import NOISE, REAL, Transfer
from detinv.metrics.coco_ap import average_precision
from detinv.metrics.intervals import mean_interval
from detinv.verification.claim import Claim, shown
from detinv.verification.means import Means
from detinv.worlds.registry import load_world

FAMILIES = {
    "RetinaNet": ("shapes_retinanet", "shapes_retinanet_second"),
    "Faster R-CNN": ("shapes_fasterrcnn",),
}
PART = "transfer"
# AP of noise, and how far the AP of real images may lie from the detector's own, in points.
_NOISE, _REAL = 1.0, 5.0
# Scenes, other than the layouts', on which a detector's own AP is measured.
_OWN_SCENES, _OWN_SEED = 200, 2_000_001
_GROUPS = 6


def check(means: Means) -> list[Claim]:
    """Two seeds of one family and a second family: the transfer matrix with its references."""
    labels = [label for members in FAMILIES.values() for label in members]
    bench = means.bench(PART, PART, labels, means.layouts("plain", PART))
    numbers = means.run(Transfer(), bench)
    matrix: dict[str, dict[str, float]] = numbers["AP"]
    own = {label: bench.keep(f"own_ap-{label}", partial(_own_ap, bench, label)) for label in labels}
    return [
        diagonal(matrix, labels),
        noise(matrix[NOISE]),
        real(matrix[REAL], own),
        kin(means, bench),
    ]


def diagonal(matrix: dict[str, dict[str, float]], labels: Sequence[str]) -> Claim:
    """No other detector reads a row's images better than the one they were made for."""
    margins = {
        label: matrix[label][label] - max(value for column, value in matrix[label].items() if column != label)
        for label in labels
    }
    worst = min(margins, key=margins.__getitem__)
    return Claim(
        "transfer/diagonal",
        "the diagonal is each row's maximum",
        "AP of the row's own detector above every other's",
        f"least margin {margins[worst]:.1f} AP ({worst})",
        margins[worst] > 0,
        {"margins": margins},
    )


def noise(row: dict[str, float]) -> Claim:
    """Start images show nothing."""
    worst = max(row.values())
    return Claim(
        "transfer/noise",
        "start noise is read as nothing",
        f"AP at most {_NOISE:g} by every detector",
        f"at most {worst:.2f} AP",
        worst <= _NOISE,
        {"AP": row},
    )


def real(row: dict[str, float], own: dict[str, float]) -> Claim:
    """Real images are read as well as always."""
    gaps = {label: row[label] - own[label] for label in own}
    worst = max(gaps, key=lambda label: abs(gaps[label]))
    return Claim(
        "transfer/real",
        "real images are read as well as the detectors read any",
        f"within {_REAL:g} AP of the detector's own AP on {_OWN_SCENES} other scenes",
        f"largest gap {gaps[worst]:+.1f} AP ({worst}: {row[worst]:.1f} against {own[worst]:.1f})",
        abs(gaps[worst]) <= _REAL,
        {"real": row, "own": own},
    )


def kin(means: Means, bench: Workbench) -> Claim:
    """Two seeds of one family understand each other better than two families do."""
    labels = bench.labels
    images = {label: bench.invert(label, label, bench.layouts(label, masks=False)) for label in labels}
    layouts = {label: bench.layouts(label, masks=False) for label in labels}
    found = {
        (source, judge): bench.detect(judge, images[source]) for source in labels for judge in labels if source != judge
    }
    family = {label: name for name, members in FAMILIES.items() for label in members}
    groups = min(_GROUPS, len(layouts[labels[0]]))
    differences, within, across = [], [], []
    for group in range(groups):
        cells: dict[bool, list[float]] = {True: [], False: []}
        for (source, judge), detections in found.items():
            ap = average_precision(
                layouts[source][group::groups], detections[group::groups], bench.detector(judge).class_names
            )["AP"]
            cells[family[source] == family[judge]].append(ap)
        within.append(mean(cells[True]))
        across.append(mean(cells[False]))
        differences.append(within[-1] - across[-1])
    gap = mean_interval(differences)
    return Claim(
        "transfer/kin",
        "two detectors of one family trained with two seeds transfer better than across families",
        "mean AP within families above that across, interval over groups of layouts above 0",
        f"{shown(gap, digits=1, unit=' AP')} ({mean(within):.1f} within, {mean(across):.1f} across)",
        gap.low > 0,
        {"gap": gap, "within": within, "across": across},
    )


def _own_ap(bench: Workbench, label: str) -> float:
    world = load_world("plain", seed=_OWN_SEED)
    scenes = [world.scene(index) for index in range(_OWN_SCENES)]
    detector = bench.detector(label)
    detections: Any = detector.detect([scene.image for scene in scenes])
    return average_precision([scene.layout for scene in scenes], detections, detector.class_names)["AP"]
