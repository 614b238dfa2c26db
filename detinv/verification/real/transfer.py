"""Transfer: what one detector's images show the other two, against images of random weights and noise."""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import mean
from typing import Any

from detinv.experiments.common.setup import ExperimentSetup
from detinv.experiments.common.store import Images
from detinv.experiments.paper.transfer import Transfer
from detinv.layouts.layout import Layout
from detinv.layouts.sources import LayoutSource
from detinv.metrics.intervals import Interval, mean_interval
from detinv.metrics.jackknife import grouped_mean_interval
from detinv.metrics.recall import object_recall
from detinv.verification.claim import Claim, borne_out_claim, with_interval
from detinv.verification.evidence import Range, borne_out, mean_power, not_contradicted
from detinv.verification.real.detectors import DETECTORS, RANDOM
from detinv.verification.real.samples import SampleLayouts, photographed_layouts
from detinv.verification.setup import VerificationSetup

SAMPLES, PHOTOGRAPHS = "transfer", "photographs"
_OWN, _RANDOM, _NOISE, _REAL = "own", "random", "noise", "real"
# Average recall that start noise may have, and one that would be a violation.
_NOTHING, _VIOLATION = 0.05, 0.3

Recall = Sequence[Sequence[float]]
"""Of each layout, of each of its objects."""


def measure_samples(setup: VerificationSetup) -> dict[str, Any]:
    """Run table 1, three by three, on the bundled layouts; see `_measure`."""
    return _measure(setup, SAMPLES, SampleLayouts(setup.sample_sizes[f"real_{SAMPLES}"].count))


def measure_photographs(setup: VerificationSetup) -> dict[str, Any]:
    """Run table 1, three by three, on the layouts of photographs; see `_measure`."""
    assert setup.annotations is not None
    count = setup.sample_sizes[f"real_{PHOTOGRAPHS}"].count
    return _measure(setup, PHOTOGRAPHS, photographed_layouts(setup.annotations, count, setup.seed))


def _measure(setup: VerificationSetup, group: str, source: LayoutSource) -> dict[str, Any]:
    """Invert every detector, and its network with random weights, and let all detectors read the images.

    Returns:
        "AP": by row and column, in percent; "recall": by row, by kind of image ("own", "random", "noise", and "real"
        for photographs), by judging detector: one list for each layout, the average recall in [0, 1] of each of its
        objects.
    """
    size = f"real_{group}"
    local = setup.experiment_setup(f"real-{group}", size, DETECTORS, source)
    numbers = setup.run(Transfer(references=group == PHOTOGRAPHS), local)
    recall: dict[str, dict[str, dict[str, list[list[float]]]]] = {}
    for label in DETECTORS:
        entry = {"name": label, "label": f"{RANDOM}{label}", "weights": "random"}
        random = setup.experiment_setup(f"real-{group}-{RANDOM}{label}", size, [entry], source)
        setup.say(f"{group}: who reads the images of {label}")
        recall[label] = {
            kind: {judge: _recall(local, judge, *made) for judge in DETECTORS}
            for kind, made in _rows(local, random, label).items()
        }
    return {"AP": numbers["AP"], "recall": recall}


def _rows(local: ExperimentSetup, random: ExperimentSetup, label: str) -> dict[str, tuple[Images, list[Layout]]]:
    """Images and the layouts in their pixels, by kind."""
    # As the experiment asks for them: other layouts would be other images.
    layouts = [layout.without_masks() for layout in local.layouts(label)]
    rows = {
        _OWN: (local.invert(label, label, layouts), layouts),
        _RANDOM: (random.invert(f"{RANDOM}{label}", f"{RANDOM}{label}", layouts), layouts),
        _NOISE: (random.invert(_NOISE, f"{RANDOM}{label}", layouts, steps=0), layouts),
    }
    if local.has_photographs:
        rows[_REAL] = local.photographs(label)
    return rows


def _recall(local: ExperimentSetup, judge: str, images: Images, layouts: Sequence[Layout]) -> list[list[float]]:
    return object_recall(layouts, local.detect(judge, images))


def decide_samples(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about the bundled layouts."""
    return _decide(SAMPLES, measured)


def decide_photographs(measured: Mapping[str, Any]) -> list[Claim]:
    """Return the claims about the layouts of photographs."""
    return _decide(PHOTOGRAPHS, measured)


def _decide(group: str, measured: Mapping[str, Any]) -> list[Claim]:
    claims = []
    for label, kinds in measured["recall"].items():
        cells = measured["AP"].get(label, {})
        claims += [
            read_by_others(group, label, kinds, cells),
            best_by_itself(group, label, kinds[_OWN]),
            nothing_in_noise(group, label, kinds[_NOISE]),
        ]
    return claims


def read_by_others(group: str, label: str, kinds: Mapping[str, Mapping[str, Recall]], ap: Mapping[str, float]) -> Claim:
    """The other two find more in a detector's images than in those of random weights."""
    by_layout = [_by_others(label, kinds[kind]) for kind in (_OWN, _RANDOM)]
    gap = _difference(*by_layout)
    own, random = (list(chain(*recall)) for recall in by_layout)
    texts = [f"{mean(own):.2f} own, {mean(random):.2f} random"]
    if _REAL in kinds:
        texts.append(f"{mean(chain(*_by_others(label, kinds[_REAL]))):.2f} photographs")
    texts += [f"{judge} AP {value:.0f}" for judge, value in ap.items()]
    return borne_out_claim(
        f"{group}/{label}",
        f"the other detectors find more objects in {label}'s images than in those of its network with random weights",
        "object by object, the whole interval (over layouts) of the difference of average recall above 0",
        f"{with_interval(gap)} ({', '.join(texts)})",
        f"{len(own)} objects of {len(by_layout[0])} layouts",
        "no difference",
        borne_out(gap, Range(least=0.0), left_out=_with_objects(by_layout[0])),
        {"difference": gap, "own": mean(own), "random": mean(random), "AP": dict(ap)},
    )


def best_by_itself(group: str, label: str, recall: Mapping[str, Recall]) -> Claim:
    """No other detector finds as much in a detector's images as itself."""
    gaps = {judge: _difference(recall[label], found) for judge, found in recall.items() if judge != label}
    judge = min(gaps, key=lambda one: gaps[one].low)
    worst: Interval = gaps[judge]
    return borne_out_claim(
        f"{group}/{label}-diagonal",
        f"{label} finds more objects in its own images than the others do",
        "object by object, the whole interval (over layouts) of the difference of average recall above 0",
        f"{with_interval(worst)} (against {judge})",
        f"{sum(map(len, recall[label]))} objects of {len(recall[label])} layouts",
        "another detector finding as much",
        borne_out(worst, Range(least=0.0), left_out=_with_objects(recall[label])),
        {"differences": gaps},
    )


def nothing_in_noise(group: str, label: str, recall: Mapping[str, Recall]) -> Claim:
    """Control: no detector finds the objects in start noise.

    Nothing was optimised in these images, so objects are taken for independent.
    """
    found = {judge: mean_interval(list(chain(*values))) for judge, values in recall.items()}
    judge = max(found, key=lambda one: found[one].value)
    measured = found[judge]
    objects = sum(map(len, recall[judge]))
    power = mean_power(measured, Range(most=_NOTHING), _VIOLATION, objects)
    return Claim(
        f"{group}/control-{label}-noise",
        f"control: no detector finds the objects in the noise that {label}'s images start from",
        f"a mean average recall of at most {_NOTHING:g}",
        f"{with_interval(measured)} ({judge})",
        f"{objects} objects",
        f"a mean average recall of {_VIOLATION:g}",
        power,
        not_contradicted(measured, Range(most=_NOTHING), power),
        {"recall": found},
    )


def _by_others(label: str, recall: Mapping[str, Recall]) -> list[list[float]]:
    """The mean over the other detectors, object by object."""
    others = zip(*(found for judge, found in recall.items() if judge != label), strict=True)
    return [[mean(values) for values in zip(*of_layout, strict=True)] for of_layout in others]


def _with_objects(recall: Recall) -> int:
    """The number of layouts that an interval over layouts is made from."""
    return sum(1 for of_layout in recall if of_layout)


def _difference(first: Recall, second: Recall) -> Interval:
    """The mean over objects of first minus second; objects of one image were optimised together, so layouts count."""
    pairs = zip(first, second, strict=True)
    return grouped_mean_interval([[one - other for one, other in zip(*pair, strict=True)] for pair in pairs])
