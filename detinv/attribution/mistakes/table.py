"""How many objects and detections there are of each kind, and where objects were lost."""

from collections import Counter
from typing import Any

from detinv.attribution.mistakes.kinds import OF_DETECTIONS, OF_OBJECTS, Kind
from detinv.attribution.mistakes.report import ErrorReport
from detinv.attribution.mistakes.stages import Stage
from detinv.results.reports.findings import Table

_ALL = "all"


def counts(report: ErrorReport) -> dict[str, Any]:
    """Return the counts as plain values, ready for JSON: by kind, by stage, and by class."""
    objects, detections, stages = _counted(report)
    names = (_ALL, *report.class_names)
    return {
        "objects": {str(kind): objects[_ALL, kind] for kind in OF_OBJECTS},
        "detections": {str(kind): detections[_ALL, kind] for kind in (*OF_DETECTIONS, Kind.IGNORED)},
        "stages": {str(stage): sum(stages[stage, kind] for kind in OF_OBJECTS) for stage in Stage},
        "classes": {
            name: {
                "objects": {str(kind): objects[name, kind] for kind in OF_OBJECTS},
                "detections": {str(kind): detections[name, kind] for kind in (*OF_DETECTIONS, Kind.IGNORED)},
            }
            for name in names[1:]
            if any(objects[name, kind] for kind in OF_OBJECTS) or any(detections[name, kind] for kind in OF_DETECTIONS)
        },
    }


def tables(report: ErrorReport) -> list[Table]:
    """Return the tables of the report: where objects were lost, then objects and detections by class, worst first."""
    objects, detections, stages = _counted(report)
    names = [name for name in report.class_names if any(objects[name, kind] for kind in OF_OBJECTS)]
    reported = [name for name in report.class_names if any(detections[name, kind] for kind in OF_DETECTIONS)]
    limits = report.thresholds
    lost = [kind for kind in OF_OBJECTS if kind != Kind.FOUND]
    return [
        Table(
            "stages",
            "Where objects were lost",
            ("stage", "number", *(str(kind) for kind in lost)),
            [
                _row(str(stage), [stages[stage, kind] for kind in lost])
                for stage in Stage
                if any(stages[stage, kind] for kind in lost)
            ],
            "Of all objects that were not found: the step of the detector's inference at which the last prediction "
            "with their box and class was dropped.",
        ),
        Table(
            "objects",
            "What became of the annotated objects",
            ("class", "number", *(str(kind) for kind in OF_OBJECTS)),
            _worst_first([_row(name, [objects[name, kind] for kind in OF_OBJECTS]) for name in (_ALL, *names)]),
            f"Found: a detection of its class with a score above {limits.score_thresh:g} overlaps it by an IoU of at "
            f"least {limits.fg_iou_thresh:g}. Badly placed: at least {limits.bg_iou_thresh:g}.",
        ),
        Table(
            "detections",
            "What the detections are",
            ("class", "number", *(str(kind) for kind in OF_DETECTIONS)),
            _worst_first(
                [_row(name, [detections[name, kind] for kind in OF_DETECTIONS]) for name in (_ALL, *reported)]
            ),
            "By the class that was reported. Both: of the wrong class and badly placed. Duplicate: a second detection "
            "of one object. Background: nothing annotated there." + _ignored(detections[_ALL, Kind.IGNORED]),
        ),
    ]


def _counted(
    report: ErrorReport,
) -> tuple[Counter[tuple[str, Kind]], Counter[tuple[str, Kind]], Counter[tuple[Stage, Kind]]]:
    """Return counts by (class, kind) of objects and of detections, and by (stage, kind)."""
    objects: Counter[tuple[str, Kind]] = Counter()
    detections: Counter[tuple[str, Kind]] = Counter()
    stages: Counter[tuple[Stage, Kind]] = Counter()
    for one in report.images:
        for label, kind, loss in zip(one.truth.labels.tolist(), one.judged.objects, one.losses, strict=True):
            objects.update([(_ALL, kind), (report.class_names[label], kind)])
            if loss is not None:
                stages[loss.stage, kind] += 1
        for label, kind in zip(one.found.labels.tolist(), one.judged.detections, strict=True):
            detections.update([(_ALL, kind), (report.class_names[label], kind)])
    return objects, detections, stages


def _row(name: str, values: list[int]) -> tuple[str | int, ...]:
    return (name, sum(values), *values)


def _worst_first(rows: list[tuple[str | int, ...]]) -> list[tuple[str | int, ...]]:
    """Sort the classes by how many of their objects were not found, or of their detections are not right."""
    return sorted(rows, key=lambda row: -sum(value for value in row[3:] if isinstance(value, int)))


def _ignored(number: int) -> str:
    return f" {number} more in crowds were ignored." if number else ""
