"""The frame of pages."""

from detinv.results.reports.page import page


def test_title_is_escaped_and_sections_are_not() -> None:
    html = page("<b>&", ["<p>first</p>", "", "<p>second</p>"])
    assert "<title>&lt;b&gt;&amp;</title>" in html
    assert "<main>\n<p>first</p>\n<p>second</p>\n</main>" in html


def test_page_is_a_whole_document_with_a_style_and_nothing_from_elsewhere() -> None:
    html = page("t", [])
    assert html.startswith("<!DOCTYPE html>\n<html") and html.endswith("</html>\n")
    assert '<meta charset="utf-8">' in html and "<style>" in html
    assert "<script" not in html and "http" not in html and "url(" not in html
