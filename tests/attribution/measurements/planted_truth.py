"""Measure maps where the evidence is planted: the tables of docs/attribution.md.

python -m tests.attribution.measurements.planted_truth --seed 90210 --count 200
"""

import argparse
from collections.abc import Sequence
from typing import Any

from scipy.stats import binomtest

from detinv.attribution.core.measures import energy_share, inside_box, maximum, nearest_edge
from detinv.attribution.core.questions import Question
from detinv.attribution.explain import explain_image
from detinv.attribution.load import load_method
from detinv.detectors.load import load_detector
from detinv.detectors.targets import SIDES
from detinv.verification.planted_evidence import LOOK_ALIKES, companion_boxes, found_objects, in_box, patch_box
from detinv.worlds.registry import load_world

# Pixels by which a maximum may miss the patch, or the companion.
PATCH_MARGIN, COMPANION_MARGIN = 2.0, 1.0


def share(hits: Sequence[bool]) -> str:
    """Return a percentage with Wilson's 95 % interval."""
    low, high = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return f"{100 * sum(hits) / len(hits):.1f} % [{100 * low:.0f}, {100 * high:.0f}], n = {len(hits)}"


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def measure(name: str, world_name: str, methods: Sequence[str], seed: int, count: int) -> None:
    """Print what the methods' maps of one detector show of the planted truth."""
    detector, made = load_detector(name), {method: load_method(method) for method in methods}
    names, world = list(detector.class_names), load_world(world_name, seed=seed)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    taken = 0
    for found in found_objects(detector, world):
        if taken == count:
            break
        label = names[int(found.objects.labels[0])]
        beside = companion_boxes(found, names) if world_name == "context" else None
        if world_name == "context" and beside is None:
            continue
        taken += 1
        questions = [Question("class"), Question("contrast")]
        if world_name == "context":
            questions[1] = Question("contrast", names.index(LOOK_ALIKES[label]))
        elif world_name == "plain":
            questions = [Question(side) for side in SIDES]
        for one in explain_image(detector, found.scene.image, found.objects, questions, made).attributions:
            heat, size = one.heat(), (one.photograph.shape[1], one.photograph.shape[2])
            point = maximum(heat)
            if world_name == "plain":
                kind, row = "sides", {"hit": nearest_edge(point, found.box) == one.question}
            elif beside is None:
                area = inside_box(patch_box(found.box), size)
                relative = float(area.sum()) / float(inside_box(found.box, size).sum())
                hit = in_box(patch_box(found.box), point, PATCH_MARGIN)
                kind, row = one.question, {"hit": hit, "energy": energy_share(heat, area) / relative}
            else:
                there, mirrored = beside
                kind = one.question
                row = {"hit": in_box(there, point, COMPANION_MARGIN)}
                if mirrored is not None:
                    row |= {
                        "mirrored": in_box(mirrored, point, COMPANION_MARGIN),
                        "there": energy_share(heat, inside_box(there, size)),
                        "opposite": energy_share(heat, inside_box(mirrored, size)),
                    }
            results.setdefault((one.method, kind), []).append(row)
    for (method, kind), rows in results.items():
        line = f"{name}, {method}, {kind}: {share([row['hit'] for row in rows])}"
        if "energy" in rows[0]:
            line += f"; energy in the patch over its share of the box {mean([row['energy'] for row in rows]):.1f}"
        if both := [row for row in rows if "mirrored" in row]:
            ratio = mean([row["there"] for row in both]) / mean([row["opposite"] for row in both])
            line += f"; mirrored {share([row['mirrored'] for row in both])}; energy there over mirrored {ratio:.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=90210, help="of the scenes")
    parser.add_argument("--count", type=int, default=200, help="objects for each detector")
    options = parser.parse_args()
    for name in ("part_retinanet", "part_fasterrcnn"):
        measure(name, "part", ("default", "odam", "grad_cam", "gradient"), options.seed, options.count)
    for name in ("context_retinanet", "context_fasterrcnn"):
        measure(name, "context", ("default", "odam"), options.seed, options.count)
    for name in ("shapes_retinanet", "shapes_fcos", "shapes_fasterrcnn", "shapes_maskrcnn"):
        measure(name, "plain", ("default", "odam"), options.seed, options.count)
