"""The report of an inversion: one self-contained HTML page."""

import math
from dataclasses import dataclass

from detinv.metrics.redetection import redetection
from detinv.results.reports.curves import curves_svg, loss_curves
from detinv.results.reports.figures import detections_figure, image_figure, layout_figure, stretched_figure
from detinv.results.reports.html import render, render_markup
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.tables import class_table, curve_table, member_table, metrics_table, tiles

# Once the figures have this many characters no further layout is added, but there are always the first few, so that
# a page of large photographs still opens at once.
_MOST_CHARACTERS = 8_000_000
_LEAST_LAYOUTS = 4
# Figures of one layout in a row of the page.
_MOST_COLUMNS = 6


def render_report(result: InversionResult, config_yaml: str, title: str, *, max_layouts: int = 24) -> str:
    """Return a self-contained page: headline numbers, loss curves, layouts and their images, classes, configuration.

    Nothing is fetched from anywhere: images are embedded, figures are inline SVG, and there is no script. The stretched
    image and the figures of detections refer to the one embedded copy of each image.

    Args:
        result: the outcome of an inversion.
        config_yaml: the complete configuration of the run; where it is empty, the page has no such section.
        title: heading of the page; like all text, it is escaped.
        max_layouts: further layouts are left out, and the page says so.
    """
    curves = [curve for curve in loss_curves(result.losses) if curve.points]
    return render(
        "inversion.html",
        title=title,
        summary=_summary(result),
        tiles=tiles(result.metrics),
        curves_chart=curves_svg(curves),
        curve_table=curve_table(curves),
        layouts=_layouts(result, max_layouts),
        total=len(result.layouts),
        troubles=[*result.stopped.items(), *result.missing.items()],
        member_table=member_table(result) if len(result.member_detections) > 1 else None,
        class_table=class_table(result),
        metrics_table=metrics_table(result.metrics) if result.metrics else None,
        config_lines=config_yaml.split("\n") if config_yaml else [],
        versions=result.metrics.get("versions", {}),
    )


@dataclass(frozen=True)
class _Figure:
    """A drawing, as a fragment of the page, and its caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class _Verdict:
    """What one detector found of a layout, in words."""

    complete: bool
    found: str
    false_positives: str


def _summary(result: InversionResult) -> str:
    objects = sum(len(layout) for layout in result.layouts)
    parts = [_count(len(result.layouts), "layout"), _count(objects, "object")]
    if "steps" in result.metrics:
        parts.append(f"{result.metrics['steps']} steps")
    return ", ".join(parts)


def _layouts(result: InversionResult, max_layouts: int) -> list[str]:
    """Return a fragment of the page for each layout, until there are enough."""
    fragments: list[str] = []
    characters = 0
    joint = len(result.member_detections) > 1
    for number, (layout, image) in enumerate(zip(result.layouts[:max_layouts], result.images, strict=False)):
        key = f"image-{number}"
        figures = [
            _Figure(layout_figure(layout, result.class_names), "target layout"),
            _Figure(image_figure(image, key, layout.id), "inverted image"),
            _Figure(stretched_figure(image, key, layout.id), "contrast stretched (for viewing only)"),
        ]
        verdicts = []
        for name, detections in result.member_detections.items():
            found = detections[number]
            svg = detections_figure(found.above(0.5), result.class_names, key, layout.id)
            figures.append(_Figure(svg, f"{f'detections of {name}' if joint else 'detections'} (score > 0.5)"))
            verdicts.append(_verdict(name if joint else "", **redetection([layout], [found])))
        height, width = layout.image_size
        rows = math.ceil(len(figures) / _MOST_COLUMNS)
        fragment = render_markup(
            "layout.html",
            id=layout.id,
            verdicts=verdicts,
            stopped=layout.id in result.stopped,
            figures=figures,
            columns=math.ceil(len(figures) / rows),
            width=width,
            height=height,
        )
        characters += len(fragment)
        if characters > _MOST_CHARACTERS and number >= _LEAST_LAYOUTS:
            break
        fragments.append(fragment)
    return fragments


def _verdict(name: str, objects: int, redetected: int, false_positives: int) -> _Verdict:
    found = f"{redetected} of {_count(objects, 'object')} found"
    extra = _count(false_positives, "false positive") if false_positives else ""
    return _Verdict(redetected == objects, f"{name}: {found}" if name else found, extra)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
