"""The report of an inversion: one HTML page that needs nothing beside it."""

from collections.abc import Mapping

from detinv.metrics.redetection import redetection
from detinv.results.reports.curves import curves_svg, loss_curves
from detinv.results.reports.escape import escaped, escaped_lines
from detinv.results.reports.figures import detections_figure, image_figure, layout_figure, stretched_figure
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.page import page
from detinv.results.reports.tables import class_table, curve_table, metrics_table, reader_table, tiles, versions_table

# Beyond this many characters of figures no further layouts are shown (but always the first few), so that the page
# of large photographs still opens at once.
_MOST_CHARACTERS = 8_000_000
_ALWAYS_SHOWN = 4


def render_report(result: InversionResult, config_yaml: str, title: str, *, max_layouts: int = 24) -> str:
    """A self-contained page: headline numbers, loss curves, layouts beside their images, classes, configuration.

    Nothing is fetched from anywhere: images are embedded, figures are inline SVG, there is no script. The stretched
    image and the detector's view refer to the one embedded copy of each image.

    Args:
        config_yaml: the complete configuration of the run.
        title: heading of the page; like all text, it is escaped.
        max_layouts: further layouts are left out, and a line says so.
    """
    total = len(result.layouts)
    layouts = _layout_sections(result, max_layouts)
    capped = ""
    if len(layouts) < total:
        capped = f" {len(layouts)} of {total} layouts shown; the folder images beside this page holds all of them."
    sections = [
        f"<header><h1>{escaped(title)}</h1>",
        f'<p class="faint">{_summary(result)}</p></header>',
        tiles(result.metrics),
        _losses(result),
        "<h2>Layouts and images</h2>",
        '<p class="faint">Scores and boxes come from the detector&rsquo;s own inference on the saved 8-bit images.'
        f"{capped}</p>",
        *layouts,
        f"<h2>Detectors</h2>{reader_table(result)}" if len(result.member_detections) > 1 else "",
        f"<h2>Classes</h2>{class_table(result)}",
        f"<h2>All metrics</h2>{metrics_table(result.metrics)}" if result.metrics else "",
        "<h2>How it was made</h2>",
        f"<details><summary>Configuration</summary><pre>{escaped_lines(config_yaml)}</pre></details>"
        if config_yaml
        else "",
        _versions(result.metrics),
    ]
    return page(title, sections)


def _summary(result: InversionResult) -> str:
    objects = sum(len(layout) for layout in result.layouts)
    parts = [_count(len(result.layouts), "layout"), _count(objects, "object")]
    if "steps" in result.metrics:
        parts.append(f"{result.metrics['steps']} steps")
    return escaped(", ".join(parts))


def _losses(result: InversionResult) -> str:
    curves = [curve for curve in loss_curves(result.losses) if curve.points]
    if not curves:
        return ""
    chart = f'<div class="losses">{curves_svg(curves)}{curve_table(curves)}</div>'
    return f'<h2>Loss terms</h2><p class="faint">Mean over all images at each recorded step.</p>{chart}'


def _layout_sections(result: InversionResult, max_layouts: int) -> list[str]:
    sections: list[str] = []
    size = 0
    named = len(result.member_detections) > 1
    for number, (layout, image) in enumerate(zip(result.layouts[:max_layouts], result.images, strict=False)):
        key = f"image-{number}"
        figures = [
            (layout_figure(layout, result.class_names), "target layout"),
            (image_figure(image, key, layout.id), "inverted image"),
            (stretched_figure(image, key, layout.id), "contrast stretched (for viewing only)"),
        ]
        verdicts = []
        for name, detections in result.member_detections.items():
            found = detections[number]
            reader = escaped(name) if named else "the detector"
            figure = detections_figure(found.above(0.5), result.class_names, key, layout.id)
            figures.append((figure, f"what {reader} sees (score &gt; 0.5)"))
            verdicts.append(_verdict(name if named else "", **redetection([layout], [found])))
        height, width = layout.image_size
        verdict = f'{"".join(verdicts)}<span class="faint">{width} &times; {height} pixels</span>'
        cells = "".join(f"<figure>{svg}<figcaption>{text}</figcaption></figure>" for svg, text in figures)
        header = f"<header><h3>{escaped(layout.id)}</h3>{verdict}</header>"
        section = f'<section class="layout">{header}<div class="cells">{cells}</div></section>'
        size += len(section)
        if size > _MOST_CHARACTERS and number >= _ALWAYS_SHOWN:
            break
        sections.append(section)
    return sections


def _verdict(reader: str, objects: int, redetected: int, false_positives: int) -> str:
    quality = "good" if redetected == objects else "poor"
    prefix = f"{escaped(reader)}: " if reader else ""
    found = f'<span class="{quality}">{prefix}{redetected} of {_count(objects, "object")} found</span>'
    extra = f'<span class="poor">{_count(false_positives, "false positive")}</span>' if false_positives else ""
    return f"{found}{extra}"


def _versions(metrics: Mapping[str, object]) -> str:
    table = versions_table(metrics)
    return f"<details><summary>Versions</summary>{table}</details>" if table else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
