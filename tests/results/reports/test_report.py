import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import torch

from detinv.layouts.layout import Detections, Layout
from detinv.results.reports import report as module
from detinv.results.reports.inversion_result import InversionResult
from detinv.results.reports.report import render_report

_VOID = {"meta", "rect", "line", "circle", "polyline", "path", "image", "use", "fefuncr", "fefuncg", "fefuncb"}


class _Page(HTMLParser):
    """Checks that tags close in order, and gathers tags, text and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "filter", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_report_is_well_formed_and_complete(sample: Callable[..., InversionResult]) -> None:
    result = sample(3)
    page = _Page(render_report(result, "steps: 20\n", "a run"))
    assert page.open == []
    text = " ".join(page.words)
    for layout in result.layouts:
        assert layout.id in text
        assert all(result.class_names[label] in text for label in layout.labels.tolist())
    for word in ("AP50", "total_variation", "steps: 20", "9.9.9", "0123abcd", "for viewing only", "a run"):
        assert word in text, word
    assert page.tags.count("figure") == 12 and page.tags.count("image") == 3


def test_report_says_which_images_were_stopped_early_or_are_missing(sample: Callable[..., InversionResult]) -> None:
    result = sample(2)
    troubled = result.layouts[1].id
    metrics = {
        **result.metrics,
        "stopped": {troubled: "loss term 'cls' is <not> finite"},
        "missing": {"gone": "too large"},
    }
    text = " ".join(_Page(render_report(replace(result, metrics=metrics), "", "a run")).words)
    assert f"{troubled}: loss term 'cls' is <not> finite" in text and "gone: too large" in text
    assert text.count("stopped early") == 1
    assert "topped early" not in " ".join(_Page(render_report(result, "", "a run")).words)


def test_report_asks_for_nothing_from_elsewhere(sample: Callable[..., InversionResult]) -> None:
    text = render_report(sample(2), "a: 1", "a run")
    page = _Page(text)
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    for reference in page.references:
        if not reference.startswith("data:image/png;base64,"):
            # Within the page, to something that is there.
            assert reference.removeprefix("url(").rstrip(")").removeprefix("#") in page.ids
    assert len(set(page.ids)) == len(page.ids)


def test_report_escapes_all_text(sample: Callable[..., InversionResult]) -> None:
    evil = '"><script>alert(1)</script>&amp;'
    result = sample(1)
    layout = replace(result.layouts[0], id=evil)
    names = (evil, *result.class_names[1:])
    metrics = {**result.metrics, evil: evil, "versions": {evil: evil}}
    result = replace(result, layouts=[layout], class_names=names, metrics=metrics)
    result = replace(result, losses=[{"step": 0, "batch": 0, evil: 1.0}])
    page = _Page(render_report(result, evil, evil))
    assert "script" not in page.tags
    assert page.open == []
    assert page.words.count(evil) >= 6


def test_report_is_capped_and_says_so(sample: Callable[..., InversionResult]) -> None:
    result = sample(5)
    text = render_report(result, "", "t", max_layouts=2)
    assert text.count('<section class="layout">') == 2
    assert "2 of 5 layouts shown" in text
    assert "layouts shown" not in render_report(result, "", "t")


def test_report_of_24_noise_images_is_small(sample: Callable[..., InversionResult]) -> None:
    text = render_report(sample(30, size=(128, 128)), "", "t")
    assert "24 of 30 layouts shown" in text
    assert len(text.encode()) < 3_000_000


def test_report_shows_fewer_large_images(sample: Callable[..., InversionResult], monkeypatch) -> None:
    monkeypatch.setattr(module, "_MOST_CHARACTERS", 100_000)
    assert "4 of 6 layouts shown" in render_report(sample(6, size=(128, 128)), "", "t")


def test_report_takes_an_empty_layout_without_losses_and_metrics(empty_layout: Layout) -> None:
    image = torch.full((3, 30, 40), 128, dtype=torch.uint8)
    found = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), (30, 40))
    text = render_report(InversionResult([empty_layout], [image], {"tiny": [found]}, ("ring",)), "", "t")
    assert _Page(text).open == []
    assert "0 of 0 objects found" in text and "Loss terms" not in text
    assert not re.search(r"\bnan\b|\binf\b", text.split("</style>")[1], re.IGNORECASE)
